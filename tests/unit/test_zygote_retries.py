"""A zygote that can't be started is tried again, once at a time, and not when it was stopped."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import Mock

import pytest

from innkeeper.kernel import sockets
from innkeeper.spec.node import Layout
from innkeeper.spec.runtime import RuntimeSpec
from innkeeper.supervisor import zygotes
from innkeeper.supervisor.zygotes import Zygote
from innkeeper.worker.order import Descriptors, Order

_WAIT = 0.02


class Refusals:
    """Refuses whatever it stands in for, as a machine does that has run out of it, and counts."""

    def __init__(self, number: int) -> None:
        self.count = 0
        self._number = number

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        self.count += 1
        raise OSError(self._number, os.strerror(self._number))


@pytest.fixture
def zygote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zygote:
    monkeypatch.setattr(zygotes, "_RETRY_WAIT", _WAIT)
    return Zygote(
        RuntimeSpec(name="python", python="/opt/python/bin/python"),
        Layout(tmp_path),
        Mock(),
        walled=False,
        bare=True,
        generation=1,
        wanted=(),
        on_ready=Mock(),
        on_forked=Mock(),
        on_refused=Mock(),
        doors=list,
        log=Mock(),
    )


def _order(zygote: Zygote, identity: int) -> None:
    order = Order(identity=identity, domain="one.test", tenant="alice", uid=20_000, gid=20_000)
    nothing = os.open(os.devnull, os.O_RDWR)
    zygote.order(order, Descriptors(nothing, nothing, nothing, nothing))
    os.close(nothing)


def test_who_was_stopped_is_not_started_again(zygote: Zygote, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = Refusals(errno.EAGAIN)
    monkeypatch.setattr(subprocess, "Popen", refusals)

    async def play() -> int:
        for identity in range(5):
            _order(zygote, identity)
        zygote.stop()
        tried = refusals.count
        await asyncio.sleep(5 * _WAIT)
        return refusals.count - tried

    assert asyncio.run(play()) == 0


def test_an_order_that_it_has_no_room_for_is_sent_again(
    zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygotes, "_RESEND_WAIT", _WAIT)

    async def play() -> list[int]:
        ours, theirs = sockets.pair()
        zygote._take(ours, 1)
        zygote._on_ready({"python": "3.11", "left_out": {}, "preloaded": [], "memory": 0, "reads": []})
        identity = 0
        while not zygote._waiting:
            _order(zygote, identity := identity + 1)
        heard = []
        async with asyncio.timeout(10):
            while identity not in heard:
                message, given = sockets.receive(theirs, 12) or ({}, [])
                heard.append(message["identity"])
                for descriptor in given:
                    os.close(descriptor)
                await asyncio.sleep(0)
        zygote._let_go()
        theirs.close()
        return heard

    heard = asyncio.run(play())
    assert heard == sorted(set(heard))


def test_it_is_tried_again_whatever_there_was_no_room_for(
    zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(errno.EMFILE)
    monkeypatch.setattr(sockets, "pair", refusals)

    async def play() -> None:
        zygote.start()
        async with asyncio.timeout(10):
            while refusals.count < 4:
                await asyncio.sleep(_WAIT)
        zygote.stop()

    asyncio.run(play())
