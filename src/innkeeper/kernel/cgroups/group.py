"""One group, whatever the version: what may be asked of it."""

from __future__ import annotations

import abc
import os
from typing import ClassVar, Dict, Iterable, List, NamedTuple, Tuple

from innkeeper.kernel.cgroups import knobs

CONTROLLERS = ("memory", "pids", "cpu", "io", "cpuset")
PERIOD = 100_000  # microseconds in which a CPU ceiling is counted


class Limits(NamedTuple):
    """What a group may use: bytes, tasks, hundredths of a core; 0 is no limit, but for swap. Weights: 1 to 10,000."""

    memory: int = 0
    memory_soft: int = 0
    swap: int = 0
    tasks: int = 0
    cpu: int = 0
    cpu_weight: int = 100
    io_weight: int = 100


class Usage(NamedTuple):
    """What a group uses and has used: seconds, bytes, counts since it was made."""

    cpu: float = 0.0
    throttled: float = 0.0
    memory: int = 0
    tasks: int = 0
    out_of_memory: int = 0  # processes killed
    memory_peak: int = 0
    tasks_refused: int = 0
    tasks_peak: int = 0


class Group(abc.ABC):
    """One group; `places` has its directory for each controller that there is."""

    version: ClassVar[int]
    _door: ClassVar[str]  # the file through which a process enters
    _cpus: ClassVar[str]  # the file that says which CPUs there are to be had

    def __init__(self, places: Dict[str, str], shared: Tuple[str, ...] = ()) -> None:
        self._places = places
        self._shared = shared  # directories of a group above that its processes enter as well

    # ── where it is ──────────────────────────────────────────────────────────────────────────────────────

    @abc.abstractmethod
    def child(self, name: str, *, without: Tuple[str, ...] = ()) -> Group:
        """A group in it. With version 1, one that stays in this group itself where controllers `without` go."""

    def parent(self) -> Group:
        return type(self)({key: os.path.dirname(place) for key, place in self._places.items()})

    @property
    def controllers(self) -> List[str]:
        return [name for name in CONTROLLERS if name in self._places]

    @property
    def directories(self) -> List[str]:
        return list(dict.fromkeys(self._places.values()))

    def exists(self) -> bool:
        return all(os.path.isdir(place) for place in self.directories)

    def children(self) -> List[str]:
        """The names of the groups in it."""
        first = self.directories[0]
        return [entry.name for entry in os.scandir(first) if entry.is_dir()] if os.path.isdir(first) else []

    # ── making and limiting it ───────────────────────────────────────────────────────────────────────────

    def create(self, limits: Limits) -> None:
        """Make it, if it is not there, with these limits; they may be changed at any time by `limit`.

        Raises OSError: with EBUSY, version 1, when more memory is in use than is allowed. All other limits hold then.
        """
        self.make()
        self.limit(limits)

    def make(self) -> None:
        """Make it, if it is not there; a new one has no limits."""
        for place in self.directories:
            os.makedirs(place, exist_ok=True)

    def remove(self) -> bool:
        """Remove it and all groups in it; False while there are processes left."""
        gone = [knobs.remove_tree(place) for place in self.directories]
        return all(gone)

    @abc.abstractmethod
    def limit(self, limits: Limits) -> None: ...

    @abc.abstractmethod
    def set_cpu_weight(self, weight: int) -> None:
        """Of its limits this one alone. Nothing where there is no group any more."""

    @abc.abstractmethod
    def allow_swap(self, limits: Limits | None) -> None:
        """Let what hibernates be swapped out whatever its limit (None), or have the limit hold again."""

    @abc.abstractmethod
    def delegate(self) -> None:
        """Let groups within it have limits of their own."""

    def keep_a_cpu_free(self, wanted: bool) -> None:
        """Let its processes run on all CPUs but one, or on all again. Nothing where there is but one."""
        place = self._places.get("cpuset")
        if place is None:
            return
        cpus = knobs.numbers(knobs.read(os.path.dirname(place), self._cpus))
        if len(cpus) > 1:
            knobs.try_to_write(place, "cpuset.cpus", ",".join(map(str, cpus[1:] if wanted else cpus)))

    # ── who is in it, and what they use ──────────────────────────────────────────────────────────────────

    def doors(self) -> List[int]:
        """Open files by which a process enters it (see `enter`); the caller closes them."""
        places = (*self.directories, *self._shared)
        found: List[int] = []
        try:
            found.extend(os.open(f"{place}/{self._door}", os.O_WRONLY | os.O_CLOEXEC) for place in places)
        except OSError:
            for descriptor in found:
                os.close(descriptor)
            raise
        return found

    def processes(self) -> List[int]:
        return [int(pid) for pid in knobs.read(self.directories[0], "cgroup.procs").split()]

    @abc.abstractmethod
    def usage(self) -> Usage:
        """What it uses; zero for what this machine does not count."""

    @abc.abstractmethod
    def cpu_seconds(self) -> float:
        """What its processes have used since it was made."""

    @abc.abstractmethod
    def anonymous(self) -> int:
        """Bytes that its processes have in memory and that are no file's: what only their end would give back."""

    def tasks(self) -> int:
        """Processes and threads in it now."""
        return knobs.number(self._places.get("pids", ""), "pids.current")

    def tasks_refused(self) -> int:
        """How often a process or thread could not be started since it was made."""
        return knobs.table(self._places.get("pids", ""), "pids.events").get("max", 0)


def enter(doors: Iterable[int]) -> None:
    """Move the calling process, which has one thread, through the doors of a group.

    A thread that moves itself through version 1's `tasks` takes no lock of the whole machine: 0.1 ms instead
    of the 6 ms that a move by another process takes (kernel/cgroup/cgroup.c: cgroup_procs_write_start).
    """
    for door in doors:
        os.write(door, b"0")
