"""One site's life: woken, served, reloaded, put to sleep, crashed, failed, disabled.

All that happens to a site comes through here; `states.after` says what follows, and nothing else changes
the state. At any time a site has at most one serving worker, at most one that is starting, and any number
that accept nothing more and finish what they have.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

from innkeeper.spec.problem import Problem, SpecError
from innkeeper.spec.site import SiteSpec
from innkeeper.supervisor import hibernation, overuse, starting, troubles
from innkeeper.supervisor.admission import LONG
from innkeeper.supervisor.nursery import Ground
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.states import Event, State, after
from innkeeper.supervisor.worker import Worker

ORDERS = 3  # times that a start is ordered before a zygote that dies over it is given up
LOAD_LIMIT = 120.0  # seconds an app may take to load
DRAIN_SLACK = 20.0  # seconds past the time limit of requests after which a draining worker is killed
WATCH_LIMIT = 900.0  # seconds that a failed worker stays to watch for its file to be mended
RETIREMENT = 2.0  # seconds that a site whose kind of app was changed goes on taking what is in its queue
FLAG_TIME = 2.0  # seconds that visitors are told "busy" or "too slow"


class Site:
    """A site with an app, from the binding of its socket to its removal."""

    __slots__ = (
        "_again",
        "_backoff",
        "_crashes",
        "_ground",
        "_next",
        "_orders",
        "_queued",
        "_services",
        "_timers",
        "_watcher",
        "_worker",
        "cold_start_ms",
        "listener",
        "problems",
        "rang",
        "spec",
        "state",
        "turned",
        "used",
        "wakes",
    )

    def __init__(self, spec: SiteSpec, listener: socket.socket, services: Services) -> None:
        self.spec = spec
        self.listener = listener
        self.state = State.ASLEEP if spec.enabled else State.DISABLED
        self.problems: dict[str, Problem] = {}
        self.wakes = 0
        self.cold_start_ms: float | None = None
        self.rang = 0.0  # when the connection came that the current start is for; 0 = a reload
        self.used = 0.0  # when it was last asked for, as far as is known
        self.turned = 0.0  # when it last began to hibernate, or ended
        self._services = services
        self._worker: Worker | None = None  # serves
        self._next: Worker | None = None  # loads
        self._orders = 0  # how often the worker that loads was ordered
        self._watcher: Worker | None = None  # failed, and waits for its file to be mended
        self._again = False  # the code changed while it was being loaded: load it once more
        self._crashes = 0
        self._ground: Ground | None = None  # where its workers come from, when not where its file says
        self._backoff: troubles.Backoff | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        services.wakeups.add(spec.domain, listener.fileno())
        self._arm()

    @property
    def tenant(self) -> str:
        return self.spec.tenant

    @property
    def pid(self) -> int | None:
        """The host's pid of the serving (or else starting) worker's first process."""
        worker = self._worker or self._next
        return (worker.pid or None) if worker else None

    # ── what others ask for ──────────────────────────────────────────────────────────────────────────────

    def ring(self) -> None:
        """A connection waits."""
        if self.state in (State.ASLEEP, State.FAILED):
            self.rang = time.monotonic()
            self._services.wakeups.disarm(self.listener.fileno())
            self._move(Event.WAKE)
            self._begin()
        elif self.state is State.HIBERNATING:
            self._services.wakeups.disarm(self.listener.fileno())
            self._thaw()

    def renew_listener(self) -> None:
        """A worker has shut the socket down for all: bind another, and end the workers that have the old one."""
        wakeups, before = self._services.wakeups, self.listener
        wakeups.remove(before.fileno())
        note = {"wakes": self.wakes, "cold_start_ms": self.cold_start_ms}
        self.listener = starting.bind(self.spec, self._services, note)
        wakeups.add(self.spec.domain, self.listener.fileno())
        before.close()
        self.note(troubles.socket_shut())
        for worker in (self._worker, self._next):
            if worker is not None:
                worker.kill()
        self._arm()

    def reload(self) -> None:
        """Replace the worker by one with the new code; the old one serves until that is ready."""
        if self.state in (State.STARTING, State.RELOADING):
            self._again = True
        elif self.state in (State.SERVING, State.FAILED):
            self.rang = 0.0
            self._ground = None  # its packages may have changed
            self._forgive()
            for code in (*troubles.PASSING, *overuse.CODES):
                self.problems.pop(code, None)
            self._move(Event.RELOAD)
            self._begin()
        elif self.state is State.HIBERNATING:
            self._stop()

    def replace_stuck(self, seconds: float) -> None:
        """Connections have waited for so long although there is a worker: have another take its place."""
        self.reload()
        self.note(troubles.not_accepting(seconds))

    def disable(self) -> None:
        """Let nothing wake it, and let its worker finish."""
        if self.state is not State.DISABLED:
            self._move(Event.DISABLE)
            self._release()
            troubles.turn_away(self.listener)

    def enable(self) -> None:
        if self.state is State.DISABLED:
            self._move(Event.ENABLE)
            self._arm()

    def close(self) -> None:
        """The site is gone: let its workers finish, and close its socket."""
        self._release()
        self._services.wakeups.remove(self.listener.fileno())
        troubles.turn_away(self.listener)
        self.listener.close()

    def retire(self) -> None:
        """Another `Site` has taken its place, at another socket: close as soon as this one's queue is empty."""
        if self._worker is None and self._next is None:
            self.close()
        else:
            asyncio.get_running_loop().call_later(RETIREMENT, self.close)

    def adopt(self, workers: list[tuple[Worker, str]]) -> None:
        """Go on with workers ("ready", "starting" or "leaving") that an earlier supervisor had started."""
        for worker, condition in sorted(workers, key=lambda pair: pair[0].identity):
            if condition == "leaving" or self.state is State.DISABLED:
                self._see_off(worker)
            elif condition in ("ready", "resting"):
                self._succeed(worker)
            elif self._next is None:
                self._next = worker
                self._services.admission.take(self)
        if self._worker or self._next:
            self._services.wakeups.disarm(self.listener.fileno())
            self._move(Event.WAKE)
        if self._worker:
            self._move(Event.LOADED)
            if self._next:
                self._move(Event.RELOAD)
            elif workers[-1][1] == "resting" and len(workers) == 1:
                self._move(Event.HIBERNATE)
                self._on_resting(self._worker)

    # ── starting ─────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self) -> None:
        """Start the next worker as soon as there is a place."""
        self._services.admission.enter(self, self._start, self._on_busy)

    def _start(self) -> None:
        """There is a place; it is given back by `_settle`."""
        self._orders += 1
        try:
            ground = self._ground or starting.ground_of(self.spec, self._services)
            self._next = starting.start(self.spec, ground, self.listener, self._services, self.hear)
        except (SpecError, OSError) as error:
            self._settle()
            problem = error.problem if isinstance(error, SpecError) else troubles.host_failed(error)
            self._on_start_failed(problem)
        else:
            self._later("load", LOAD_LIMIT, self._on_load_limit)
            self._later("started", LONG, self._on_started)

    def _settle(self) -> Worker | None:
        """The start has come to its end, one way or the other; returns the worker that it was for."""
        worker, self._next = self._next, None
        self._orders = 0
        for timer in ("load", "started"):
            self._cancel(timer)
        self._services.admission.leave(self)
        self._on_started()
        return worker

    def _on_started(self) -> None:
        """It serves, or takes its time: from here on its tenant has the CPU like others."""
        if tenant := self._services.tenants.get(self.spec.tenant):
            self._services.confines.started(tenant)

    def _on_busy(self) -> None:
        """Too many wait to start: say so to those who ask, instead of letting them wait for ever."""
        if self.state is State.RELOADING:
            self._move(Event.LOAD_FAILED)
            return
        self._move(Event.GONE)
        self._flag("busy")
        troubles.turn_away(self.listener)
        self._later("arm", FLAG_TIME, self._arm)

    def _on_load_limit(self) -> None:
        if self._next is not None:
            self._next.problem = troubles.load_limit(LOAD_LIMIT)
            self._next.kill()

    def refused(self, reason: str) -> None:
        """The zygote could not fork."""
        worker = self._settle()
        if worker is not None:
            worker.abandon()
        self._on_start_failed(troubles.refused(reason))

    # ── what workers say ─────────────────────────────────────────────────────────────────────────────────

    def hear(self, worker: Worker, event: str, message: dict[str, Any]) -> None:
        """One message of a worker's; its words count for this site only."""
        if event == "loaded" and worker is self._next:
            self._on_loaded()
        elif event in ("failed", "unfit") and worker is self._next:
            self._on_not_loaded(worker, event, message)
        elif event == "broken" and worker is self._next:
            worker.problem = troubles.sandbox_failed(message)
            self._services.log(f"{self.spec.domain}: {worker.problem.message}")
        elif event == "touched" and worker in (self._worker, self._watcher):
            self.reload()
        elif event in ("idle", "resting", "gated", "used"):
            if worker is self._worker:
                self._on_rest(worker, event, message)
        elif event == "slow":
            self._flag("slow")
            self.note(troubles.too_slow(self.spec))
            worker.ask("proceed")
        elif event == "late":
            self.note(troubles.given_up(self.spec))
        elif event == "crashed":
            worker.told = True
            self._note_end(message)
        elif event in ("files", "flooded", "full", "imported"):
            self._on_account(worker, event, message)
        elif event == "gone":
            self._on_gone(worker)

    def _on_loaded(self) -> None:
        worker = self._settle()
        assert worker is not None
        if self.state is State.STARTING and self.rang:
            self.wakes += 1
            self._services.woken()
            self.cold_start_ms = round((time.monotonic() - self.rang) * 1000, 1)
            self._services.custody.note(
                f"site:{self.spec.domain}", {"wakes": self.wakes, "cold_start_ms": self.cold_start_ms}
            )
        for code in (
            "load-failed",
            "virtualenv-broken",
            "load-too-slow",
            "start-failed",
            "sandbox-failed",
            "crash-loop",
            "disk-full",
        ):
            self.problems.pop(code, None)
        self._forgive()
        self._succeed(worker)
        self._move(Event.LOADED)
        self._reload_again()

    def _succeed(self, worker: Worker) -> None:
        """`worker` is the serving one from now on; the one before finishes what it has."""
        before, self._worker = self._worker, worker
        worker.loaded = time.monotonic()
        if before is not None:
            self._see_off(before)

    def _on_not_loaded(self, worker: Worker, event: str, message: dict[str, Any]) -> None:
        """The app failed to load; or it would not have exactly its own packages here: start it elsewhere."""
        if event == "failed":
            self._on_load_failed(troubles.load_failed(self.spec, message))
            return
        python = str(message.get("python") or "")
        before = self._ground or starting.ground_of(self.spec, self._services)
        self._ground = starting.other_ground(self.spec, before, python, self._services)
        if self._ground == before:
            worker.kill()  # it has been there before
            return
        self._see_off(worker)
        self._orders = 0
        self._next = None
        self._start()

    def _on_load_failed(self, problem: Problem) -> None:
        worker = self._settle()
        assert worker is not None
        if self.state is State.STARTING and not self._again:
            self._watcher = worker
            self._later("watch", WATCH_LIMIT, self._dismiss_watcher)
        else:
            self._see_off(worker)
        self._on_start_failed(problem)

    def _on_start_failed(self, problem: Problem) -> None:
        """No new worker: the old one goes on serving, or visitors see a page that says so."""
        self.note(problem)
        self._move(Event.LOAD_FAILED)
        if self.state is State.FAILED:
            self._fail()
        self._reload_again()

    def _on_gone(self, worker: Worker) -> None:
        """A worker's first process has ended, and all of its sandbox with it."""
        self._services.forget(worker)
        if worker is self._next and not worker.pid and self._orders < ORDERS:
            self._start()  # its zygote died before it had forked it: another one will
        elif worker is self._next:
            self._services.meter.look_at(self.spec.tenant, self.spec.domain)
            self._on_load_failed(worker.problem or troubles.ended_while_loading())
            self._watcher = None
        elif worker is self._watcher:
            self._watcher = None
        elif worker is self._worker:
            self._worker = None
            self._on_serving_gone(worker)

    def _on_serving_gone(self, worker: Worker) -> None:
        if self.state is State.SERVING:
            if not worker.told:
                self._note_end({"detail": "its first process was ended from outside"})
            early = time.monotonic() - worker.loaded < troubles.CRASH_WINDOW
            self._crashes = self._crashes + 1 if early else 0
            if self._crashes >= troubles.CRASHES:
                self.note(troubles.crash_loop())
                self._move(Event.CRASH_LOOP)
                self._fail()
                return
        self._move(Event.GONE)
        self._arm()

    def _note_end(self, message: dict[str, Any]) -> None:
        """A process ended unasked: for want of memory, or for a reason of its own."""
        if not self._services.meter.look_at(self.spec.tenant, self.spec.domain):
            self.note(troubles.crashed(message))

    def _on_account(self, worker: Worker, event: str, message: dict[str, Any]) -> None:
        """What only the worker itself can see: a limit that was met, or what it had to import."""
        if event == "imported":
            runtime = (self.spec.app and self.spec.app.runtime) or self._services.nursery.default
            self._services.learning.hear(runtime, self.spec.domain, message.get("modules"))
            return
        limits, owner = self.spec.limits, f"site {self.spec.domain}"
        process = f"a process of the app (worker {worker.pid})"
        if event == "files":
            self.note(overuse.too_many_files(owner, limits.open_files, process))
            return
        kind = "error" if message.get("kind") == "error" else "server"
        if event == "flooded":
            self.note(overuse.log_flood(owner, limits.log, process, kind))
        else:
            starting.renew_logs(self.spec, [worker], kind, self._services)

    # ── giving way ───────────────────────────────────────────────────────────────────────────────────────

    def _on_rest(self, worker: Worker, event: str, message: dict[str, Any]) -> None:
        """What the serving worker says of having nothing to do."""
        if event == "idle" and self.state is State.SERVING:
            if time.monotonic() - self.turned > hibernation.PAUSE:
                self.give_way()
        elif event == "resting" and self.state is State.HIBERNATING:
            self._on_resting(worker)
        elif event == "gated" and self.state is State.DRAINING:
            self._worker = None
            self._move(Event.GATED)
            self._arm()
        elif event == "used":
            self.used = time.monotonic() - float(message.get("unused", 0.0))

    def ask_about_use(self) -> None:
        """Have `used` brought up to date, as far as its worker knows."""
        if self._worker is not None and self.state is State.SERVING:
            self._worker.ask("look")

    def may_give_way(self, before: float) -> bool:
        """Whether it serves, and was neither started nor asked for since `before`."""
        worker = self._worker
        return self.state is State.SERVING and worker is not None and max(worker.loaded, self.used) < before

    def give_way(self) -> None:
        """Nobody asks for it: hibernate, if that is worth it here, or stop."""
        worker = self._worker
        if worker is None or self.state is not State.SERVING:
            return
        if hibernation.is_worth_it(self.cold_start_ms) and self._services.may_hibernate(worker):
            self._move(Event.HIBERNATE)
            self.turned = time.monotonic()
            worker.ask("rest")
        else:
            self._stop()

    def stop_hibernating(self) -> None:
        """The swap space runs short: end the worker."""
        if self.state is State.HIBERNATING:
            self._stop()

    def _stop(self) -> None:
        self._move(Event.IDLE)
        self._services.wakeups.disarm(self.listener.fileno())
        if self._worker is not None:
            self._ask_to_drain(self._worker)

    def _on_resting(self, worker: Worker) -> None:
        """Its processes are stopped. A connection that they had accepted before that brings them back at once."""
        if hibernation.is_caught(worker, self.listener, self._services):
            self._thaw()
            return
        self._services.wakeups.arm(self.listener.fileno())
        hibernation.page_out(worker, self._services)

    def _thaw(self) -> None:
        self.turned = self.used = time.monotonic()
        self._move(Event.WAKE)
        if self._worker is not None:
            hibernation.forbid_swap(self._worker, self._services)
            self._worker.ask("go")

    # ── failing ──────────────────────────────────────────────────────────────────────────────────────────

    def _fail(self) -> None:
        """Visitors get the error page at once, until the back-off is over and a request may try again."""
        self._backoff = self._backoff or troubles.Backoff()
        self._services.routes.set_flag(self.spec.domain, "failed")
        troubles.turn_away(self.listener)
        self._later("retry", self._backoff.next_wait(), self._on_retry)

    def _on_retry(self) -> None:
        self._services.routes.clear_flag(self.spec.domain, "failed")
        self._arm()

    def _forgive(self) -> None:
        """The back-off and what belongs to it are over."""
        if self._backoff is not None:
            self._backoff = None
            self._cancel("retry")
            self._services.routes.clear_flag(self.spec.domain, "failed")
        self._dismiss_watcher()

    def _dismiss_watcher(self) -> None:
        self._cancel("watch")
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            self._ask_to_drain(watcher)

    # ── ending workers ───────────────────────────────────────────────────────────────────────────────────

    def _release(self) -> None:
        """Let go of all workers and of what was planned for later."""
        self._again = False
        self._forgive()
        if not self._services.admission.cancel(self) and self._next is not None:
            starting_worker = self._settle()
            if starting_worker is not None:
                self._see_off(starting_worker)
        worker, self._worker = self._worker, None
        if worker is not None:
            self._see_off(worker)
        for key in list(self._timers):
            self._cancel(key)
        for flag in ("busy", "slow"):
            self._services.routes.clear_flag(self.spec.domain, flag)
        self._services.wakeups.disarm(self.listener.fileno())

    def _see_off(self, worker: Worker) -> None:
        """It accepts nothing more, finishes what it has and ends; it is not ours any longer."""
        self._ask_to_drain(worker)

    def _ask_to_drain(self, worker: Worker) -> None:
        worker.ask("drain")
        limit = self.spec.app.timeout if self.spec.app else 0
        worker.end_within(limit + DRAIN_SLACK)

    # ── small things ─────────────────────────────────────────────────────────────────────────────────────

    def _move(self, event: Event) -> None:
        self.state = after(self.state, event)

    def _arm(self) -> None:
        """Let the next connection wake the site."""
        if self.state in (State.ASLEEP, State.FAILED):
            self.listener.listen(starting.BACKLOG)  # a worker may have cut it
            self._services.wakeups.arm(self.listener.fileno())

    def _reload_again(self) -> None:
        if self._again:
            self._again = False
            self.reload()

    def note(self, problem: Problem) -> None:
        """Keep a Problem for the owner, in the place of an older one of its kind."""
        self.problems[problem.code] = problem

    def _flag(self, name: str) -> None:
        """Mark the site for a moment, so that nginx tells visitors what is the matter."""
        self._services.routes.set_flag(self.spec.domain, name)
        self._later(name, FLAG_TIME, lambda: self._services.routes.clear_flag(self.spec.domain, name))

    def _later(self, key: str, seconds: float, call: Callable[[], None]) -> None:
        self._cancel(key)
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, call)

    def _cancel(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
