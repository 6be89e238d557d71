"""Noticing that the owner touched or rewrote the file that the app was loaded from.

Watched from inside the sandbox, as the tenant, so that root never follows a tenant's path; and by the worker,
so that a sleeping site costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from socket import AF_UNIX, SOCK_DGRAM, socket
from typing import List, Optional

from innkeeper.kernel.inotify import Inotify

SETTLE = 0.05  # seconds of quiet after a change: editors and copies write more than once
_PATIENCE = 0.2  # but no longer than this after the first change


def mark(state: os.stat_result) -> List[int]:
    """What differs when a file was written, replaced or touched."""
    return [state.st_mtime_ns, state.st_ino, state.st_size]


class Touch:
    """Watches one file by its directory, since most editors replace a file by another."""

    def __init__(self, descriptor: int = -1) -> None:
        """A new watch, or one that another process has begun; see `go_on`.

        A user may have so many and no more. Beyond that it is of something from which nothing ever comes.
        """
        try:
            self._inotify = Inotify(descriptor)
        except OSError:
            self._inotify = Inotify(socket(AF_UNIX, SOCK_DGRAM).detach())
        self._name = ""
        self._first = 0.0
        self.due = 0.0  # when a seen change counts as over; 0 = none seen

    def fileno(self) -> int:
        return self._inotify.fileno()

    def watch(self, path: Optional[str], loaded: Optional[List[int]] = None) -> None:
        """Watch `path`; what can't be watched leaves the site to explicit reloads.

        `loaded` is the mark of the file when the app was loaded from it: a change since then counts, too.
        """
        if not path:
            return
        directory, self._name = os.path.split(path)
        try:
            self._inotify.watch(directory)
        except OSError:
            self._name = ""
            return
        with contextlib.suppress(OSError):
            if loaded and loaded != mark(os.stat(path)):
                self._see()

    def go_on(self, path: Optional[str], *, touched: bool) -> None:
        """Watch the path that the other process does, which may have seen a change."""
        self._name = os.path.basename(path or "")
        if touched:
            self._see()

    def read(self) -> None:
        """Take note of the changes that wait."""
        if any(change.overflow or change.name == self._name for change in self._inotify.changes()):
            self._see()

    def _see(self) -> None:
        now = time.monotonic()
        self._first = self._first or now
        self.due = min(now + SETTLE, self._first + _PATIENCE)

    def take(self, now: float) -> bool:
        """True once for each change that has come to rest."""
        if not self.due or now < self.due:
            return False
        self.due = self._first = 0.0
        return True

    def close(self) -> None:
        self._inotify.close()
