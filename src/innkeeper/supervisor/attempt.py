"""The start of a site's next worker: its turn, its place of birth, how often it was ordered, and its time limit."""

from __future__ import annotations

import socket
from typing import Any, Protocol

from innkeeper.spec.problem import Problem, SpecError
from innkeeper.spec.site import SiteSpec
from innkeeper.supervisor import starting, troubles
from innkeeper.supervisor.admission import LONG
from innkeeper.supervisor.nursery import Ground
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.timers import Timers
from innkeeper.supervisor.worker import DRAIN_SLACK, Worker

_ORDERS = 3  # times that a start is ordered before a zygote that dies over it is given up
_MOVES = 3  # times that it is moved to other ground
_LOAD_LIMIT = 120.0  # seconds an app may take to load


class Wanting(Protocol):
    """The site that wants a worker."""

    spec: SiteSpec
    listener: socket.socket
    cold_start_ms: float | None

    @property
    def tenant(self) -> str: ...

    def hear(self, worker: Worker, event: str, message: dict[str, Any]) -> None: ...

    def on_busy(self) -> None: ...

    def on_start_failed(self, problem: Problem) -> None: ...


class Attempt:
    """One after the other; `worker` is the one that loads, if any does."""

    __slots__ = ("_ground", "_moves", "_orders", "_services", "_site", "_timers", "worker")

    def __init__(self, site: Wanting, services: Services) -> None:
        self.worker: Worker | None = None
        self._site = site
        self._services = services
        self._orders = 0  # how often this one was ordered
        self._moves = 0  # how often it was moved
        self._ground: Ground | None = None  # where it comes from, when not where the site's file says
        self._timers = Timers()

    def begin(self) -> None:
        """Order a worker as soon as there is a place."""
        self._services.admission.enter(self._site, self._start, self._site.on_busy)

    def go_on_with(self, worker: Worker) -> None:
        """An earlier supervisor had ordered it."""
        self.worker = worker
        self._services.admission.take(self._site)
        self._limit()

    def settle(self) -> Worker | None:
        """It has come to its end, one way or the other; returns the worker that it was for."""
        worker, self.worker = self.worker, None
        self._orders = self._moves = 0
        self._timers.clear()
        self._services.admission.leave(self._site)
        self._on_started()
        return worker

    def give_up(self) -> Worker | None:
        """The site wants none any more; returns the worker that was under way."""
        if self._services.admission.cancel(self._site) or self.worker is None:
            return None
        return self.settle()

    def repeat(self) -> bool:
        """Order it again, for its zygote died before it had forked it; False when that has happened too often.

        False as well when it was forked, or there is another reason for its end.
        """
        worker = self.worker
        if self._orders >= _ORDERS or (worker is not None and (worker.pid or worker.told or worker.problem)):
            return False
        self._order()
        return True

    def move(self, python: str) -> None:
        """The app would not have exactly its own packages where this one is: have it started elsewhere."""
        worker, spec = self.worker, self._site.spec
        assert worker is not None
        before = self._ground or starting.ground_of(spec, self._services)
        self._ground = starting.other_ground(spec, before, python, self._services)
        self._moves += 1
        if self._ground == before or self._moves > _MOVES:
            worker.kill()  # it has been there before; and what it says may be the app's own words
            return
        self._orders, self.worker = 0, None  # before it is drained: it may have ended, and is told of at once
        worker.drain(DRAIN_SLACK)
        self._order()

    def return_home(self) -> None:
        """The site's packages may have changed: the next one starts where its file says."""
        self._ground = None

    def _start(self) -> None:
        """There is a place; it is given back by `settle`."""
        if self._ground is not None and not self._services.nursery.has(self._ground.runtime):
            self._ground = None  # the runtime was removed since
        self._order()

    def _order(self) -> None:
        self._orders += 1
        site, services = self._site, self._services
        try:
            ground = self._ground or starting.ground_of(site.spec, services)
            self.worker = starting.start(site.spec, ground, site.listener, services, site.hear)
        except (SpecError, OSError) as error:
            self.settle()
            problem = error.problem if isinstance(error, SpecError) else troubles.host_failed(error)
            site.on_start_failed(problem)
        else:
            self._limit()

    def _limit(self) -> None:
        self._timers.later("load", _LOAD_LIMIT, self._on_load_limit)
        self._timers.later("started", LONG, self._on_started)

    def _on_started(self) -> None:
        """It serves, or takes its time: from here on its tenant has the CPU like others."""
        if tenant := self._services.tenants.get(self._site.tenant):
            self._services.confines.started(tenant)

    def _on_load_limit(self) -> None:
        if self.worker is not None:
            self.worker.problem = troubles.load_limit(_LOAD_LIMIT)
            self.worker.kill()
