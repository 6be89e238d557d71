"""Files without a name: whatever way a process has them, each counts once, and nothing else does."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from innkeeper.kernel import libc, nameless
from innkeeper.kernel.quota import Used

SIZE = 1 << 20
CLONE_FILES = 0x400


def look(pid: int, place: Path) -> Used:
    return nameless.held([pid], os.getuid(), place.stat().st_dev, 60.0)


@pytest.fixture
def held(tmp_path: Path) -> Callable[..., Used]:
    """Looks at this process, and leaves out what it had before: pytest has its output in such files."""
    before = look(os.getpid(), tmp_path)

    def look_again() -> Used:
        now = look(os.getpid(), tmp_path)
        return Used(now.space - before.space, now.files - before.files)

    return look_again


@contextmanager
def deleted(place: Path) -> Iterator[int]:
    """The descriptor of a file whose name is gone."""
    path = place / "file"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.posix_fallocate(file, 0, SIZE)
        path.unlink()
        yield file
    finally:
        os.close(file)


def test_what_is_deleted_and_still_open_counts_once(tmp_path: Path, held: Callable[..., Used]) -> None:
    assert held().files == 0
    with deleted(tmp_path) as file:
        other = os.dup(file)
        assert held() == Used(os.fstat(file).st_blocks * 512, 1)
        assert held().space >= SIZE
        os.close(other)
    assert held() == Used(0, 0)


def test_what_never_had_a_name_counts(tmp_path: Path, held: Callable[..., Used]) -> None:
    file = os.open(tmp_path, os.O_TMPFILE | os.O_RDWR)
    os.posix_fallocate(file, 0, SIZE)
    assert held().space >= SIZE
    os.close(file)


def test_what_is_mapped_alone_counts(tmp_path: Path, held: Callable[..., Used]) -> None:
    library = tmp_path / "library.so"
    shutil.copy(next(Path(nameless.__file__).parent.glob("_mold.*so")), library)
    ctypes.CDLL(str(library))
    assert held().files == 0
    library.unlink()
    assert held().files == 1


def test_what_a_thread_has_for_itself_counts(tmp_path: Path, held: Callable[..., Used]) -> None:
    opened, looked_at = threading.Event(), threading.Event()

    def hold() -> None:
        libc.call("unshare", CLONE_FILES)
        with deleted(tmp_path):
            opened.set()
            looked_at.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    opened.wait(60)
    try:
        assert held().files == 1
    finally:
        looked_at.set()
        thread.join()


def test_a_program_that_is_deleted_and_runs_counts(tmp_path: Path) -> None:
    program = shutil.copy("/bin/sleep", tmp_path / "program")
    with subprocess.Popen([program, "60"]) as running:
        before = look(running.pid, tmp_path)
        program.unlink()
        after = look(running.pid, tmp_path)
        running.kill()
    assert after.files - before.files == 1


def test_what_is_not_the_users_or_elsewhere_does_not_count(tmp_path: Path, held: Callable[..., Used]) -> None:
    memory = os.memfd_create("memory")
    os.write(memory, bytes(SIZE))
    with deleted(tmp_path), (tmp_path / "named").open("wb") as named:
        named.write(bytes(SIZE))
        assert held().files == 1
        assert nameless.held([os.getpid()], os.getuid() + 1, tmp_path.stat().st_dev, 60.0) == Used(0, 0)
    os.close(memory)


def test_who_has_ended_has_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/true"]) as ended:
        pass
    assert look(ended.pid, tmp_path) == Used(0, 0)


def test_what_is_too_much_to_look_through_is_told(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="0 seconds"):
        nameless.held([os.getpid()], os.getuid(), tmp_path.stat().st_dev, 0.0)
