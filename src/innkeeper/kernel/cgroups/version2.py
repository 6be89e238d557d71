"""Groups of version 2: one directory for all controllers."""

from __future__ import annotations

from typing import Tuple

from innkeeper.kernel.cgroups import knobs
from innkeeper.kernel.cgroups.group import PERIOD, Group, Limits, Usage

_ANONYMOUS = ("anon", "shmem", "kernel_stack", "pagetables", "slab")


class Unified(Group):
    version = 2
    _door = "cgroup.procs"
    _cpus = "cpuset.cpus.effective"

    def child(self, name: str, *, without: Tuple[str, ...] = ()) -> Group:
        return Unified({key: f"{place}/{name}" for key, place in self._places.items()})

    @property
    def _place(self) -> str:
        return self.directories[0]

    def limit(self, limits: Limits) -> None:
        if "memory" in self._places:
            knobs.write(self._place, "memory.high", _or_max(limits.memory_soft))
            knobs.write(self._place, "memory.max", _or_max(limits.memory))
            self.allow_swap(limits)
        if "pids" in self._places:
            knobs.write(self._place, "pids.max", _or_max(limits.tasks))
        if "cpu" in self._places:
            ceiling = str(limits.cpu * PERIOD // 100) if limits.cpu else "max"
            knobs.try_to_write(self._place, "cpu.max", f"{ceiling} {PERIOD}")
            knobs.write(self._place, "cpu.weight", str(limits.cpu_weight))
        if "io" in self._places:
            knobs.try_to_write(self._place, "io.weight", f"default {limits.io_weight}")

    def set_cpu_weight(self, weight: int) -> None:
        if "cpu" in self._places:
            knobs.try_to_write(self._place, "cpu.weight", str(weight))

    def allow_swap(self, limits: Limits | None) -> None:
        if "memory" in self._places:
            swap = "max" if limits is None or not limits.memory else str(limits.swap)
            knobs.try_to_write(self._place, "memory.swap.max", swap)

    def delegate(self) -> None:
        knobs.write(self._place, "cgroup.subtree_control", " ".join(f"+{name}" for name in self.controllers))

    def usage(self) -> Usage:
        cpu, events = knobs.table(self._place, "cpu.stat"), knobs.table(self._place, "memory.events")
        return Usage(
            cpu=cpu.get("usage_usec", 0) / 1e6,
            throttled=cpu.get("throttled_usec", 0) / 1e6,
            memory=knobs.number(self._place, "memory.current"),
            tasks=self.tasks(),
            out_of_memory=events.get("oom_kill", 0),
            memory_peak=knobs.number(self._place, "memory.peak"),
            tasks_refused=self.tasks_refused(),
            tasks_peak=knobs.number(self._place, "pids.peak"),
        )

    def cpu_seconds(self) -> float:
        return knobs.table(self._place, "cpu.stat").get("usage_usec", 0) / 1e6

    def anonymous(self) -> int:
        table = knobs.table(self._place, "memory.stat")
        return sum(table.get(key, 0) for key in _ANONYMOUS)


def _or_max(value: int) -> str:
    return str(value) if value else "max"
