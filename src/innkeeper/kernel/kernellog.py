"""The kernel's own log: which processes it has killed because a group's memory ran out."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

_KILLED = re.compile(r"Killed process (\d+) \(([^)]*)\).*?UID:(\d+)")
_RECORD = 8192


class Killed(NamedTuple):
    """A process that is no more: the host's pid, the name that ps showed, its user."""

    pid: int
    name: str
    uid: int


class KernelLog:
    """Reads what is new since it was opened; finds nothing where the kernel's log may not be read."""

    def __init__(self) -> None:
        try:
            self._descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError:
            self._descriptor = -1

    def killed(self) -> list[Killed]:
        """The processes killed for memory since the last call."""
        found: list[Killed] = []
        while self._descriptor >= 0:
            try:
                record = os.read(self._descriptor, _RECORD)
            except BlockingIOError:
                break
            except BrokenPipeError:  # records were overwritten before we read them; the next read goes on
                continue
            except OSError:
                break
            if match := _KILLED.search(record.decode(errors="replace")):
                found.append(Killed(int(match[1]), match[2], int(match[3])))
        return found
