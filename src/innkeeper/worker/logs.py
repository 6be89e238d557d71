"""A site's own logs: what its processes print goes through a pipe of the first process's into the log file.

So the size of the file is known without looking, a file that is set aside is left at once by all processes,
and a flood of output is cut short here, at the cost of the tenant who makes it.
"""

from __future__ import annotations

import os
import time

_CHUNK = 65536
_PAUSE = 0.02  # seconds that a flood is left to wait in its pipe
_FILL_TIME = 100.0  # seconds in which a whole log file may be filled, again and again
_AT_END = 64  # chunks read when the worker ends


class Log:
    """One log file (`kind` is "server" or "error") and the pipe that leads to it.

    As much as `limit` bytes may be written at once, and a hundredth of that each second; the rest is left out.
    """

    def __init__(self, kind: str, file: int, limit: int, reader: int, writer: int, written: int) -> None:
        """`reader` does not block; `written` is what came through the pipe so far."""
        self.kind = kind
        self.reader, self.writer = reader, writer
        self.resume = 0.0  # when to read on; 0 = now
        self._file = file
        self._limit = limit
        self._room = float(limit - written)
        self._filled = time.monotonic()
        self._left_out = 0
        self._size = os.fstat(file).st_size
        self._told_full = False

    @property
    def full(self) -> bool:
        """True once for a file that has reached its limit."""
        if self._size < self._limit or self._told_full:
            return False
        self._told_full = True
        return True

    def replace(self, file: int) -> None:
        """Write into another file from now on."""
        os.dup2(file, self._file, inheritable=False)
        os.close(file)
        self._size = os.fstat(self._file).st_size
        self._told_full = False

    def leave(self) -> None:
        """In a serving process, which has the writing end of the pipe and no more: the file has no limits."""
        os.close(self.reader)
        os.close(self._file)

    def pump(self, now: float) -> bool:
        """Pass on what waits; True when a flood begins, of which the rest is left out."""
        self.resume = 0.0
        try:
            data = os.read(self.reader, _CHUNK)
        except BlockingIOError:
            return False
        self._room = min(self._limit, self._room + (now - self._filled) * self._limit / _FILL_TIME)
        self._filled = now
        if self._room < len(data):
            begins = not self._left_out
            self._left_out += len(data)
            self.resume = now + _PAUSE
            return begins
        if self._left_out:
            self._write(
                f"\ninnkeeper: {self._left_out} bytes of output were left out: too much at once\n".encode()
            )
            self._left_out = 0
        self._write(data)
        return False

    def finish(self) -> None:
        """Pass on what is left when nobody writes any more."""
        for _ in range(_AT_END):
            try:
                data = os.read(self.reader, _CHUNK)
            except BlockingIOError:
                return
            self._write(data[: max(0, int(self._room))])
            self._room -= len(data)

    def _write(self, data: bytes) -> None:
        self._room -= len(data)
        self._size += len(data)
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:  # the disk is full; that is told elsewhere
            return
