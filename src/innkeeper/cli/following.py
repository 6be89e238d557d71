"""Logs as they grow: the last lines of one, then what is added to it, across its rotation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_LINE = 512  # bytes that a line is taken to have when looking for the last ones


class Followed:
    """One log file, which may not be there yet, and which is set aside and begun anew from time to time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def last(self, count: int) -> bytes:
        """The last lines; what is added later comes from `added`."""
        if not self._open():
            return b""
        assert self._file is not None
        size = os.fstat(self._file.fileno()).st_size
        lines: list[bytes] = []
        part = _LINE * (count + 1)
        while len(lines) <= count:  # the first of them may be the end of a longer one
            self._file.seek(max(0, size - part))
            lines = self._file.read(size).splitlines(keepends=True)
            if part >= size:
                break
            part *= 4
        return b"".join(lines[-count:]) if count else b""

    def added(self) -> bytes:
        """What was written since: the rest of a file that was set aside, and then the beginning of the new one."""
        text = b"" if self._file is None else self._rest()
        if self._file is None or self._replaced():
            self.close()
            if self._open():
                text += self._rest()
        return text

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> bool:
        try:
            self._file = self.path.open("rb")
        except FileNotFoundError:
            return False
        return True

    def _rest(self) -> bytes:
        assert self._file is not None
        if os.fstat(self._file.fileno()).st_size < self._file.tell():  # cut short in its place
            self._file.seek(0)
        return self._file.read()

    def _replaced(self) -> bool:
        assert self._file is not None
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino)
