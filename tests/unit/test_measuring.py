"""What files take: nothing is left out, or it is told that it can't be counted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from innkeeper.worker.measuring import Unmeasured, measure


def nest(top: Path, name: str, depth: int) -> int:
    """So many directories in each other; a descriptor of the last."""
    directory = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=directory)
        inner = os.open(name, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = inner
    return directory


@pytest.mark.parametrize(("name", "depth"), [("a", 2000), ("a" * 200, 40)], ids=["deep", "long"])
def test_no_file_is_too_far_down(tmp_path: Path, name: str, depth: int) -> None:
    last = nest(tmp_path, name, depth)
    file = os.open("big", os.O_WRONLY | os.O_CREAT, dir_fd=last)
    os.posix_fallocate(file, 0, 5 << 20)
    try:
        assert measure([str(tmp_path)], 60.0).files == depth + 2
        assert measure([str(tmp_path)], 60.0).space > 5 << 20
    finally:
        os.close(file)
        os.close(last)
        subprocess.run(["rm", "-rf", tmp_path / name], check=True)  # pytest's own would be too deep


def test_what_can_not_be_counted_is_told(tmp_path: Path) -> None:
    os.close(nest(tmp_path, "a", 2100))
    try:
        with pytest.raises(Unmeasured, match="2048 directories"):
            measure([str(tmp_path)], 60.0)
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "a"], check=True)
    with pytest.raises(Unmeasured, match="0 seconds"):
        measure([str(tmp_path)], 0.0)
    with pytest.raises(Unmeasured, match="No such file"):
        measure([str(tmp_path / "none")], 60.0)


def test_each_file_counts_once(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place / "inner").mkdir(parents=True)
    (tmp_path / "one/file").write_bytes(bytes(300_000))
    empty = measure([str(tmp_path / "two")], 60.0)
    assert empty.files == 2
    before = measure([str(tmp_path / "one"), str(tmp_path / "two")], 60.0)
    for number in range(7):
        os.link(tmp_path / "one/file", tmp_path / f"two/inner/{number}")
    os.symlink("/usr", tmp_path / "two/link")
    after = measure([str(tmp_path / "one"), str(tmp_path / "two")], 60.0)
    assert (before.files, after.files) == (5, 6)
    assert after.space - before.space < 20_000
