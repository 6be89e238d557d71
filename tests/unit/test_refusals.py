"""A zygote that can't fork: who had ordered the worker hears of it, and nobody else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from innkeeper.kernel import sockets
from innkeeper.spec.shares import SiteLimits
from innkeeper.spec.site import parse_site
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor import helpers, starting
from innkeeper.supervisor.main import Supervisor
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.site import Site
from innkeeper.supervisor.states import State
from innkeeper.supervisor.worker import Worker

SPEC = parse_site("one.test", 'tenant = "alice"\n[app]\nwsgi = "/home/alice/app.py"\n', file="one.test.toml")
ALICE = TenantSpec(name="alice", uid=20_000)


class Ordered:
    """What of a node has to do with orders, of which none is obeyed; `ends` are the workers' of their channels."""

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}
        self.ends: list[socket.socket] = []
        self.sites: dict[str, Site] = {}
        self.services = cast("Services", Mock(workers=self.workers, forget=self._forget, enlist=self._enlist))
        self.services.ordering = partial(Services.ordering, self.services)  # type: ignore[method-assign]
        self.services.settings.site_limits = SiteLimits()
        self.services.new_identity = lambda: len(self.ends) + 1
        self.services.admission.enter = lambda _, start, __: start()
        self.services.admission.cancel = lambda _: False

    def start(self, *given: Any) -> Worker:
        """In the place of `starting.start`."""
        ours, theirs = sockets.pair()
        self.ends.append(theirs)
        worker = Worker(len(self.ends), SPEC.domain, ours, given[-1])
        self.workers[worker.identity] = worker
        return worker

    def refuse(self, identity: int) -> None:
        """What a zygote says."""
        here = SimpleNamespace(services=self.services, node=SimpleNamespace(sites=self.sites))
        Supervisor._on_refused(cast("Supervisor", here), identity, "no room")

    def _enlist(self, worker: Worker, *_: Any) -> list[int]:
        self.workers[worker.identity] = worker
        return []

    def _forget(self, worker: Worker) -> None:
        del self.workers[worker.identity]


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ordered]:
    found = Ordered()
    monkeypatch.setattr(starting, "start", found.start)
    monkeypatch.setattr(starting, "ground_of", Mock())
    yield found
    for end in found.ends:
        end.close()


@pytest.fixture
def with_site(ordered: Ordered) -> Callable[[Callable[[Site], None]], None]:
    def play(what: Callable[[Site], None]) -> None:
        async def run() -> None:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind("")
                listener.setblocking(False)
                site = ordered.sites[SPEC.domain] = Site(SPEC, listener, ordered.services)
                what(site)
                site._release()  # its timers, too
                for worker in list(ordered.workers.values()):
                    worker.abandon()

        asyncio.run(run())

    return play


def test_it_fails_the_start_that_it_is_of(ordered: Ordered, with_site: Any) -> None:
    def what(site: Site) -> None:
        site.ring()
        ordered.refuse(1)
        assert site.state is State.FAILED
        assert "no room" in site.problems["start-failed"].message
        assert ordered.workers == {}
        assert len(ordered.ends) == 1  # it is not ordered again

    with_site(what)


def test_one_of_an_earlier_start_leaves_the_present_one_alone(ordered: Ordered, with_site: Any) -> None:
    def what(site: Site) -> None:
        site.ring()
        site.disable()
        site.enable()
        site.ring()
        ordered.refuse(1)
        assert site.state is State.STARTING
        assert list(ordered.workers) == [2]
        assert site._attempt.worker is ordered.workers[2]

    with_site(what)


def test_who_asked_for_a_command_is_told(ordered: Ordered) -> None:
    told: list[helpers.Ending] = []

    async def play() -> None:
        worker = helpers.start(ALICE, [0, 1, 2], ordered.services, told.append, arguments=("x",))
        ordered.refuse(worker.identity)

    asyncio.run(play())
    assert told == [helpers.Ending(None, "no process could be made for the worker: no room", False)]
