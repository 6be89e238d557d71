"""A site's life by itself: its workers are ends of channels, and what it needs of the node is a record of calls."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from innkeeper.kernel import remote, sockets
from innkeeper.spec.node import NodeSettings
from innkeeper.spec.site import parse_site
from innkeeper.supervisor import adoption, attempt, plan, site, starting, troubles
from innkeeper.supervisor.admission import Admission
from innkeeper.supervisor.custody import Kept
from innkeeper.supervisor.nursery import Ground
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.site import Site
from innkeeper.supervisor.states import State
from innkeeper.supervisor.wakeups import Wakeups
from innkeeper.supervisor.worker import Worker
from tests.unit.scenes import play_on


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


class Stage:
    """One site, its listening socket, and workers that a test plays: `ends` has the other end of each channel."""

    def __init__(self) -> None:
        self.services = Services(
            layout=Mock(),
            settings=NodeSettings(),
            custody=Mock(),
            routes=Mock(),
            admission=Admission(2, 100),
            wakeups=Wakeups(lambda _: self.site.ring(), lambda _: self.site.renew_listener()),
            nursery=Mock(),
            learning=Mock(),
            ports=Mock(),
            meter=Mock(),
            edge_gid=os.getgid(),
            log=Mock(),
        )
        self.spec = parse_site(
            "one.test", 'tenant = "alice"\n[app]\nwsgi = "app:app"\n', file="one.test.toml"
        )
        self.ends: dict[Worker, socket.socket] = {}
        self.heard: list[str] = []
        os.makedirs("live/one.test", exist_ok=True)
        self.site = Site(self.spec, starting.bind(self.spec, self.services), self.services)

    def worker(self, identity: int) -> Worker:
        ours, theirs = sockets.pair()
        site = self.site

        def hear(worker: Worker, event: str, message: dict[str, Any]) -> None:
            site.hear(worker, event, message)
            self.heard.append(event)

        worker = Worker(identity, "one.test", ours, hear)
        worker.tenant = "alice"
        self.ends[worker] = theirs
        theirs.setblocking(False)
        return worker

    def asked(self, worker: Worker) -> list[str]:
        """What the worker was asked since the last look."""
        words: list[str] = []
        while True:
            try:
                received = sockets.receive(self.ends[worker])
            except BlockingIOError:
                return words
            if received is None:
                return words
            words.append(received[0]["do"])

    async def say(self, worker: Worker, event: str, **detail: Any) -> None:
        """Have a worker say something, and its site hear it."""
        before = len(self.heard)
        sockets.send(self.ends[worker], {"event": event, **detail})
        await until(lambda: len(self.heard) > before)

    async def leave(self, worker: Worker) -> None:
        """Have a worker end."""
        self.ends[worker].close()
        await until(lambda: self.heard[-1:] == ["gone"])

    def end(self) -> None:
        for worker, end in self.ends.items():
            end.close()
            if worker.channel.fileno() >= 0:
                worker.forsake()
        self.site.listener.close()


Play = Callable[[Callable[[Stage], Awaitable[None]]], None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    monkeypatch.chdir(tmp_path)

    return partial(play_on, Stage)


READY: dict[str, Any] = {"ready": True, "draining": False, "failed": False}


# ── another in its place ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("condition", ["ready", "starting"])
def test_who_has_retired_takes_what_waits_and_leaves_the_rest_to_the_other(
    play: Play, monkeypatch: pytest.MonkeyPatch, condition: str
) -> None:
    monkeypatch.setattr(site, "RETIREMENT", 0.1)

    async def scene(stage: Stage) -> None:
        worker = stage.worker(7)
        stage.site.adopt([(worker, condition)])
        retired, stage.site = stage.site, Mock()
        retired.retire()
        stage.services.routes.reset_mock()
        assert stage.asked(worker) == []
        await stage.leave(worker)
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect("live/one.test/sock")
            retired.listener.shutdown(socket.SHUT_RDWR)
            await until(lambda: retired.listener.fileno() == -1)
            assert visitor.recv(1) == b""
        assert stage.site.mock_calls == []
        assert stage.services.routes.mock_calls == []

    play(scene)


def test_who_has_retired_lets_its_worker_finish(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "RETIREMENT", 0.05)

    async def scene(stage: Stage) -> None:
        old, worker, loader = stage.worker(5), stage.worker(7), stage.worker(8)
        stage.site.adopt([(old, "leaving"), (worker, "ready"), (loader, "starting")])
        stage.site.retire()
        assert stage.asked(loader) == ["drain"]
        assert stage.asked(worker) == []
        await until(lambda: stage.site.listener.fileno() == -1)
        assert stage.asked(worker) == ["drain"]

    play(scene)


def test_who_rests_and_has_retired_goes_on(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        worker = stage.worker(7)
        stage.site.adopt([(worker, "resting")])
        assert stage.site.state is State.HIBERNATING
        stage.site.retire()
        assert stage.asked(worker) == ["go"]

    play(scene)


# ── another tenant's ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", ["serving", "reloading", "starting", "failed", "hibernating", "draining"])
def test_who_waits_when_another_tenant_has_the_site_wakes_that_ones_worker(
    play: Play, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    async def scene(stage: Stage) -> None:
        former, loading, own = (stage.worker(number) for number in (6, 7, 8))
        start = Mock(side_effect=lambda spec, *_: own if spec.tenant == "bob" else loading)
        monkeypatch.setattr(starting, "start", start)
        if state in ("starting", "failed"):
            stage.site.ring()
        else:
            stage.site.adopt([(former, "resting" if state == "hibernating" else "ready")])
        if state == "failed":
            await stage.say(loading, "failed")
        elif state == "reloading":
            stage.site.reload()
        elif state == "draining":
            stage.site.give_way()
        assert stage.site.state.value == state
        before = start.call_count
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect("live/one.test/sock")
            own.tenant, stage.site.spec = "bob", msgspec.structs.replace(stage.spec, tenant="bob")
            stage.site.change_hands()
            await until(lambda: start.call_count > before)
            assert ("drain" in stage.asked(former)) == (state not in ("starting", "failed"))
            assert ("drain" in stage.asked(loading)) == bool(before)
            assert not stage.site.problems
            await stage.say(own, "failed")
            assert stage.site.state is State.FAILED

    play(scene)


def test_what_befalls_a_former_tenants_worker_is_not_told_to_the_next(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        former = stage.worker(7)
        stage.site.adopt([(former, "ready")])
        stage.site.spec = msgspec.structs.replace(stage.spec, tenant="bob")
        stage.site.change_hands()
        for event in ("late", "crashed", "files", "flooded", "full"):
            await stage.say(former, event)
        assert not stage.site.problems
        await stage.leave(former)
        stage.services.custody.drop.assert_called_once_with("worker:7")  # type: ignore[attr-defined]

    play(scene)


# ── an app that does not load ────────────────────────────────────────────────────────────────────────────


def test_of_those_that_could_not_load_one_stays_to_watch(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> None:
        workers = [stage.worker(number) for number in range(1, 6)]
        monkeypatch.setattr(starting, "start", Mock(side_effect=workers))
        first, second, ends, third, last = workers
        for worker in (first, second):
            stage.site.ring()
            await stage.say(worker, "failed")
        assert stage.asked(first) == ["drain"]
        stage.site.ring()
        ends.attach(os.getpid(), os.pidfd_open(os.getpid()))
        ends.abandon()
        assert stage.site.state is State.FAILED
        assert stage.asked(second) == []
        await stage.say(second, "touched")
        assert stage.site.state is State.STARTING
        assert stage.asked(second) == ["drain"]
        await stage.say(third, "failed")
        stage.site.ring()
        await stage.say(last, "loaded")
        assert stage.asked(third) == ["drain"]

    play(scene)


# ── an app that crashes ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long sites waited after they had failed."""
    told: list[float] = []
    next_wait = troubles.Backoff.next_wait

    def spy(backoff: troubles.Backoff) -> float:
        told.append(next_wait(backoff))
        return told[-1]

    monkeypatch.setattr(troubles.Backoff, "next_wait", spy)
    return told


