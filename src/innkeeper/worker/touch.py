"""Noticing that the owner touched or rewrote the file that the app was loaded from.

Watched from inside the sandbox, as the tenant, so that root never follows a tenant's path; and by the worker,
so that a sleeping site costs nothing.
"""

from __future__ import annotations

import os
import time
from typing import Optional

from innkeeper.kernel.inotify import Inotify

SETTLE = 0.05  # seconds of quiet after a change: editors and copies write more than once
_PATIENCE = 0.2  # but no longer than this after the first change


class Touch:
    """Watches one file by its directory, since most editors replace a file by another."""

    def __init__(self) -> None:
        self._inotify = Inotify()
        self._name = ""
        self._first = 0.0
        self.due = 0.0  # when a seen change counts as over; 0 = none seen

    def fileno(self) -> int:
        return self._inotify.fileno()

    def watch(self, path: Optional[str]) -> None:
        """Watch `path`; a directory that can't be watched leaves the site to explicit reloads."""
        if not path:
            return
        directory, self._name = os.path.split(path)
        try:
            self._inotify.watch(directory)
        except OSError:
            self._name = ""

    def read(self) -> None:
        """Take note of the changes that wait."""
        if any(change.overflow or change.name == self._name for change in self._inotify.changes()):
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
