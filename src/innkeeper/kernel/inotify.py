"""inotify: being told of changes in directories, at no cost for what does not change."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Iterator, NamedTuple

from innkeeper.kernel import libc

_EVENT = struct.Struct("iIII")
_ATTRIB = 0x4
_CLOSE_WRITE = 0x8
_MOVED_FROM = 0x40
_MOVED_TO = 0x80
_CREATE = 0x100
_DELETE = 0x200
_Q_OVERFLOW = 0x4000
_IGNORED = 0x8000
_ONLYDIR = 0x01000000
_CHANGES = _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _DELETE


class Change(NamedTuple):
    """Something happened to `name` in the watched directory `watch`; `overflow`: events were lost, look anew.

    `created`: it is there, but if it is a file somebody may still be writing it.
    """

    watch: int
    name: str
    overflow: bool = False
    created: bool = False


class Inotify:
    """One inotify instance: directories are watched for files written, touched, moved or deleted."""

    def __init__(self, descriptor: int = -1) -> None:
        """A new one, or one that another process has made."""
        if descriptor < 0:
            descriptor = libc.call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def watch(self, directory: str, *, created: bool = False) -> int:
        """Watch a directory; returns the number that its changes carry. Raises OSError when it can't be.

        With `created`, what is made without being written, such as a link, is told as well.
        """
        mask = ctypes.c_uint32(_CHANGES | _ONLYDIR | (_CREATE if created else 0))
        return libc.call("inotify_add_watch", self._descriptor, os.fsencode(directory), mask, about=directory)

    def changes(self) -> Iterator[Change]:
        """All changes that wait, without blocking."""
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, mask, _cookie, length = _EVENT.unpack_from(data, offset)
            name = data[offset + _EVENT.size : offset + _EVENT.size + length].rstrip(b"\0")
            offset += _EVENT.size + length
            if mask & _Q_OVERFLOW:
                yield Change(-1, "", overflow=True)
            elif not mask & _IGNORED:
                yield Change(watch, os.fsdecode(name), created=bool(mask & _CREATE))

    def close(self) -> None:
        os.close(self._descriptor)
