"""One site's life: woken, served, reloaded, put to sleep, crashed, failed, disabled.

All that happens to a site comes through here; `states.after` says what follows, and nothing else changes
the state. At any time a site has at most one serving worker, at most one that is starting, and any number
that accept nothing more and finish what they have.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from innkeeper.kernel import sockets
from innkeeper.spec.problem import Problem
from innkeeper.spec.site import SiteSpec
from innkeeper.supervisor import accounts, adoption, hibernation, overuse, severance, starting, troubles
from innkeeper.supervisor.attempt import Attempt
from innkeeper.supervisor.failure import Failure
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.states import Event, State, after
from innkeeper.supervisor.timers import Timers
from innkeeper.supervisor.worker import DRAIN_SLACK, Worker

RETIREMENT = 2.0  # seconds that a site whose kind of app was changed goes on taking what is in its queue
RENEWAL = 1.0  # seconds after which a socket that could not be bound anew is tried again
FLAG_TIME = 2.0  # seconds that visitors are told "busy" or "too slow"
_OUTCOMES = ("loaded", "failed", "unfit", "broken", "report")  # of an attempt, as a worker tells them


class Site:
    """A site with an app, from the binding of its socket to its removal."""

    __slots__ = (
        "_again",
        "_attempt",
        "_failure",
        "_services",
        "_timers",
        "_worker",
        "address",
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
        self.address = str(listener.getsockname())  # of all its connections, which outlive it
        self.state = State.ASLEEP if spec.enabled else State.DISABLED
        self.problems: dict[str, Problem] = {}
        self.wakes = 0
        self.cold_start_ms: float | None = None
        self.rang = 0.0  # when the connection came that the current start is for; 0 = a reload
        self.used = 0.0  # when it was last asked for, as far as is known
        self.turned = 0.0  # when it last began to hibernate, or ended
        self._services = services
        self._worker: Worker | None = None  # serves
        self._attempt = Attempt(self, services)  # has the one that loads
        self._failure = Failure(spec.domain, services.routes, self._arm)
        self._again = False  # the code changed while it was being loaded: load it once more
        self._timers = Timers()
        services.wakeups.add(spec.domain, listener.fileno())
        self._arm()

    @property
    def tenant(self) -> str:
        return self.spec.tenant

    @property
    def pid(self) -> int | None:
        """The host's pid of the serving (or else starting) worker's first process."""
        worker = self._worker or self._attempt.worker
        return (worker.pid or None) if worker else None

    # ── what others ask for ──────────────────────────────────────────────────────────────────────────────

    def ring(self) -> None:
        """A connection waits."""
        if self.state in (State.ASLEEP, State.FAILED):
            self.rang = time.monotonic()
            self._services.wakeups.disarm(self.listener.fileno())
            self._move(Event.WAKE)
            self._attempt.begin()
        elif self.state is State.HIBERNATING:
            self._services.wakeups.disarm(self.listener.fileno())
            self._thaw()

    def renew_listener(self) -> None:
        """A worker has shut the socket down for all: bind another, and end the workers that have the old one."""
        wakeups, before = self._services.wakeups, self.listener
        note = {"wakes": self.wakes, "cold_start_ms": self.cold_start_ms}
        try:
            self.listener = starting.bind(self.spec, self._services, note)
        except OSError as error:
            self.note(troubles.socket_shut(error))
            self._timers.later("renew", RENEWAL, self.renew_listener)
            return
        self._timers.cancel("renew")
        wakeups.remove(before.fileno())
        wakeups.add(self.spec.domain, self.listener.fileno())
        before.close()
        self.note(troubles.socket_shut())
        for worker in (self._worker, self._attempt.worker):
            if worker is not None:
                worker.kill(excused=False)
        self._arm()

    def reload(self) -> None:
        """Replace the worker by one with the new code; the old one serves until that is ready."""
        self._timers.cancel("reload")
        if self.state in (State.STARTING, State.RELOADING):
            self._again = True
        elif self.state in (State.SERVING, State.FAILED):
            self.rang = 0.0
            self._attempt.return_home()
            self._failure.forgive()
            for code in (*troubles.PASSING, *overuse.CODES):
                self.problems.pop(code, None)
            self._move(Event.RELOAD)
            self._attempt.begin()
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

    def change_hands(self) -> None:
        """Another tenant has the site: whoever waits is not turned away, but wakes a worker of that one's.

        So nobody is served by the former tenant's, however long the new one's app does not load.
        """
        self._move(Event.DISABLE)
        self._release()
        self._attempt.return_home()
        self.problems.clear()
        self.enable()

    def close(self) -> None:
        """The site is gone: let its workers finish, and close its socket."""
        self._release()
        self._services.wakeups.remove(self.listener.fileno())
        self._shut(None)

    def retire(self) -> None:
        """Another `Site` has its place, at another socket: its worker goes on with what waits at this one, no more.

        The site's flags are the other's from now on.
        """
        if self.state is State.HIBERNATING:
            self._thaw()
        last, self._worker = self._worker or self._attempt.give_up(), None
        self._release()
        self._services.wakeups.remove(self.listener.fileno())
        asyncio.get_running_loop().call_later(RETIREMENT if last else 0, self._shut, last)

    def adopt(self, workers: list[tuple[Worker, str]]) -> None:
        """Go on with workers ("ready", "resting", "starting", "leaving") that an earlier supervisor had started.

        The newest that serves goes on with that, and the newest that starts if it is newer still. What was changed
        while no supervisor was there counts: who is not the site's any more leaves, who is outdated is replaced.
        """
        for worker, condition in sorted(workers, key=lambda pair: pair[0].identity, reverse=True):
            newer = self._worker or (condition == "starting" and self._attempt.worker)
            leaves = condition == "leaving" or not starting.may_serve(worker, self.spec)
            if newer or leaves or self.state is State.DISABLED:
                self._see_off(worker)
            elif condition == "starting":
                self._attempt.go_on_with(worker)
            else:
                self._succeed(worker)
        if self._worker or self._attempt.worker:
            self._services.wakeups.disarm(self.listener.fileno())
            self._move(Event.WAKE)
        if self._worker:
            self._move(Event.LOADED)
            if self._attempt.worker:
                self._move(Event.RELOAD)
            elif dict(workers)[self._worker] == "resting":
                self._move(Event.HIBERNATE)
                self._on_resting(self._worker)
        newest = self._attempt.worker or self._worker
        if newest is not None and starting.is_outdated(newest, self.spec):
            self.reload()

    # ── what becomes of an attempt to start its next worker ──────────────────────────────────────────────

    def on_busy(self) -> None:
        """Too many wait to start: say so to those who ask, instead of letting them wait for ever.

        A reload is tried again in a moment; whoever asked for it will not ask twice.
        """
        self._again = False  # what is started next has the new code
        if self.state is State.RELOADING:
            self._move(Event.LOAD_FAILED)
            self._timers.later("reload", FLAG_TIME, self.reload)
            return
        self._move(Event.GONE)
        self._flag("busy")
        troubles.turn_away(self.listener)
        self._timers.later("arm", FLAG_TIME, self._arm)

    def on_start_failed(self, problem: Problem) -> None:
        """No new worker: the old one goes on serving, or visitors see a page that says so."""
        self.note(problem)
        self._move(Event.LOAD_FAILED)
        if self.state is State.FAILED:
            self._failure.begin(self.listener)
        self._reload_again()
        self._services.woken(self.tenant)

    def _on_outcome(self, worker: Worker, event: str, message: dict[str, Any]) -> None:
        """What the worker that loads says of how that went."""
        if event == "loaded":
            self._on_loaded()
        elif event == "failed":
            self._on_load_failed(troubles.load_failed(self.spec, message))
        elif event == "unfit":
            self._attempt.move(str(message.get("python") or ""))
        elif event == "report":
            self._on_report(worker, adoption.condition_of(message))
        else:
            worker.problem = troubles.sandbox_failed(message)
            self._services.log(f"{self.spec.domain}: {worker.problem.message}")

    def _on_loaded(self) -> None:
        worker = self._attempt.settle()
        assert worker is not None
        was_woken = self.state is State.STARTING and bool(self.rang)
        if was_woken:
            self.wakes += 1
            self.cold_start_ms = round((time.monotonic() - self.rang) * 1000, 1)
            self._services.custody.note(
                f"site:{self.spec.domain}", {"wakes": self.wakes, "cold_start_ms": self.cold_start_ms}
            )
        for code in troubles.OVER_WHEN_LOADED:
            self.problems.pop(code, None)
        self._failure.suspend()
        self._succeed(worker)
        self._move(Event.LOADED)
        self._reload_again()
        if was_woken:
            self._services.woken(self.tenant)

    def _on_report(self, worker: Worker, condition: str) -> None:
        """One that an earlier supervisor had ordered says how it is, after it was taken to be starting."""
        if condition == "leaving":
            self._attempt.settle()
            self._see_off(worker)
            self._move(Event.LOAD_FAILED if self.state is State.RELOADING else Event.GONE)
            self._arm()
            self._reload_again()
        elif condition != "starting":
            self._on_loaded()
            if condition == "resting":
                worker.ask("go")

    def _on_load_failed(self, problem: Problem) -> None:
        worker = self._attempt.settle()
        assert worker is not None
        if self.state is State.STARTING and not self._again:
            self._failure.watch(worker)
        else:
            self._see_off(worker)
        self.on_start_failed(problem)

    def _succeed(self, worker: Worker) -> None:
        """`worker` is the serving one from now on; the one before finishes what it has."""
        before, self._worker = self._worker, worker
        worker.loaded = time.monotonic()
        if before is not None:
            self._see_off(before)

    # ── what workers say ─────────────────────────────────────────────────────────────────────────────────

    def hear(self, worker: Worker, event: str, message: dict[str, Any]) -> None:
        """One message of a worker's; its words count for this site only."""
        if event in _OUTCOMES:
            if worker is self._attempt.worker:
                self._on_outcome(worker, event, message)
        elif event == "touched" and worker in (self._worker, self._attempt.worker, self._failure.watcher):
            self.reload()
        elif event in ("idle", "resting", "gated", "used"):
            if worker is self._worker:
                self._on_rest(worker, event, message)
        elif event in ("slow", "severed"):
            self._on_broken_off(worker, event, message)
        elif event == "gone":
            self._on_gone(worker)
        elif worker.tenant == self.tenant:  # what befalls a former tenant's is not for this one to read
            self._on_account(worker, event, message)

    def _on_account(self, worker: Worker, event: str, message: dict[str, Any]) -> None:
        """What its owner is to know of, or its logs need."""
        if event == "late":
            self.note(troubles.given_up(self.spec))
        elif event == "crashed":
            self._on_crashed(worker, message)
        elif problem := accounts.take(self.spec, worker, event, message, self._services):
            self.note(problem)

    def _on_broken_off(self, worker: Worker, event: str, message: dict[str, Any]) -> None:
        """Answers of a worker's will not be whole: one failed in the middle, or its process is to be ended."""
        severance.sever(worker, self.address, message.get("sockets"), self._services)
        if event == "slow":
            self._flag("slow")
            self.note(troubles.too_slow(self.spec))
            worker.ask("proceed")

    def _on_crashed(self, worker: Worker, message: dict[str, Any]) -> None:
        """A process has ended: by itself, or because a request took too long, of which we have heard before."""
        worker.told, worker.excused = True, bool(message.get("slow"))
        if not worker.excused:
            self._note_end(message)

    def _on_gone(self, worker: Worker) -> None:
        """A worker's first process has ended, and all of its sandbox with it."""
        self._services.forget(worker)
        if worker is self._attempt.worker:
            if not self._attempt.repeat():
                self._services.meter.look_at(self.spec.tenant, self.spec.domain)
                self._attempt.settle()
                self.on_start_failed(worker.problem or troubles.ended_while_loading())
        elif worker is self._failure.watcher:
            self._failure.watcher = None
        elif worker is self._worker:
            self._worker = None
            self._on_serving_gone(worker)

    def _on_serving_gone(self, worker: Worker) -> None:
        is_early = time.monotonic() - worker.loaded < troubles.CRASH_WINDOW
        if not is_early:
            self._failure.forgive()
        if self.state is State.SERVING and not worker.excused:
            if not worker.told:
                self._note_end({"detail": "its first process was ended from outside"})
            if is_early and self._failure.is_crash_loop():
                self.note(troubles.crash_loop())
                self._move(Event.CRASH_LOOP)
                self._failure.begin(self.listener)
                return
        self._move(Event.GONE)
        self._arm()

    def _note_end(self, message: dict[str, Any]) -> None:
        """A process ended unasked: for want of memory, or for a reason of its own."""
        if not self._services.meter.look_at(self.spec.tenant, self.spec.domain):
            self.note(troubles.crashed(message))

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

    @property
    def wanted(self) -> float:
        """When somebody last wanted it, as far as is known: started it, or asked it something."""
        return max(self._worker.loaded if self._worker else 0.0, self.used)

    def may_give_way(self, before: float) -> bool:
        """Whether it serves, and nobody wanted it since `before`."""
        return self.state is State.SERVING and self._worker is not None and self.wanted < before

    def give_way(self, *, may_rest: bool = True) -> None:
        """Nobody asks for it: hibernate, if it may and that is worth it here, or stop."""
        worker = self._worker
        if worker is None or self.state is not State.SERVING:
            return
        if may_rest and hibernation.is_worth_it(self.cold_start_ms) and self._services.may_hibernate(worker):
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
        self._failure.forgive()
        self._services.wakeups.disarm(self.listener.fileno())
        if self._worker is not None:
            self._see_off(self._worker)

    def _on_resting(self, worker: Worker) -> None:
        """Its processes are stopped. A connection that they had accepted before that brings them back at once."""
        if hibernation.is_caught(worker, self.address, self._services):
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

    # ── ending workers ───────────────────────────────────────────────────────────────────────────────────

    def _release(self) -> None:
        """Let go of all workers and of what was planned for later."""
        self._again = False
        self._failure.forgive()
        loading, serving, self._worker = self._attempt.give_up(), self._worker, None
        for worker in (loading, serving):
            if worker is not None:
                self._see_off(worker)
        self._timers.clear()
        for flag in ("busy", "slow"):
            self._services.routes.clear_flag(self.spec.domain, flag)
        self._services.wakeups.disarm(self.listener.fileno())

    def _shut(self, last: Worker | None) -> None:
        """Close the socket, whose connections are taken by nobody but the last worker, if there is one."""
        if last is not None:
            self._see_off(last)
        troubles.turn_away(self.listener)
        self.listener.close()

    def _see_off(self, worker: Worker) -> None:
        """It accepts nothing more, finishes what it has and ends."""
        worker.drain((self.spec.app.timeout if self.spec.app else 0) + DRAIN_SLACK)

    # ── small things ─────────────────────────────────────────────────────────────────────────────────────

    def _move(self, event: Event) -> None:
        self.state = after(self.state, event)

    def _arm(self) -> None:
        """Let the next connection wake the site."""
        if self.state in (State.ASLEEP, State.FAILED):
            self.listener.listen(sockets.BACKLOG)  # a worker may have cut it
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
        self._timers.later(name, FLAG_TIME, lambda: self._services.routes.clear_flag(self.spec.domain, name))
