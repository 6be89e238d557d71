"""What is to happen later unless something else comes first, each by a name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timers:
    """Calls that are planned; at most one of a name."""

    __slots__ = ("_planned",)

    def __init__(self) -> None:
        self._planned: dict[str, asyncio.TimerHandle] = {}

    def later(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        """Plan a call, in the place of one of the same name."""
        self.cancel(name)
        self._planned[name] = asyncio.get_running_loop().call_later(seconds, call)

    def cancel(self, name: str) -> None:
        if planned := self._planned.pop(name, None):
            planned.cancel()

    def clear(self) -> None:
        for name in list(self._planned):
            self.cancel(name)
