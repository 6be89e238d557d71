"""The meter: what awake tenants and sites have used, looked at every few seconds; limits that were met are told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from innkeeper.kernel.cgroups import Usage
from innkeeper.kernel.kernellog import KernelLog
from innkeeper.spec.problem import Problem
from innkeeper.spec.shares import SiteLimits
from innkeeper.spec.tenant import TenantSpec
from innkeeper.spec.values import bytes_of
from innkeeper.supervisor import overuse
from innkeeper.supervisor.budget import Budget
from innkeeper.supervisor.confines import Confines
from innkeeper.supervisor.turns import Turns

INTERVAL = 5.0  # seconds between looks
_SAVE_EVERY = 60.0
_THROTTLED = 0.5  # of the time, and it is told
_NEARLY = 0.95  # of the limit, and it was the limit that was met
_MOST_NAMED = 200  # processes looked at to say what most of them are

Note = Callable[[str, Problem], None]  # a site's domain, and what it is to be told
LimitsOf = Callable[[str], SiteLimits | None]  # by a site's domain


class Meter:
    """Compares each group's counters with what they were. `tell` reaches a site; tenants' Problems are kept here."""

    def __init__(
        self,
        confines: Confines,
        budget: Budget,
        tenants: Mapping[str, TenantSpec],
        limits_of: LimitsOf,
        tell: Note,
    ) -> None:
        self.problems: dict[str, dict[str, Problem]] = {}  # by tenant and code
        self._confines = confines
        self._budget = budget
        self._tenants = tenants
        self._limits_of = limits_of
        self._tell = tell
        self._kernel_log = KernelLog()
        self._before: dict[tuple[str, str], tuple[float, Usage]] = {}
        self._saved = time.monotonic()

    def begin(self, tenant: str, name: str) -> None:
        """Something starts in this group: what is counted from here on is new."""
        for key in ((tenant, ""), (tenant, name)):
            if key not in self._before:
                self._take(*key)

    async def look(self) -> None:
        """One look at all that is awake."""
        turns = Turns()
        for tenant, names in self._confines.awake().items():
            spec = self._tenants.get(tenant)
            if spec is not None:
                self._look_at_tenant(spec, names)
                for name in names:
                    self.look_at(tenant, name)
                    await turns.rest()
        awake = self._confines.awake()
        for key in [key for key in self._before if key[0] not in awake]:
            del self._before[key]
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self.save()

    def look_at(self, tenant: str, name: str) -> bool:
        """Look at a site (or a tenant's helpers); True when one of its processes was ended for memory since."""
        limits, spec = self._limits_of(name), self._tenants.get(tenant)
        if spec is None:
            return False
        now, before = self._take(tenant, name)
        elapsed, used = now[0] - before[0], _difference(now[1], before[1])
        owner = f"site {name}" if limits else f"tenant {tenant}"
        if used.out_of_memory:
            whose, memory = f"tenant {tenant}", spec.limits.memory
            if limits and now[1].memory_peak >= _NEARLY * bytes_of(limits.memory):
                whose, memory = owner, limits.memory
            self.note(tenant, name, overuse.out_of_memory(whose, memory, self._killed(spec, name)))
        if used.tasks_refused:
            self.note_tasks(tenant, name)
        if limits and limits.cpu and elapsed > 1.0 and used.throttled > _THROTTLED * elapsed:
            share = min(1.0, used.throttled / elapsed)
            self.note(tenant, name, overuse.cpu_limit(owner, limits.cpu, self._named(tenant, name), share))
        return bool(used.out_of_memory)

    def note_tasks(self, tenant: str, name: str, *, ended: bool = False) -> None:
        """A process or thread could not be started; `ended`: so often that all of them are ended now."""
        limits, spec = self._limits_of(name), self._tenants.get(tenant)
        if spec is not None:
            owner, most = f"tenant {tenant}", spec.limits.tasks
            if limits and self._is_full(spec, name, limits):
                owner, most = f"site {name}", limits.tasks
            problem = overuse.too_many_tasks(owner, most, self._named(tenant, name), ended=ended)
            self.note(tenant, name, problem)

    def _is_full(self, spec: TenantSpec, name: str, limits: SiteLimits) -> bool:
        """Whether it was the site's own limit of tasks that was met, and not its tenant's."""
        peak = self._confines.usage(spec.name, name).tasks_peak
        if peak:
            return peak >= limits.tasks
        return self._confines.usage(spec.name).tasks < _NEARLY * spec.limits.tasks  # before Linux 6.6

    def note(self, tenant: str, name: str, problem: Problem) -> None:
        """Tell the site, or keep it for the tenant when it was none of its sites."""
        if self._limits_of(name) is not None:
            self._tell(name, problem)
        else:
            self.problems.setdefault(tenant, {})[problem.code] = problem

    def note_all(self, tenant: str, problem: Problem) -> None:
        """Tell the tenant, and its sites that are awake."""
        self.problems.setdefault(tenant, {})[problem.code] = problem
        for name in self._confines.awake().get(tenant, ()):
            if self._limits_of(name) is not None:
                self._tell(name, problem)

    def clear(self, tenant: str, code: str) -> None:
        self.problems.get(tenant, {}).pop(code, None)

    def spent(self, tenant: str) -> float:
        """CPU seconds that the tenant has used today."""
        return self._budget.spent(tenant)

    def tenants_of_today(self) -> list[str]:
        """Those that have used CPU time today."""
        return self._budget.tenants()

    def save(self) -> None:
        self._saved = time.monotonic()
        self._budget.save()

    def _look_at_tenant(self, spec: TenantSpec, names: list[str]) -> None:
        limits, tenant = spec.limits, spec.name
        now, before = self._take(tenant, "")
        elapsed, used = now[0] - before[0], _difference(now[1], before[1])
        self._budget.count(tenant, now[1].cpu)
        spent = self._budget.spent(tenant)
        beyond = bool(limits.cpu_seconds) and spent > limits.cpu_seconds
        self._confines.set_tarpit(spec, beyond)
        owner = f"tenant {tenant}"
        busiest = self._busiest(tenant, names)
        if beyond:
            self.note_all(tenant, overuse.cpu_budget(owner, limits.cpu_seconds, spent, busiest))
        else:
            self.clear(tenant, "cpu-budget")
        if used.tasks_refused:
            self.note_all(tenant, overuse.too_many_tasks(owner, limits.tasks, busiest))
        if limits.cpu and elapsed > 1.0 and used.throttled > _THROTTLED * elapsed:
            share = min(1.0, used.throttled / elapsed)
            self.note_all(tenant, overuse.cpu_limit(owner, limits.cpu, busiest, share))

    def _take(self, tenant: str, name: str) -> tuple[tuple[float, Usage], tuple[float, Usage]]:
        """The time and usage now, and at the look before."""
        now = (time.monotonic(), self._confines.usage(tenant, name))
        before = self._before.get((tenant, name), (now[0], Usage()))
        self._before[tenant, name] = now
        return now, before

    def _killed(self, spec: TenantSpec, name: str) -> str:
        for killed in self._kernel_log.killed():
            if killed.uid == spec.uid:
                return f"the process {killed.name!r} ({killed.pid})"
        return f"a process of {name if name[0] != '.' else spec.name}"

    def _named(self, tenant: str, name: str) -> str:
        """What most of the processes in a group are called."""
        pids = self._confines.processes(tenant, name)
        names = Counter(_name_of(pid) for pid in pids[:_MOST_NAMED])
        names.pop("", None)
        return (
            f"the processes {names.most_common(1)[0][0]!r} ({len(pids)})"
            if names
            else "a process that has ended"
        )

    def busiest(self, tenant: str) -> str:
        """Which of the tenant's processes are the most."""
        return self._busiest(tenant, self._confines.awake().get(tenant, []))

    def _busiest(self, tenant: str, names: list[str]) -> str:
        if not names:
            return "a process that has ended"
        most = max(names, key=lambda name: self._confines.usage(tenant, name).tasks)
        return f"{self._named(tenant, most)} of {'a command' if most[0] == '.' else most}"


def _difference(now: Usage, before: Usage) -> Usage:
    """What was added to the counters; a group that was made anew begins at zero."""
    fields = zip(Usage._fields, now, before, strict=True)
    return Usage(**{name: new - old if new >= old else new for name, new, old in fields})  # type: ignore[arg-type]


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
