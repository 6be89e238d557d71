"""Noticing changed spec files: one inotify instance for all folders, its news gathered for a moment."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path

from innkeeper.kernel.inotify import Change, Inotify
from innkeeper.supervisor.registry import SUFFIX

BATCH = 0.02  # seconds that news are gathered: a copy of many files is one batch

Tell = Callable[[set[str] | None], None]  # names that changed; None: look at all


class Watch:
    """Calls back with the names of the spec files that changed in a folder."""

    def __init__(self) -> None:
        self._inotify = Inotify()
        self._tell: dict[int, Tell] = {}
        self._directories: dict[int, Path] = {}
        self._news: dict[int, set[str]] = {}
        self._all = False
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._on_changes)

    def add(self, directory: Path, tell: Tell) -> None:
        watch = self._inotify.watch(str(directory), created=True)
        self._tell[watch], self._directories[watch] = tell, directory

    def _on_changes(self) -> None:
        gathering = bool(self._news) or self._all
        for change in self._inotify.changes():
            if change.overflow:
                self._all = True
            elif change.created and not self._is_whole(change):
                pass  # it will be told of when it has been written
            elif change.name.endswith(SUFFIX) and not change.name.startswith("."):
                self._news.setdefault(change.watch, set()).add(change.name.removesuffix(SUFFIX))
        if not gathering and (self._news or self._all):
            asyncio.get_running_loop().call_later(BATCH, self._pass_on)

    def _is_whole(self, change: Change) -> bool:
        """Whether what was made is there with all that belongs to it: a link of either kind, or no file at all."""
        try:
            state = os.lstat(self._directories[change.watch] / change.name)
        except OSError:
            return False
        return not stat.S_ISREG(state.st_mode) or state.st_nlink > 1

    def _pass_on(self) -> None:
        """Tell what there is, each folder in a call of its own: a failure keeps no other from its news."""
        news, self._news = self._news, {}
        everything, self._all = self._all, False
        for watch, tell in self._tell.items():
            if everything or watch in news:
                asyncio.get_running_loop().call_soon(tell, None if everything else news[watch])
