"""The CPU seconds that each tenant has used today (UTC), and whether that is more than its budget allows."""

from __future__ import annotations

import json
import time
from pathlib import Path

from innkeeper.kernel import files


class Budget:
    """Counts seconds by tenant and day; what has been counted outlives restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._day = _today()
        self._spent: dict[str, float] = {}
        self._counted: dict[str, float] = {}  # the kernel's own count when we last looked
        self._changed = False
        self._read()

    def count(self, tenant: str, total: float) -> None:
        """The kernel's count for the tenant stands at `total` seconds since its group was made."""
        self._begin_day()
        before = self._counted.get(tenant, 0.0)
        spent = total - before if total >= before else total  # less than before: a new group
        self._counted[tenant] = total
        if spent > 0:
            self._spent[tenant] = self._spent.get(tenant, 0.0) + spent
            self._changed = True

    def spent(self, tenant: str) -> float:
        """Seconds used today."""
        self._begin_day()
        return self._spent.get(tenant, 0.0)

    def tenants(self) -> list[str]:
        """Those that have used any today."""
        self._begin_day()
        return list(self._spent)

    def save(self) -> None:
        """Write it down, when there is anything new."""
        if self._changed:
            state = {"day": self._day, "spent": self._spent, "counted": self._counted}
            files.write_atomically(self._path, json.dumps(state), mode=0o600)
            self._changed = False

    def _begin_day(self) -> None:
        today = _today()
        if today != self._day:
            self._day, self._spent, self._changed = today, {}, True

    def _read(self) -> None:
        """What an earlier supervisor has counted; a file that can't be understood is as good as none."""
        try:
            state = json.loads(self._path.read_text())
            counted = {str(key): float(value) for key, value in state["counted"].items()}
            spent = {str(key): float(value) for key, value in state["spent"].items()}
            day = str(state["day"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        self._counted = counted
        if day == self._day:
            self._spent = spent


def _today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())
