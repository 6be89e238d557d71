"""Courtesy: a tenant that keeps the CPUs busy lets those go first who only want them for a moment.

Looked at every second, because neither equal shares nor a ceiling help a request that takes one millisecond: on
its way it wakes three processes, and each of them may find all CPUs in the middle of somebody's turn. A
tenant with a small share has its turn taken away at once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor.confines import Confines

INTERVAL = 1.0  # seconds between looks
_BUSY = 0.5  # of a core over the last interval, and a tenant is busy
_CALM = 0.25  # less than that, and it is not


class Courtesy:
    """Knows who is busy, and has the control groups act on it."""

    def __init__(self, confines: Confines, tenants: Mapping[str, TenantSpec]) -> None:
        self._confines = confines
        self._tenants = tenants
        self._used: dict[str, tuple[float, float]] = {}  # by tenant: when we looked, and the CPU seconds then
        self._busy: set[str] = set()

    def look(self) -> None:
        """Look at all tenants that are awake."""
        now, used = time.monotonic(), {}
        for name in self._confines.awake():
            tenant = self._tenants.get(name)
            if tenant is None:
                continue
            cpu = self._confines.cpu_seconds(name)
            used[name] = (now, cpu)
            if name in self._used:
                since, before = self._used[name]
                self._judge(tenant, (cpu - before) / max(now - since, 0.1))
        self._used = used
        self._busy &= used.keys()

    def _judge(self, tenant: TenantSpec, cores: float) -> None:
        busy = cores > (_CALM if tenant.name in self._busy else _BUSY)
        if busy != (tenant.name in self._busy):
            (self._busy.add if busy else self._busy.discard)(tenant.name)
            self._confines.set_busy(tenant, busy)
