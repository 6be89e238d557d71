"""Orders that are not obeyed: withdrawn, refused, and never obeyed later."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import resource
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from innkeeper.edge import logs
from innkeeper.kernel import sockets
from innkeeper.kernel.cgroups.group import Group
from innkeeper.spec.node import Layout, NodeSettings
from innkeeper.spec.problem import SpecError
from innkeeper.spec.runtime import RuntimeSpec
from innkeeper.spec.site import parse_site
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor import helpers, plan, starting, zygotes
from innkeeper.supervisor.attempt import Attempt
from innkeeper.supervisor.confines import Confines
from innkeeper.supervisor.main import Supervisor
from innkeeper.supervisor.nursery import Ground
from innkeeper.supervisor.ports import Ports
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.worker import Worker
from innkeeper.supervisor.zygotes import Zygote
from innkeeper.worker.order import Descriptors, Order


class Warming:
    """A zygote that becomes ready when the test says so; `far` is its end of the channel."""

    def __init__(self) -> None:
        self.refused: list[int] = []
        self.doors: Callable[[], list[int]] = list
        self._channels: list[socket.socket] = []
        ours, self.far = sockets.pair()
        nothing: Any = SimpleNamespace(note=lambda *_: None, drop=lambda *_: None)
        self.zygote = Zygote(
            RuntimeSpec(name="small", python="/usr/bin/python3"),
            Layout(Path("/nowhere")),
            nothing,
            walled=False,
            bare=True,
            generation=1,
            wanted=(),
            on_ready=lambda _: None,
            on_forked=lambda *_: None,
            on_refused=lambda identity, _: self.refused.append(identity),
            doors=lambda: self.doors(),
            log=lambda _: None,
        )
        self.zygote.adopt(ours, {"pid": 0, "wanted": [], "ready": False})

    def order(self, identity: int) -> socket.socket:
        """Order a worker; the supervisor's end of its channel."""
        ours, theirs = sockets.pair()
        nothing = os.open(os.devnull, os.O_RDWR)
        with theirs:
            order = Order(identity=identity, domain="one.test", tenant="alice", uid=1, gid=1)
            self._channels.append(ours)
            self.zygote.order(order, Descriptors(theirs.fileno(), nothing, nothing, nothing))
        os.close(nothing)
        ours.setblocking(False)
        return ours

    def close(self) -> None:
        self.zygote.stop()
        for channel in (self.far, *self._channels):
            channel.close()

    async def become_ready(self) -> list[int]:
        """The identities that it is then ordered."""
        told = {"python": "3.11", "left_out": {}, "preloaded": [], "memory": 0, "reads": []}
        sockets.send(self.far, {"ready": True, **told})
        await asyncio.sleep(0.05)
        self.far.setblocking(False)
        found = []
        while True:
            try:
                received = sockets.receive(self.far, 12)
            except BlockingIOError:
                return found
            if received is None:
                return found
            found.append(received[0]["identity"])
            for descriptor in received[1]:
                os.close(descriptor)


def is_open(channel: socket.socket) -> bool:
    """Whether anybody has the other end."""
    try:
        return channel.recv(1) != b""
    except BlockingIOError:
        return True


def play(scene: Callable[[Warming], Awaitable[None]]) -> None:
    async def run() -> None:
        warming = Warming()
        try:
            await scene(warming)
        finally:
            warming.close()

    asyncio.run(run())


def test_an_order_that_is_withdrawn_is_never_obeyed() -> None:
    async def scene(warming: Warming) -> None:
        first, second = warming.order(1), warming.order(2)
        warming.zygote.withdraw(1)
        warming.zygote.withdraw(3)
        assert not is_open(first)
        assert is_open(second)
        assert await warming.become_ready() == [2]
        assert warming.refused == []

    play(scene)


def test_a_zygote_that_ends_for_good_refuses_what_waits_for_it() -> None:
    async def scene(warming: Warming) -> None:
        channels = [warming.order(1), warming.order(2)]
        warming.zygote.stop()
        assert warming.refused == [1, 2]
        assert not any(map(is_open, channels))
        assert warming.far.recv(1) == b""

    play(scene)


def test_what_was_sent_is_answered_before_a_zygote_ends() -> None:
    async def scene(warming: Warming) -> None:
        assert await warming.become_ready() == []
        warming.order(1)
        warming.zygote.stop()
        message, given = sockets.receive(warming.far, 12) or ({}, [])
        assert message["identity"] == 1
        for descriptor in given:
            os.close(descriptor)
        sockets.send(warming.far, {"refused": 1, "reason": "no"})
        await asyncio.sleep(0.05)
        assert warming.refused == [1]
        assert warming.far.recv(1) == b""

    play(scene)


