"""A site whose app does not load: an error page, growing waits between tries, and a look-out for mended code.

One that crashes at once, and again, is no better off.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from innkeeper.edge.routes import Routes
from innkeeper.supervisor import troubles
from innkeeper.supervisor.timers import Timers
from innkeeper.supervisor.worker import DRAIN_SLACK, Worker

_WATCH_LIMIT = 900.0  # seconds that a failed worker stays to watch for its file to be mended


class Failure:
    """What becomes of a site from its failed load on, until it is forgiven. `retry` lets a request try again."""

    __slots__ = ("_backoff", "_crashes", "_domain", "_retry", "_routes", "_timers", "watcher")

    def __init__(self, domain: str, routes: Routes, retry: Callable[[], None]) -> None:
        self.watcher: Worker | None = None  # failed, and waits for its file to be mended
        self._domain = domain
        self._routes = routes
        self._retry = retry
        self._backoff: troubles.Backoff | None = None
        self._crashes = 0  # in a row
        self._timers = Timers()

    def begin(self, listener: socket.socket) -> None:
        """Visitors get the error page at once, until the back-off is over and a request may try again."""
        self._backoff = self._backoff or troubles.Backoff()
        self._routes.set_flag(self._domain, "failed")
        troubles.turn_away(listener)
        self._timers.later("retry", self._backoff.next_wait(), self._on_retry)

    def suspend(self) -> None:
        """A worker serves. Should it crash at once, the waits go on to grow."""
        if self._backoff is not None:
            self._timers.cancel("retry")
            self._routes.clear_flag(self._domain, "failed")
        self._dismiss()

    def forgive(self) -> None:
        """What has failed before does not count any more."""
        self.suspend()
        self._backoff = None
        self._crashes = 0

    def is_crash_loop(self) -> bool:
        """A worker has crashed at once: whether that was once too often."""
        self._crashes += 1
        return self._crashes >= troubles.CRASHES

    def watch(self, worker: Worker) -> None:
        """Keep a worker that could not load, in the place of one before: it says when its file is touched."""
        self._dismiss()
        self.watcher = worker
        self._timers.later("watch", _WATCH_LIMIT, self._dismiss)

    def _on_retry(self) -> None:
        self._routes.clear_flag(self._domain, "failed")
        self._retry()

    def _dismiss(self) -> None:
        self._timers.cancel("watch")
        watcher, self.watcher = self.watcher, None
        if watcher is not None:
            watcher.drain(DRAIN_SLACK)
