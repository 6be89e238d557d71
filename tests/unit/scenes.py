"""Scenes that are played on a stage, in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar


class Endable(Protocol):
    """What is taken down again, whatever came of the scene."""

    def end(self) -> None: ...


Stage = TypeVar("Stage", bound=Endable)


def play_on(make: Callable[[], Stage], scene: Callable[[Stage], Awaitable[None]]) -> None:
    """Make a stage, play the scene and take the stage down."""

    async def staged() -> None:
        stage = make()
        try:
            await scene(stage)
        finally:
            stage.end()

    asyncio.run(staged())
