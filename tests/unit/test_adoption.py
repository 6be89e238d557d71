"""Taking over from a killed supervisor: who is there, and who has ended meanwhile."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

from innkeeper.kernel import sockets
from innkeeper.supervisor.adoption import Roll
from innkeeper.supervisor.custody import Kept
from innkeeper.supervisor.worker import Worker

_NOTE = {"domain": "one.test", "tenant": "alice", "group": "one.test", "pid": 0, "port": 0, "python": ""}


def kept(identity: int) -> tuple[Kept, socket.socket]:
    """A worker that was ordered and not yet forked, and the end of its channel that is to be its own."""
    ours, theirs = sockets.pair()
    return Kept(f"worker:{identity}", [ours.detach()], _NOTE), theirs


def test_those_who_are_there_are_known_before_they_have_answered() -> None:
    dropped: list[str] = []
    custody: Any = SimpleNamespace(drop=dropped.append)

    async def play() -> None:
        (first, there), (second, gone) = kept(7), kept(8)
        present: dict[int, Worker] = {}
        roll = Roll([first, second], custody, present)
        assert list(present) == [7, 8]
        gone.close()
        there.send(b'{"event": "report", "ready": true}')
        found = await roll.call()
        assert [worker.identity for worker, _ in found["one.test"]] == list(present) == [7]
        present[7].abandon()
        there.close()

    asyncio.run(play())
    assert "worker:8" in dropped
