"""Long work in short turns: what is looked at all the time, for hundreds of sites, makes no visitor wait."""

from __future__ import annotations

import asyncio
import time

_TURN = 0.001  # seconds of work
_REST = 0.009  # seconds until the next turn


class Turns:
    """Call `rest` between any two pieces of the work."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    async def rest(self) -> None:
        """Let others go on, if this turn has taken long enough."""
        if time.monotonic() - self._began > _TURN:
            await asyncio.sleep(_REST)
            self._began = time.monotonic()
