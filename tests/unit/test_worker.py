"""A worker seen from outside: nobody else is hit when its end is asked for too late."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator

import pytest

from innkeeper.kernel import sockets
from innkeeper.supervisor.worker import Worker


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"])


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    process = sleeper()
    yield process
    process.kill()
    process.wait()


async def started(process: subprocess.Popen[bytes], heard: list[str]) -> Worker:
    ours, theirs = sockets.pair()
    theirs.close()
    worker = Worker(1, "one.test", ours, lambda _, event, __: heard.append(event))
    worker.attach(process.pid, os.pidfd_open(process.pid))
    return worker


async def gone(heard: list[str]) -> None:
    async with asyncio.timeout(10):
        while heard != ["gone"]:
            await asyncio.sleep(0.01)


def test_who_is_killed_too_late_is_nobody_else(stranger: subprocess.Popen[bytes]) -> None:
    async def play() -> None:
        heard: list[str] = []
        process = sleeper()
        worker = await started(process, heard)
        descriptor = worker._pidfd
        process.kill()
        await gone(heard)
        process.wait()
        opened = os.pidfd_open(stranger.pid)
        os.dup2(opened, descriptor)  # the number is in use again, for another
        worker.kill()
        worker.ask("drain")  # its channel is closed, which ends in a kill as well
        for each in (opened, descriptor):
            os.close(each)

    asyncio.run(play())
    assert stranger.poll() is None


def test_a_deadline_ends_it_and_is_forgotten_with_it() -> None:
    async def play() -> None:
        heard: list[str] = []
        process = sleeper()
        worker = await started(process, heard)
        worker.end_within(0.05)
        await gone(heard)
        assert process.wait() == -9
        assert worker._deadline is not None and worker._deadline.cancelled()

    asyncio.run(play())
