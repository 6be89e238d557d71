"""What a helper does for a tenant without running a program: list, read, write, move, delete files.

It runs as the tenant, inside the tenant's sandbox, so a link leads nowhere that the tenant can't go itself.
Answers that are data go to standard output, faults in plain words to standard error.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from typing import Any, BinaryIO, Callable, Dict

_CHUNK = 1 << 20
_KINDS = ((stat.S_ISDIR, "directory"), (stat.S_ISREG, "file"), (stat.S_ISLNK, "link"))


class Refused(Exception):
    """What was asked for can't be done; the text is for the person who asked."""


def run(task: Dict[str, Any], real: Callable[[str], str]) -> int:
    """Do `task`, {"do": …, …}; the exit status. `real` tells where a path of the tenant's lies."""
    try:
        _TASKS[task["do"]](task, real)
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    except BrokenPipeError:
        return 1
    except OSError as error:
        sys.stderr.write(f"{task.get('path', '')}: {error.strerror}\n")
        return 1
    return 0


def _list(task: Dict[str, Any], real: Callable[[str], str]) -> None:
    """One JSON object a line: {"name", "kind", "size" (bytes), "mode" (octal), "modified" (seconds since 1970)}."""
    path = real(task["path"])
    names = sorted(os.listdir(path)) if os.path.isdir(path) else [""]
    for name in names:
        try:
            state = os.lstat(os.path.join(path, name) if name else path)
        except FileNotFoundError:
            if not name:
                raise
            continue  # deleted meanwhile
        entry: Dict[str, Any] = {
            "name": name or os.path.basename(path),
            "kind": next((word for test, word in _KINDS if test(state.st_mode)), "other"),
            "size": state.st_size,
            "mode": f"{stat.S_IMODE(state.st_mode):o}",
            "modified": int(state.st_mtime),
        }
        sys.stdout.write(json.dumps(entry) + "\n")
    sys.stdout.flush()


def _read(task: Dict[str, Any], real: Callable[[str], str]) -> None:
    with _opened(real(task["path"])) as file:
        shutil.copyfileobj(file, sys.stdout.buffer, _CHUNK)
    sys.stdout.buffer.flush()


def _opened(path: str) -> BinaryIO:
    """A regular file, open for reading; a FIFO or a device would hang whoever reads it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused(f"{path}: it is not a file")
    return os.fdopen(descriptor, "rb")


def _write(task: Dict[str, Any], real: Callable[[str], str]) -> None:
    """Take the content from standard input; written beside and renamed, with the mode of the file that was there."""
    path = os.path.realpath(real(task["path"]))
    if os.path.isdir(path):
        raise Refused(f"{path}: it is a directory")
    if task.get("parents"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    mode = stat.S_IMODE(os.stat(path).st_mode) if os.path.exists(path) else 0o644
    beside = f"{path}.{os.getpid()}~"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, _CHUNK)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def _move(task: Dict[str, Any], real: Callable[[str], str]) -> None:
    target = real(task["to"])
    if os.path.isdir(target):
        target = os.path.join(target, os.path.basename(task["path"].rstrip("/")))
    if os.path.lexists(target) and not task.get("replace"):
        raise Refused(f"{target}: there is such a file already")
    shutil.move(real(task["path"]), target)


def _delete(task: Dict[str, Any], real: Callable[[str], str]) -> None:
    path = real(task["path"])
    if not os.path.isdir(path) or os.path.islink(path):
        os.unlink(path)
    elif task.get("all"):
        shutil.rmtree(path)
    else:
        try:
            os.rmdir(path)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}; --all deletes what is in it, too") from None


def _make_directory(task: Dict[str, Any], real: Callable[[str], str]) -> None:
    os.makedirs(real(task["path"]), exist_ok=True)


_TASKS: Dict[str, Callable[[Dict[str, Any], Callable[[str], str]], None]] = {
    "list": _list,
    "read": _read,
    "write": _write,
    "move": _move,
    "delete": _delete,
    "make-directory": _make_directory,
}
