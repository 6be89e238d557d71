"""Groups of version 1: a directory in the hierarchy of each controller."""

from __future__ import annotations

import os
from typing import Tuple

from innkeeper.kernel.cgroups import knobs
from innkeeper.kernel.cgroups.group import PERIOD, Group, Limits, Usage

NAMES = {name: name for name in ("memory", "pids", "cpu", "cpuacct", "cpuset")} | {"blkio": "io"}
_SHARES = 1024  # for a weight of 100


class Split(Group):
    version = 1
    _door = "tasks"
    _cpus = "cpuset.cpus"

    def child(self, name: str, *, without: Tuple[str, ...] = ()) -> Group:
        places = {key: f"{place}/{name}" for key, place in self._places.items() if key not in without}
        return Split(places, tuple(self._places[key] for key in without if key in self._places))

    def make(self) -> None:
        super().make()
        if "cpuset" in self._places:
            _inherit_cpus(self._places["cpuset"])

    def limit(self, limits: Limits) -> None:
        if "pids" in self._places:
            knobs.write(self._places["pids"], "pids.max", str(limits.tasks or "max"))
        if "cpu" in self._places:
            ceiling = limits.cpu * PERIOD // 100 if limits.cpu else -1
            knobs.try_to_write(self._places["cpu"], "cpu.cfs_quota_us", str(ceiling))
            knobs.write(self._places["cpu"], "cpu.shares", _shares(limits.cpu_weight))
        if "io" in self._places:
            weight = str(max(10, min(1000, limits.io_weight)))
            knobs.try_to_write(self._places["io"], "blkio.bfq.weight", weight)
            knobs.try_to_write(self._places["io"], "blkio.weight", weight)
        if "memory" in self._places:  # last: it may be refused
            _limit_memory(self._places["memory"], limits)

    def set_cpu_weight(self, weight: int) -> None:
        if "cpu" in self._places:
            knobs.try_to_write(self._places["cpu"], "cpu.shares", _shares(weight))

    def allow_swap(self, limits: Limits | None) -> None:
        """Nothing: pages that are swapped out count as they did in memory."""

    def delegate(self) -> None:
        """Nothing: this version needs no word for that."""

    def usage(self) -> Usage:
        memory, pids = self._places.get("memory", ""), self._places.get("pids", "")
        return Usage(
            cpu=self.cpu_seconds(),
            throttled=knobs.table(self._places.get("cpu", ""), "cpu.stat").get("throttled_time", 0) / 1e9,
            memory=knobs.number(memory, "memory.usage_in_bytes"),
            tasks=self.tasks(),
            out_of_memory=knobs.table(memory, "memory.oom_control").get("oom_kill", 0),
            memory_peak=knobs.number(memory, "memory.max_usage_in_bytes"),
            tasks_refused=self.tasks_refused(),
            tasks_peak=knobs.number(pids, "pids.peak"),
        )

    def cpu_seconds(self) -> float:
        return knobs.number(self._places.get("cpuacct", ""), "cpuacct.usage") / 1e9

    def anonymous(self) -> int:
        table = knobs.table(self._places.get("memory", ""), "memory.stat")
        return sum(table.get(key, 0) for key in ("total_rss", "total_shmem"))


def _shares(weight: int) -> str:
    return str(max(2, weight * _SHARES // 100))


def _limit_memory(place: str, limits: Limits) -> None:
    """Memory, and memory with swap, which may never be less: which of the two goes first depends on the direction."""
    memory = str(limits.memory or -1)
    together = str(limits.memory + limits.swap if limits.memory else -1)
    knobs.write(place, "memory.soft_limit_in_bytes", str(limits.memory_soft or -1))
    knobs.try_to_write(place, "memory.memsw.limit_in_bytes", together)
    knobs.write(place, "memory.limit_in_bytes", memory)
    knobs.try_to_write(place, "memory.memsw.limit_in_bytes", together)


def _inherit_cpus(place: str) -> None:
    """Give a group the CPUs and memory nodes of the one above; a new one has none."""
    above = os.path.dirname(place)
    if knobs.read(place, "cpuset.cpus").strip() or not os.path.exists(f"{above}/cpuset.cpus"):
        return
    _inherit_cpus(above)
    for name in ("cpuset.cpus", "cpuset.mems"):
        knobs.write(place, name, knobs.read(above, name).strip())
