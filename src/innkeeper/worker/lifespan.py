"""The lifespan protocol of ASGI: what an app does before its first request and after its last.

An app that does not know the protocol raises at once, and is served all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Dict, Optional

_LONGEST_STOP = 8.0  # seconds that an app may take to shut down


class StartupFailed(Exception):
    """The app said that it could not start; the text is its own."""


class Lifespan:
    """Start-up and shutdown of one app; `state` is what the app shares with its requests."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.state: Dict[str, Any] = {}
        self._orders: asyncio.Queue[Dict[str, str]] = asyncio.Queue()
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failure: Optional[str] = None
        self._task: Optional[asyncio.Task[None]] = None

    async def start(self) -> None:
        """Have the app start up. Raises StartupFailed, or what the app raised when it said that it failed."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        self._task = asyncio.ensure_future(self._app(scope, self._orders.get, self._hear))
        self._orders.put_nowait({"type": "lifespan.startup"})
        started = asyncio.ensure_future(self._started.wait())
        await asyncio.wait((self._task, started), return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._failure is not None:
            await asyncio.wait((self._task,), timeout=1.0)  # most apps raise what the matter was
            error = self._task.exception() if self._task.done() and not self._task.cancelled() else None
            raise error if isinstance(error, Exception) else StartupFailed(self._failure or "no reason given")
        if not self._started.is_set():
            with contextlib.suppress(Exception):
                self._task.result()  # it does not know the protocol
            self._task = None

    async def stop(self) -> None:
        """Have the app shut down."""
        if self._task is None or self._task.done():
            return
        self._orders.put_nowait({"type": "lifespan.shutdown"})
        stopped = asyncio.ensure_future(self._stopped.wait())
        await asyncio.wait((self._task, stopped), timeout=_LONGEST_STOP, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((self._task,), timeout=1.0)
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()):
            raise error

    async def _hear(self, message: Dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._started.set()
        elif kind == "lifespan.startup.failed":
            self._failure = str(message.get("message", ""))
            self._started.set()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            self._stopped.set()