def test_a_start_that_was_ended_before_it_was_obeyed_is_not_repeated() -> None:
    async def run() -> None:
        repeated: list[bool] = []
        ours, theirs = sockets.pair()
        nobody: Any = SimpleNamespace()
        attempt = Attempt(nobody, nobody)
        attempt.worker = Worker(1, "one.test", ours, lambda *_: repeated.append(attempt.repeat()))
        with theirs:
            attempt.worker.kill()
        assert repeated == [False]

    asyncio.run(run())


def test_an_app_that_finds_fault_with_any_ground_is_not_moved_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moves: list[str] = []
    monkeypatch.setattr(starting, "other_ground", lambda _, __, python, ___: Ground(python, bare=True))
    monkeypatch.setattr(Attempt, "_order", lambda self: setattr(self, "worker", Mock()))
    nobody: Any = Mock()
    attempt = Attempt(nobody, nobody)
    attempt._ground, worker = Ground("start"), Mock()
    attempt.worker = worker
    while not worker.kill.called:
        moves.append(f"ground {len(moves) % 2}")
        worker = attempt.worker
        attempt.move(moves[-1])
    assert 2 < len(moves) < 6
    attempt._timers.clear()


def test_what_is_forked_although_its_order_was_withdrawn_is_ended() -> None:
    supervisor: Any = SimpleNamespace(services=SimpleNamespace(workers={}))
    with subprocess.Popen(["sleep", "5"]) as process:
        Supervisor._on_forked(supervisor, 1, process.pid, os.pidfd_open(process.pid))
    assert process.returncode == -9


def fail(*_: object) -> Any:
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def test_an_order_waits_while_no_zygote_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygotes, "_RETRY_WAIT", 0.05)
    tries: list[None] = []

    async def scene(warming: Warming) -> None:
        warming.doors = lambda: tries.append(None) or fail()
        warming.far.close()
        await asyncio.sleep(0.01)
        before = len(os.listdir("/proc/self/fd"))
        channels = [warming.order(number) for number in range(5)]
        await asyncio.sleep(0.5)
        assert 5 < len(tries) <= 5 + 10
        assert all(map(is_open, channels))
        assert len(os.listdir("/proc/self/fd")) == before + 5 * 5
        warming.zygote.stop()
        tries.clear()
        await asyncio.sleep(0.1)
        assert not tries

    play(scene)


