"""The control socket: whoever asks has an answer, whatever comes of it."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from innkeeper.control import client
from innkeeper.supervisor.control import Control, Reply


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """A directory to stand in, as the supervisor does."""
    before = os.getcwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (KeyError("domain"), "can't be understood"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "learned.json"), "No space left on device"),
    ],
)
def test_what_is_raised_is_told(raised: Exception, told: str, here: Path) -> None:
    def answer(_: dict[str, Any], __: list[int], ___: Reply) -> None:
        raise raised

    async def play() -> None:
        control = Control(answer)
        loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(client.ask, here / "control.sock", {"do": "status"}, timeout=5)
        finally:
            loop.remove_reader(control._listener.fileno())
            control._listener.close()

    with pytest.raises(client.Refusal, match=told):
        asyncio.run(play())
