"""A worker seen from outside: nobody else is hit when its end is asked for too late."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
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


_TALK = """
import socket, sys, time
link, end = socket.socket(fileno=int(sys.argv[1])), time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    link.send(b'{"event": "late"}')
"""


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


def test_who_is_given_up_over_what_it_says_is_heard_no_more() -> None:
    async def play() -> None:
        ours, theirs = sockets.pair()
        heard: list[str] = []
        faults: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

        def hear(worker: Worker, event: str, _: object) -> None:
            heard.append(event)
            if event == "word31":  # the last one of a turn
                worker.abandon()

        Worker(1, "one.test", ours, hear)
        for number in range(40):
            theirs.send(b'{"event": "word%d"}' % number)
        theirs.close()
        async with asyncio.timeout(10):
            while "gone" not in heard:
                await asyncio.sleep(0.01)
        assert heard == [*(f"word{number}" for number in range(32)), "gone"]
        assert faults == []

    asyncio.run(play())


def test_who_does_not_stop_talking_leaves_others_their_turn() -> None:
    seconds = 3.0

    async def play() -> list[float]:
        ours, theirs = sockets.pair()
        heard: list[str] = []

        def hear(_: Worker, event: str, __: object) -> None:
            time.sleep(0.0002)  # longer than it takes to say it
            heard.append(event)

        worker = Worker(1, "one.test", ours, hear)
        with theirs:
            command = [sys.executable, "-c", _TALK, str(theirs.fileno()), str(seconds)]
            speaker = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        turns: list[float] = []
        while speaker.poll() is None:
            turns.append(time.monotonic())
            await asyncio.sleep(0.01)
        turns.append(time.monotonic())
        async with asyncio.timeout(60):
            while heard[-1] != "gone":
                await asyncio.sleep(0.01)
        worker.kill()
        assert set(heard) == {"late", "gone"}
        return [after - before for before, after in itertools.pairwise(turns)]

    assert max(asyncio.run(play())) < seconds / 3


def test_its_last_words_are_heard_though_it_had_to_wait() -> None:
    async def play() -> None:
        ours, theirs = sockets.pair()
        heard: list[str] = []
        process = sleeper()
        worker = Worker(1, "one.test", ours, lambda _, event, __: heard.append(event))
        worker.attach(process.pid, os.pidfd_open(process.pid))
        for number in range(100):
            theirs.send(b'{"event": "word%d"}' % number)
        theirs.close()
        process.kill()
        async with asyncio.timeout(10):
            while "gone" not in heard:
                await asyncio.sleep(0.01)
        process.wait()
        assert heard == [*(f"word{number}" for number in range(100)), "gone"]

    asyncio.run(play())


def test_its_last_words_take_no_longer_than_they_may() -> None:
    async def play() -> None:
        ours, theirs = sockets.pair()
        heard: list[str] = []

        def hear(_: Worker, event: str, __: object) -> None:
            time.sleep(0.05)
            heard.append(event)

        process = sleeper()
        process.kill()
        worker = Worker(1, "one.test", ours, hear)
        descriptor = os.pidfd_open(process.pid)
        for _ in range(100):
            theirs.send(b'{"event": "word"}')
        theirs.close()
        worker.attach(process.pid, descriptor)
        worker._on_exit()
        process.wait()
        assert heard[-1] == "gone"
        assert 2 <= len(heard) < 10

    asyncio.run(play())


def test_who_is_killed_before_being_forked_is_gone_at_once() -> None:
    async def play() -> None:
        ours, theirs = sockets.pair()
        heard: list[str] = []
        worker = Worker(1, "one.test", ours, lambda _, event, __: heard.append(event))
        worker.kill()
        worker.kill()
        assert heard == ["gone"]
        assert theirs.recv(1) == b""
        theirs.close()

    asyncio.run(play())