async def crash(stage: Stage, number: int) -> None:
    """Have so many workers, one after the other, end unasked after they were loaded."""
    for identity in range(number):
        worker = stage.worker(identity)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(starting, "start", Mock(return_value=worker))
            stage.site.ring()
        await stage.say(worker, "loaded")
        await stage.leave(worker)


def test_who_crashes_at_once_again_and_again_waits_longer_each_time(
    play: Play, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    async def scene(stage: Stage) -> None:
        await crash(stage, 5)
        assert stage.site.state is State.FAILED
        assert waits == [1, 2, 4]
        with monkeypatch.context() as later:
            later.setattr(troubles, "CRASH_WINDOW", 0.0)
            await crash(stage, 1)
        await crash(stage, 2)
        assert stage.site.state is State.ASLEEP
        await crash(stage, 1)
        assert waits == [1, 2, 4, 1]

    play(scene)


def test_crashes_are_not_in_a_row_with_an_orderly_end_between_them(
    play: Play, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    async def scene(stage: Stage) -> None:
        await crash(stage, 2)
        worker = stage.worker(7)
        monkeypatch.setattr(starting, "start", Mock(return_value=worker))
        stage.site.ring()
        await stage.say(worker, "loaded")
        await stage.say(worker, "idle")
        await stage.say(worker, "gated")
        await crash(stage, 2)
        assert stage.site.state is State.ASLEEP
        assert waits == []

    play(scene)


@pytest.mark.parametrize(("event", "state"), [("loaded", State.SERVING), ("failed", State.FAILED)])
def test_a_machine_that_cannot_be_looked_at_keeps_no_site_between_two_states(
    play: Play, monkeypatch: pytest.MonkeyPatch, event: str, state: State
) -> None:
    async def scene(stage: Stage) -> None:
        monkeypatch.setattr(starting, "start", Mock(return_value=stage.worker(7)))
        stage.services.woken = Mock(side_effect=OSError(24, "Too many open files"))
        stage.site.ring()
        with pytest.raises(OSError, match="Too many open files"):
            stage.site.hear(next(iter(stage.ends)), event, {})
        assert stage.site.state is state

    play(scene)


# ── where it is started from ─────────────────────────────────────────────────────────────────────────────


def test_who_is_unfit_and_has_ended_is_replaced_once(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> None:
        unfit, fit = stage.worker(1), stage.worker(2)
        start = Mock(side_effect=[unfit, fit])
        monkeypatch.setattr(starting, "start", start)
        stage.site.ring()
        sockets.send(stage.ends[unfit], {"event": "unfit"})
        stage.ends[unfit].close()
        await until(lambda: stage.heard == ["gone", "unfit"])
        await stage.say(fit, "loaded")
        assert stage.site.state is State.SERVING
        assert start.call_count == 2

    play(scene)


def test_a_site_whose_runtime_was_removed_starts_again_where_its_file_says(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(stage: Stage) -> None:
        unfit, fit, last = (stage.worker(number) for number in range(1, 4))
        start = Mock(side_effect=[unfit, fit, last])
        monkeypatch.setattr(starting, "start", start)
        home, elsewhere = Ground("small"), Ground("old", bare=True)
        runtimes = {"small", "old"}
        nursery: Any = stage.services.nursery
        nursery.default, nursery.has = "small", runtimes.__contains__
        nursery.is_decided_by.return_value, nursery.ground_of.return_value = False, elsewhere
        stage.site.ring()
        await stage.say(unfit, "unfit", python="3.9")
        await stage.say(fit, "loaded")
        await stage.leave(fit)
        runtimes.remove("old")
        stage.site.ring()
        await stage.say(last, "loaded")
        assert stage.site.state is State.SERVING
        assert [call.args[1] for call in start.call_args_list] == [home, elsewhere, home]

    play(scene)


# ── a reload ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reload_for_which_there_is_no_place_is_tried_again(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "FLAG_TIME", 0.05)

    async def scene(stage: Stage) -> None:
        old, new = stage.worker(7), stage.worker(8)
        monkeypatch.setattr(starting, "start", Mock(return_value=new))
        stage.site.adopt([(old, "ready")])
        with monkeypatch.context() as full:
            refuse = Mock(side_effect=lambda _, start, refuse: refuse())
            full.setattr(stage.services.admission, "enter", refuse)
            await stage.say(old, "touched")
            assert stage.site.state is State.SERVING
            await until(lambda: refuse.call_count == 2)
        await until(lambda: stage.site.state is State.RELOADING)
        await stage.say(new, "loaded")
        assert stage.site.state is State.SERVING
        assert stage.asked(old) == ["drain"]
        await asyncio.sleep(0.1)
        assert stage.site.state is State.SERVING

    play(scene)


# ── its socket ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ends", [False, True])
def test_a_socket_that_was_shut_down_is_bound_anew_as_soon_as_that_can_be(
    play: Play, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    monkeypatch.setattr(site, "RENEWAL", 0.05)

    async def scene(stage: Stage) -> None:
        worker, before = stage.worker(7), stage.site.listener
        stage.site.adopt([(worker, "ready")])
        with monkeypatch.context() as full:
            full.setattr(starting, "bind", Mock(side_effect=OSError(24, "Too many open files")))
            before.shutdown(socket.SHUT_RDWR)
            await until(lambda: bool(stage.site.problems))
            assert "Too many open files" in stage.site.problems["socket-shut"].message
        if ends:  # which arms the socket
            await stage.leave(worker)
        await until(lambda: stage.site.listener is not before)
        assert before.fileno() == -1
        assert "another was bound" in stage.site.problems["socket-shut"].message
        renewed = stage.site.listener
        await asyncio.sleep(0.1)
        assert stage.site.listener is renewed
        if not ends:
            await stage.leave(worker)
        stage.site = Mock()
        with renewed, socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect("live/one.test/sock")
            await until(lambda: stage.site.ring.called)

    play(scene)


def test_a_socket_that_is_shut_down_is_told_of_once(tmp_path: Path) -> None:
    async def scene() -> None:
        shut = Mock()
        wakeups = Wakeups(Mock(), shut)
        with sockets.listen(tmp_path / "sock", mode=0o600, gid=os.getgid(), backlog=1) as listener:
            wakeups.add("one.test", listener.fileno())
            listener.shutdown(socket.SHUT_RDWR)
            await until(lambda: shut.called)
            await asyncio.sleep(0.05)
            assert shut.call_count == 1
            wakeups.arm(listener.fileno())
            await until(lambda: shut.call_count == 2)

    asyncio.run(scene())


def test_a_bell_that_can_not_be_answered_does_not_cost_others_theirs(tmp_path: Path) -> None:
    told: list[str] = []
    failed: list[BaseException] = []

    def ring(domain: str) -> None:
        told.append(domain)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failed.append(what["exception"]))
        wakeups = Wakeups(ring, ring)
        with contextlib.ExitStack() as stack:
            for name in ("one", "other", "shut"):
                path = tmp_path / name
                listener = sockets.listen(path, mode=0o600, gid=os.getgid(), backlog=1)
                wakeups.add(name, stack.enter_context(listener).fileno())
                wakeups.arm(listener.fileno())
                if name == "shut":
                    listener.shutdown(socket.SHUT_RDWR)
                else:
                    stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
            await asyncio.sleep(0.05)

    asyncio.run(scene())
    assert sorted(told) == ["one", "other", "shut"]
    assert len(failed) == 3


@pytest.mark.parametrize("event", ["slow", "severed"])
def test_a_request_that_breaks_off_after_the_site_was_removed_is_severed_all_the_same(
    play: Play, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    asked = Mock(return_value=0)
    monkeypatch.setattr(remote, "other_end", asked)

    async def scene(stage: Stage) -> None:
        worker, address = stage.worker(7), stage.site.listener.getsockname()
        stage.site.adopt([(worker, "ready")])
        stage.site.close()
        await stage.say(worker, event, sockets=[4711])
        asked.assert_called_once_with(4711, address)
        assert stage.asked(worker) == ["drain"] + ["proceed"] * (event == "slow")

    play(scene)


# ── workers of an earlier supervisor ────────────────────────────────────────────────────────────────


def test_who_reports_late_that_it_serves_is_the_one_that_serves(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        worker = stage.worker(7)
        stage.site.adopt([(worker, "starting")])
        assert stage.site.state is State.STARTING
        await stage.say(worker, "report", **READY)
        assert stage.site.state is State.SERVING
        assert stage.site.may_give_way(before=float("inf"))
        assert stage.asked(worker) == []

    play(scene)


def test_who_reports_late_that_it_rests_goes_on(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        worker = stage.worker(7)
        stage.site.adopt([(worker, "starting")])
        await stage.say(worker, "report", **READY, resting=True)
        assert stage.site.state is State.SERVING
        assert stage.asked(worker) == ["go"]

    play(scene)


def test_who_reports_late_that_it_starts_is_waited_for(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        worker = stage.worker(7)
        stage.site.adopt([(worker, "starting")])
        await stage.say(worker, "report", ready=False, draining=False, failed=False)
        assert stage.site.state is State.STARTING
        await stage.say(worker, "loaded")
        assert stage.site.state is State.SERVING

    play(scene)


@pytest.mark.parametrize("serves", [False, True])
def test_who_reports_late_that_it_leaves_is_let_go(play: Play, serves: bool) -> None:
    async def scene(stage: Stage) -> None:
        old, worker = stage.worker(6), stage.worker(7)
        stage.site.adopt([(old, "ready")] * serves + [(worker, "starting")])
        assert stage.site.state is (State.RELOADING if serves else State.STARTING)
        await stage.say(worker, "report", ready=True, draining=True, failed=False)
        assert stage.site.state is (State.SERVING if serves else State.ASLEEP)
        assert stage.asked(worker) == ["drain"]
        assert stage.asked(old) == []

    play(scene)


def test_of_those_that_say_nothing_the_newest_goes_on(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        old, new = stage.worker(6), stage.worker(7)
        stage.site.adopt([(old, "starting"), (new, "starting")])
        assert stage.asked(old) == ["drain"]
        await stage.say(old, "report", **READY)
        await stage.say(new, "report", **READY)
        assert stage.site.state is State.SERVING
        assert stage.asked(new) == []

    play(scene)


def test_who_says_nothing_and_is_older_than_who_serves_takes_nobodys_place(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        old, new = stage.worker(6), stage.worker(7)
        stage.site.adopt([(old, "starting"), (new, "ready")])
        assert stage.site.state is State.SERVING
        assert stage.asked(old) == ["drain"]
        await stage.say(old, "report", **READY)
        assert stage.asked(new) == []

    play(scene)


def test_who_never_says_anything_has_the_time_that_a_start_may_take(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "_LOAD_LIMIT", 0.05)

    async def scene(stage: Stage) -> None:
        worker = stage.worker(7)
        worker.kill = Mock()  # type: ignore[method-assign]
        stage.site.adopt([(worker, "starting")])
        await until(lambda: worker.kill.called)
        assert worker.problem is not None and worker.problem.code == "load-too-slow"

    play(scene)


@pytest.mark.parametrize("condition", ["ready", "resting", "starting"])
@pytest.mark.parametrize("other", [{"tenant": "bob"}, {"socket": "http"}])
def test_who_is_not_the_sites_any_more_leaves_and_visitors_wake_another(
    play: Play, monkeypatch: pytest.MonkeyPatch, condition: str, other: dict[str, str]
) -> None:
    async def scene(stage: Stage) -> None:
        former, own = stage.worker(7), stage.worker(8)
        monkeypatch.setattr(starting, "start", Mock(return_value=own))
        for name, value in other.items():
            setattr(former, name, value)
        stage.site.adopt([(former, condition)])
        assert stage.site.state is State.ASLEEP
        assert stage.asked(former) == ["drain"]
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect("live/one.test/sock")
            await until(lambda: stage.site.state is State.STARTING)

    play(scene)


def test_who_rests_beside_one_that_leaves_goes_on_resting(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        worker, former = stage.worker(6), stage.worker(7)
        former.tenant = "bob"
        stage.site.adopt([(worker, "resting"), (former, "ready")])
        assert stage.site.state is State.HIBERNATING
        assert (stage.asked(worker), stage.asked(former)) == ([], ["drain"])

    play(scene)


@pytest.mark.parametrize("condition", ["ready", "resting", "starting"])
def test_who_is_made_from_something_else_is_replaced(
    play: Play, monkeypatch: pytest.MonkeyPatch, condition: str
) -> None:
    async def scene(stage: Stage) -> None:
        outdated, new = stage.worker(7), stage.worker(8)
        monkeypatch.setattr(starting, "start", Mock(return_value=new))
        outdated.mark, new.mark = "another", plan.mark(stage.spec)
        stage.site.adopt([(outdated, condition)])
        if condition == "starting":
            assert stage.site.state is State.STARTING
            await stage.say(outdated, "loaded")
        if condition == "resting":
            assert stage.site.state is State.DRAINING
        else:
            assert stage.site.state is State.RELOADING
            await stage.say(new, "loaded")
            assert stage.site.state is State.SERVING
        assert stage.asked(outdated) == ["drain"]

    play(scene)


def test_who_is_made_from_the_same_goes_on(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        old, worker = stage.worker(6), stage.worker(7)
        old.mark, worker.mark, worker.socket = "another", plan.mark(stage.spec), "sock"
        stage.site.adopt([(old, "leaving"), (worker, "ready")])
        assert stage.site.state is State.SERVING
        assert stage.asked(worker) == []

    play(scene)


@pytest.mark.parametrize("in_time", [True, False])
def test_new_code_that_was_seen_while_no_supervisor_was_there_is_loaded(
    play: Play, monkeypatch: pytest.MonkeyPatch, in_time: bool
) -> None:
    monkeypatch.setattr(adoption, "REPORT_TIME", 0.1)

    async def scene(stage: Stage) -> None:
        start = Mock(return_value=stage.worker(8))
        monkeypatch.setattr(starting, "start", start)
        ours, theirs = sockets.pair()
        sockets.send(theirs, {"event": "idle"})
        sockets.send(theirs, {"event": "touched"})
        note = {"domain": "one.test", "tenant": "alice", "group": "one.test", "port": 0, "python": ""}
        roll = adoption.Roll([Kept("worker:7", [ours.detach()], note)], Mock(), {})
        (worker,) = roll.workers
        stage.ends[worker] = theirs
        if in_time:
            sockets.send(theirs, {"event": "report", **READY})
        found = await roll.call()
        worker.redirect(stage.site.hear)
        stage.site.adopt(found["one.test"])
        roll.pass_on()
        if not in_time:
            sockets.send(theirs, {"event": "report", **READY})
        await until(lambda: stage.site.state is State.RELOADING)
        assert start.called

    play(scene)


def test_what_is_said_while_the_roll_is_called_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "REPORT_TIME", 0.1)
    note = {"domain": "one.test", "tenant": "alice", "group": "one.test", "port": 0, "python": ""}

    async def scene() -> None:
        pairs = [sockets.pair() for _ in range(4)]
        kept = [Kept(f"worker:{number}", [ours.detach()], note) for number, (ours, _) in enumerate(pairs)]
        roll = adoption.Roll(kept, Mock(), {})
        for (_, theirs), event in zip(pairs, ("loaded", "failed", "unfit"), strict=False):
            sockets.send(theirs, {"event": "report", "ready": False})
            sockets.send(theirs, {"event": event})
        found = await roll.call()
        assert [how for _, how in found["one.test"]] == ["ready", "leaving", "leaving", "starting"]
        for _, theirs in pairs:
            theirs.close()
        for worker in roll.workers:
            worker.forsake()

    asyncio.run(scene())
