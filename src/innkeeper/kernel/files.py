"""Files: written beside and renamed, so that nobody ever reads half of one."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Iterator

from innkeeper.kernel import libc

_HERE, _NO_FOLLOW = -100, 0x100  # AT_FDCWD, AT_SYMLINK_NOFOLLOW
_BORN, _STATX_SIZE = 0x800, 256


def write_atomically(
    path: Path, text: str, *, mode: int = 0o644, owner: tuple[int, int] | None = None
) -> None:
    """Replace the file `path` by `text` at once, surviving a power cut at any moment. `owner`: user and group."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(
            beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode
        )
        with os.fdopen(descriptor, "w") as file:
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.rename(beside, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk is told of without any name
        raise


def rewrite(path: Path, text: str) -> None:
    """Replace what is in a file as `write_atomically` does; who may read and write it stays as it was."""
    state = path.stat()
    write_atomically(path, text, mode=stat.S_IMODE(state.st_mode), owner=(state.st_uid, state.st_gid))


def read_small(path: Path, limit: int) -> bytes:
    """A regular file's bytes; ValueError when it is no regular file or larger than `limit` bytes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise ValueError(f"it is larger than {limit} bytes")
    return content


def existing(path: Path) -> Path:
    """`path`, or what there is of the way to it."""
    return next(one for one in (path, *path.parents) if one.exists())


def born(path: Path) -> float | None:
    """When a file was made, in seconds since 1970; None where the file system does not tell (statx(2))."""
    found = ctypes.create_string_buffer(_STATX_SIZE)
    try:
        libc.call("statx", _HERE, os.fsencode(path), _NO_FOLLOW, _BORN, found, about=str(path))
    except OSError:
        return None
    mask, seconds = struct.unpack_from("I", found)[0], struct.unpack_from("q", found, 80)[0]
    return float(seconds) if mask & _BORN else None


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, which is made 0755 if need be; whoever asks for it meanwhile waits."""
    ensure_directory(directory, mode=0o755)
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def ensure_directory(path: Path, *, mode: int, uid: int = 0, gid: int = 0) -> None:
    """Make `path` a directory with this owner and mode; its parents are made 0755, root's."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        state = os.fstat(descriptor)
        if (state.st_uid, state.st_gid) != (uid, gid):
            os.fchown(descriptor, uid, gid)
        if stat.S_IMODE(state.st_mode) != mode:
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
