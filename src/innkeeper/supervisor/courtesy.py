"""Courtesy: a tenant that keeps the CPUs busy lets those go first who only want them for a moment.

Neither equal shares nor a ceiling help a request that takes one millisecond: on its way it wakes three processes,
and each of them may find all CPUs in the middle of somebody's turn, or of a long system call. So who was busy for
half a second while others were active gets a small share, which is taken away at once, and leaves one CPU free.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor.confines import Confines
from innkeeper.supervisor.turns import Turns

INTERVAL = 0.5  # seconds between looks
_BUSY = 0.5  # of a core over the last interval, and a tenant is busy
_BOMB = 200  # processes refused between two looks, and it is no accident
_ACTIVE = 0.001  # CPU seconds between two looks, and a tenant wants something
_CALM = 0.25  # less than that, and it is not


OnBomb = Callable[[str, str], None]  # a tenant, and which of its groups


class Courtesy:
    """Knows who is busy, and has the control groups act on it."""

    def __init__(self, confines: Confines, tenants: Mapping[str, TenantSpec], on_bomb: OnBomb) -> None:
        self._confines = confines
        self._tenants = tenants
        self._used: dict[str, float] = {}  # CPU seconds by tenant when we last looked
        self._looked = self._total = 0.0  # when we last looked, and what all had used then
        self._busy: dict[str, TenantSpec] = {}  # by name: one may be removed before it is calm
        self._refused: dict[tuple[str, str], int] = {}
        self._on_bomb = on_bomb

    async def look(self) -> float:
        """Look at all tenants that are awake, if together they use as much as a busy one; seconds until the next.

        The first such look only notes what they have used so far.
        """
        now, total = time.monotonic(), self._confines.cpu_seconds()
        elapsed, used = max(now - self._looked, 0.1), total - self._total
        self._looked, self._total = now, total
        if not self._busy and used < _CALM * elapsed:
            self._used = {}
            return INTERVAL
        first = not self._used
        await self._compare(elapsed)
        return INTERVAL / 2 if first else INTERVAL

    async def _compare(self, elapsed: float) -> None:
        """Look at each tenant: what it has used in the last `elapsed` seconds, if that was noted before."""
        awake, used, turns = self._confines.awake(), {}, Turns()
        spent: dict[str, float] = {}  # CPU seconds since the last look
        for name in awake:
            cpu = self._confines.cpu_seconds(name)
            if name in self._used:
                spent[name] = cpu - self._used[name]
            used[name] = cpu
            await turns.rest()
        self._used = used
        active = {name for name, seconds in spent.items() if seconds > _ACTIVE}
        for name in {*spent, *self._busy}:
            if tenant := self._tenants.get(name, self._busy.get(name)):
                cores = spent.get(name, 0.0) / elapsed
                alone = len(active) <= (name in active)
                self._judge(tenant, 0.0 if alone else cores)
                if cores > _CALM:
                    self._look_for_bombs(name, awake.get(name, []))

    def _look_for_bombs(self, tenant: str, names: list[str]) -> None:
        """Starting processes that are refused is work for the kernel, which no share of the CPUs bounds."""
        for name in names:
            refused = self._confines.tasks_refused(tenant, name)
            before = self._refused.get((tenant, name), refused)
            self._refused[tenant, name] = refused
            if refused - before > _BOMB:
                self._on_bomb(tenant, name)

    def _judge(self, tenant: TenantSpec, cores: float) -> None:
        busy = cores > (_CALM if tenant.name in self._busy else _BUSY)
        if busy != (tenant.name in self._busy):
            if busy:
                self._busy[tenant.name] = tenant
            else:
                del self._busy[tenant.name]
            self._confines.set_busy(tenant, busy)
