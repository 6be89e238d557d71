"""Files that are written at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from innkeeper.kernel import files


def _about(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid


def test_who_may_read_a_file_stays_when_it_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "secret.toml"
    path.write_text("before")
    own = os.getuid() or 1234  # root may give it away
    os.chown(path, own, os.getgid() or 1234)
    path.chmod(0o640)
    before = _about(path)
    files.rewrite(path, "after")
    assert (path.read_text(), _about(path)) == ("after", before)
    assert os.listdir(tmp_path) == ["secret.toml"]


def test_a_new_file_is_for_all_to_read_unless_said_otherwise(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        files.write_atomically(tmp_path / "open", "text")
        files.write_atomically(tmp_path / "closed", "text", mode=0o600)
    finally:
        os.umask(old)
    assert _about(tmp_path / "open")[0] == 0o644
    assert _about(tmp_path / "closed")[0] == 0o600
