"""Chores: what is looked at again and again for as long as the supervisor runs. No failure is the end of one."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable

PAUSE = 5.0  # seconds after a round that failed

Chore = Callable[[], Awaitable[float]]  # one round; seconds until the next


async def keep_doing(what: str, chore: Chore, log: Callable[[str], None], *, after: float = 0.0) -> None:
    """Do it until cancelled, for the first time `after` so many seconds.

    A full disk is when most of them are needed. What fails is told once, for as long as it fails in the same way.
    """
    wait, told = after, ""
    while True:
        await asyncio.sleep(wait)
        try:
            wait, told = await chore(), ""
        except Exception as error:  # of ours: in a task that nobody waits for it would be lost
            said = str(error) if isinstance(error, OSError) else traceback.format_exc()
            if said != told:
                log(f"{what} failed, and is tried again: {said}")
            wait, told = PAUSE, said
