"""Chores outlive whatever goes wrong in them: a full disk above all."""

from __future__ import annotations

import asyncio
import errno
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from innkeeper.kernel import files
from innkeeper.supervisor import chores, meter
from innkeeper.supervisor.budget import Budget
from innkeeper.supervisor.confines import Confines
from innkeeper.supervisor.meter import Meter

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "PAUSE", 0.0)


def _told(chore: Callable[[], Awaitable[Any]], is_enough: Callable[[], bool]) -> list[str]:
    """What is told of a chore that is done until it is enough."""
    log: list[str] = []

    async def look() -> float:
        await chore()
        return 0.0

    async def run() -> None:
        task = asyncio.create_task(chores.keep_doing("looking", look, log.append))
        for _ in range(1000):
            if is_enough():
                break
            await asyncio.sleep(0)
        assert is_enough()
        assert not task.done()
        task.cancel()

    asyncio.run(run())
    return log


def _chore(rounds: Iterator[Exception | None]) -> tuple[Callable[[], Awaitable[None]], list[int]]:
    done: list[int] = []

    async def chore() -> None:
        error = next(rounds)
        done.append(len(done))
        if error is not None:
            raise error

    return chore, done


def test_it_goes_on_after_a_failure_and_tells_of_it_once() -> None:
    chore, done = _chore(itertools.chain([None, FULL, FULL, FULL, None, FULL], itertools.repeat(None)))
    told = _told(chore, lambda: len(done) > 8)
    assert told == ["looking failed, and is tried again: [Errno 28] No space left on device"] * 2


def test_what_is_a_mistake_of_ours_is_told_with_its_place() -> None:
    chore, done = _chore(itertools.chain([KeyError("x")], itertools.repeat(None)))
    (told,) = _told(chore, lambda: len(done) > 3)
    assert "Traceback" in told
    assert told.endswith("KeyError: 'x'\n")


def test_what_a_full_disk_did_not_take_is_written_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Budget(tmp_path / "cpu.json")
    budget.count("alice", 5.0)
    monkeypatch.setattr(meter, "_SAVE_EVERY", -1.0)
    write, left = files.write_atomically, [FULL, FULL]

    def write_at_the_third_time(*arguments: Any, **options: Any) -> None:
        if left:
            raise left.pop()
        write(*arguments, **options)

    monkeypatch.setattr(files, "write_atomically", write_at_the_third_time)
    found = Meter(Confines(None), budget, {}, lambda _: None, lambda *_: None)
    assert len(_told(found.look, (tmp_path / "cpu.json").exists)) == 1
    assert Budget(tmp_path / "cpu.json").spent("alice") == 5.0


def test_a_limit_that_can_not_be_set_keeps_nobody_from_counting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(_: Confines) -> None:
        raise FULL

    monkeypatch.setattr(Confines, "catch_up", fail)
    budget = Budget(tmp_path / "cpu.json")
    asyncio.run(Meter(Confines(None), budget, {}, lambda _: None, lambda *_: None).look())
