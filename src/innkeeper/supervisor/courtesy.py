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
        self._looked = 0.0
        self._busy: set[str] = set()
        self._refused: dict[tuple[str, str], int] = {}
        self._on_bomb = on_bomb

    def look(self) -> None:
        """Look at all tenants that are awake."""
        now, awake, used = time.monotonic(), self._confines.awake(), {}
        spent: dict[str, float] = {}  # CPU seconds since the last look
        for name in awake:
            cpu = self._confines.cpu_seconds(name)
            if name in self._used:
                spent[name] = cpu - self._used[name]
            used[name] = cpu
        elapsed, self._looked, self._used = max(now - self._looked, 0.1), now, used
        active = [name for name, seconds in spent.items() if seconds > _ACTIVE]
        for name in {*spent, *self._busy}:
            if tenant := self._tenants.get(name):
                cores = spent.get(name, 0.0) / elapsed
                self._judge(tenant, cores if any(other != name for other in active) else 0.0)
                if cores > _CALM:
                    self._look_for_bombs(name, awake[name])

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
            (self._busy.add if busy else self._busy.discard)(tenant.name)
            self._confines.set_busy(tenant, busy)
