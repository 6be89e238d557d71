"""Zygotes by runtime: who waits for a new one hears what becomes of it."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

from innkeeper.spec.runtime import RuntimeSpec
from innkeeper.supervisor.nursery import Nursery


def test_who_waits_for_a_zygote_is_told_when_its_runtime_is_removed() -> None:
    told: list[bool] = []

    async def play() -> None:
        spec = RuntimeSpec(name="python", python="/opt/python/bin/python")
        nursery = Nursery(Mock(), lambda _: (), Mock(), Mock())
        nursery.open({spec.name: spec}, spec.name, {})
        nursery.renew(spec.name, on_done=told.append)
        assert told == []
        nursery.follow({}, "")

    asyncio.run(play())
    assert told == [False]