class Town:
    """Services with a zygote that does not get as far as taking an order, and what is told to the keeper."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.withdrawn: list[int] = []
        custody = SimpleNamespace(keep=lambda name, *_: self.kept.add(name), drop=self.kept.discard)
        zygote = SimpleNamespace(runtime=SimpleNamespace(python="python"), order=fail)
        nursery = SimpleNamespace(
            default="small", has=bool, zygote=lambda _: zygote, withdraw=self.withdrawn.append
        )
        nothing: Any = SimpleNamespace()
        self.services = Services(
            layout=nothing,
            settings=NodeSettings(),
            custody=cast("Any", custody),
            routes=nothing,
            admission=nothing,
            wakeups=nothing,
            nursery=cast("Any", nursery),
            learning=nothing,
            ports=Ports("none", lambda _: None),
            meter=nothing,
            edge_gid=0,
            log=lambda _: None,
            tenants={"alice": TenantSpec(name="alice", uid=70000)},
        )


def test_a_helper_that_can_not_be_ordered_leaves_nothing_behind() -> None:
    async def run() -> None:
        town = Town()
        alice, services = town.services.tenants["alice"], town.services
        before = os.listdir("/proc/self/fd")
        with pytest.raises(OSError, match=os.strerror(errno.EAGAIN)):
            helpers.start(alice, [0, 1, 2], services, lambda *_: None, arguments=("true",))
        assert os.listdir("/proc/self/fd") == before
        assert (services.workers, town.kept, town.withdrawn) == ({}, set(), [1])

    asyncio.run(run())


def test_what_a_worker_is_made_from_is_left_with_the_keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "_open_logs", lambda *_: [os.dup(0), os.dup(0)])

    async def run() -> None:
        town, noted = Town(), []
        town.services.custody.keep = lambda *kept: noted.append(kept[2])  # type: ignore[method-assign]
        spec = parse_site("one.test", 'tenant = "alice"\n[app]\nasgi = "app:app"\n', file="one.test.toml")
        with socket.socket() as listener, pytest.raises(OSError, match=os.strerror(errno.EAGAIN)):
            starting.start(spec, Ground("small"), listener, town.services, lambda *_: None)
        (note,) = noted
        assert (note["tenant"], note["socket"], note["mark"]) == ("alice", "http", plan.mark(spec))

    asyncio.run(run())


def test_a_worker_that_can_not_be_ordered_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[int] = []
    monkeypatch.setattr(starting, "_open_logs", lambda *_: [os.dup(0), os.dup(0)])
    monkeypatch.setattr(Ports, "take", lambda *_: 20007)
    monkeypatch.setattr(Ports, "release", lambda _, port: released.append(port))

    async def run() -> None:
        town = Town()
        text = 'tenant = "alice"\n[app]\ncommand = "true"\n'
        spec = parse_site("one.test", text, file="one.test.toml", settings=NodeSettings())
        before = os.listdir("/proc/self/fd")
        listener = socket.socket()
        with listener, pytest.raises(OSError, match=os.strerror(errno.EAGAIN)):
            starting.start(spec, Ground("small"), listener, town.services, lambda *_: None)
        assert os.listdir("/proc/self/fd") == before
        assert (town.services.workers, town.kept, town.withdrawn, released) == ({}, set(), [1], [20007])

    asyncio.run(run())


@contextlib.contextmanager
def with_descriptors(count: int) -> Iterator[None]:
    """Within it, no more descriptors than so many can be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    *free, beyond = [os.dup(0) for _ in range(count + 1)]
    for descriptor in (*free, beyond):
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (beyond, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.skipif(os.geteuid() != 0, reason="logs are given to tenants, which takes root")
def test_a_start_that_descriptors_are_short_for_costs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "prepare", lambda *_, **__: None)

    async def run() -> None:
        town = Town()
        town.services.layout = Layout(tmp_path)
        town.services.layout.log_dir("one.test").mkdir(parents=True)
        spec = parse_site("one.test", 'tenant = "alice"\n[app]\nwsgi = "app:app"\n', file="one.test.toml")
        failed = []
        gc.collect()  # those of other tests
        with socket.socket() as listener:
            before = os.listdir("/proc/self/fd")
            for count in range(6):
                with with_descriptors(count), pytest.raises(OSError) as raised:
                    starting.start(spec, Ground("small"), listener, town.services, lambda *_: None)
                assert os.listdir("/proc/self/fd") == before
                failed.append(raised.value.errno)
        assert failed == [errno.EMFILE] * 4 + [errno.EAGAIN] * 2
        assert (town.services.workers, town.kept) == ({}, set())

    asyncio.run(run())


def test_the_doors_of_a_group_are_opened_all_or_none(tmp_path: Path) -> None:
    for name in ("cpu", "memory"):
        tmp_path.joinpath(name).mkdir()
        tmp_path.joinpath(name, "tasks").touch()
    group: Any = SimpleNamespace(
        directories=[f"{tmp_path}/cpu", f"{tmp_path}/memory"], _shared=(), _door="tasks"
    )
    gc.collect()
    before = os.listdir("/proc/self/fd")
    with with_descriptors(1), pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        Group.doors(group)
    assert os.listdir("/proc/self/fd") == before


def test_a_worker_is_not_ordered_of_a_runtime_that_is_not_there() -> None:
    town = Town()
    town.services.nursery.has = {"small"}.__contains__  # type: ignore[method-assign, assignment]
    town.services.nursery.pairs = {"small": cast("Any", None)}
    text = 'tenant = "alice"\n[app]\nwsgi = "app:app"\nruntime = "small"\n'
    spec = parse_site("one.test", text, file="one.test.toml", settings=NodeSettings())
    with socket.socket() as listener, pytest.raises(SpecError, match="`default_runtime` is 'large'"):
        starting.start(spec, Ground("large", bare=True), listener, town.services, lambda *_: None)
    assert town.services.workers == {}


def test_who_does_not_come_in_is_not_counted() -> None:
    nobody: Any = SimpleNamespace(
        child=lambda *_, **__: nobody, create=lambda _: None, delegate=lambda: None, doors=fail
    )
    confines = Confines(nobody)
    with pytest.raises(OSError, match=os.strerror(errno.EAGAIN)):
        confines.enter(TenantSpec(name="alice", uid=70000), "one.test", NodeSettings().site_limits)
    assert confines.awake() == {}
