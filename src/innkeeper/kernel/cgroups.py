"""Control groups: what a group of processes may use together, and what it has used; versions 2 and 1.

A `Group` is one name in as many hierarchies as the machine has: one of version 2, or one per controller of
version 1. The kernel's own names and units stay in here.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

CONTROLLERS = ("memory", "pids", "cpu", "io", "cpuset")
_V1_NAMES = {name: name for name in ("memory", "pids", "cpu", "cpuacct", "cpuset")} | {"blkio": "io"}
_PERIOD = 100_000  # microseconds in which a CPU ceiling is counted
_SHARES = 1024  # of version 1, for a weight of 100
NODE = "node"  # the leaf of the node's own processes


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


class Group:
    """One group, at `path` below the node's own; `places` has its directory for each controller."""

    def __init__(self, version: int, places: Dict[str, str], shared: Tuple[str, ...] = ()) -> None:
        self.version = version
        self._places = places
        self._shared = shared  # directories of a group above that its processes enter as well

    def child(self, name: str, *, without: Tuple[str, ...] = ()) -> Group:
        """A group in it. With version 1, one that stays in this group itself where controllers `without` go."""
        apart = () if self.version == 2 else without
        places = {key: f"{place}/{name}" for key, place in self._places.items() if key not in apart}
        return Group(self.version, places, tuple(self._places[key] for key in apart if key in self._places))

    @property
    def controllers(self) -> List[str]:
        return [name for name in CONTROLLERS if name in self._places]

    def parent(self) -> Group:
        return Group(self.version, {key: os.path.dirname(place) for key, place in self._places.items()})

    def exists(self) -> bool:
        return all(os.path.isdir(place) for place in self._directories())

    def children(self) -> List[str]:
        """The names of the groups in it."""
        first = next(iter(self._directories()))
        return [entry.name for entry in os.scandir(first) if entry.is_dir()] if os.path.isdir(first) else []

    def create(self, limits: Limits) -> None:
        """Make it, if it is not there, with these limits; they may be changed at any time by `limit`."""
        self.make()
        self.limit(limits)

    def make(self) -> None:
        """Make it, if it is not there; a new one has no limits."""
        for place in self._directories():
            os.makedirs(place, exist_ok=True)
        if self.version == 1 and "cpuset" in self._places:
            _inherit_cpus(self._places["cpuset"])

    def keep_a_cpu_free(self, wanted: bool) -> None:
        """Let its processes run on all CPUs but one, or on all again. Nothing where there is but one."""
        place = self._places.get("cpuset")
        if place is None:
            return
        name = "cpuset.cpus.effective" if self.version == 2 else "cpuset.cpus"
        cpus = _numbers(_read(os.path.dirname(place), name))
        if len(cpus) > 1:
            _try_to_write(place, "cpuset.cpus", ",".join(map(str, cpus[1:] if wanted else cpus)))

    def delegate(self) -> None:
        """Let groups within it have limits of their own. Version 1 needs no word for that."""
        if self.version == 2:
            _write(
                self._places["memory"],
                "cgroup.subtree_control",
                " ".join(f"+{name}" for name in self.controllers),
            )

    def limit(self, limits: Limits) -> None:
        if self.version == 2:
            _limit_v2(self._places, limits)
        else:
            _limit_v1(self._places, limits)

    def set_cpu_weight(self, weight: int) -> None:
        """Of its limits this one alone. Nothing where there is no group any more."""
        if "cpu" in self._places:
            name, value = ("cpu.weight", weight) if self.version == 2 else ("cpu.shares", _shares(weight))
            _try_to_write(self._places["cpu"], name, str(value))

    def remove(self) -> bool:
        """Remove it and all groups in it; False while there are processes left."""
        gone = [_remove_tree(place) for place in self._directories()]
        return all(gone)

    def doors(self) -> List[int]:
        """Open files by which a process enters it (see `enter`); the caller closes them."""
        name = "cgroup.procs" if self.version == 2 else "tasks"
        return [
            os.open(f"{place}/{name}", os.O_WRONLY | os.O_CLOEXEC)
            for place in (*self._directories(), *self._shared)
        ]

    def processes(self) -> List[int]:
        first = next(iter(self._directories()))
        return [int(pid) for pid in _read(first, "cgroup.procs").split()]

    def cpu_seconds(self) -> float:
        """What its processes have used since it was made."""
        if self.version == 2:
            return _table(next(iter(self._directories())), "cpu.stat").get("usage_usec", 0) / 1e6
        return _number(self._places.get("cpuacct", ""), "cpuacct.usage") / 1e9

    def tasks_refused(self) -> int:
        """How often a process or thread could not be started since it was made."""
        return _table(self._places.get("pids", ""), "pids.events").get("max", 0)

    def anonymous(self) -> int:
        """Bytes that its processes have in memory and that are no file's: what only their end would give back."""
        table = _table(self._places.get("memory", ""), "memory.stat")
        if self.version == 2:
            return sum(table.get(key, 0) for key in ("anon", "shmem", "kernel_stack", "pagetables", "slab"))
        return sum(table.get(key, 0) for key in ("total_rss", "total_shmem"))

    def allow_swap(self, limits: Limits | None) -> None:
        """Let what hibernates be swapped out whatever its limit (None), or have the limit hold again."""
        if self.version == 2 and "memory" in self._places:
            swap = "max" if limits is None or not limits.memory else str(limits.swap)
            _try_to_write(self._places["memory"], "memory.swap.max", swap)

    def usage(self) -> Usage:
        """What it uses; zero for what this machine does not count."""
        return _usage_v2(self._places) if self.version == 2 else _usage_v1(self._places)

    def _directories(self) -> Iterable[str]:
        return dict.fromkeys(self._places.values())


def enter(doors: Iterable[int]) -> None:
    """Move the calling process, which has one thread, through the doors of a group.

    A thread that moves itself through version 1's `tasks` takes no lock of the whole machine: 0.1 ms instead
    of the 6 ms that a move by another process takes (kernel/cgroup/cgroup.c: cgroup_procs_write_start).
    """
    for door in doors:
        os.write(door, b"0")


def find(name: str, *, mounts: str = "/proc/self/mountinfo", own: str = "/proc/self/cgroup") -> Group:
    """The group `name` below our own, not yet made. Raises OSError with the reason why there can be none."""
    found = _hierarchies(mounts)
    paths = {key: path.removesuffix(f"/{name}/{NODE}") or "/" for key, path in _own_paths(own).items()}
    unified = found.pop("", None)
    if unified is not None:
        place = unified.place(paths.get("", "/"))
        if not _is_ours(place):
            place = unified.point
        known = _read(place, "cgroup.controllers").split()
        if "memory" in known:
            return Group(2, {each: f"{place}/{name}" for each in CONTROLLERS if each in known})
    places = {}
    for controller, key in _V1_NAMES.items():
        if controller in found:
            places[key] = f"{found[controller].place(paths.get(controller, '/'))}/{name}"
    if not places:
        raise OSError(errno.ENOENT, "no control group file system is mounted")
    return Group(1, places)


def _is_ours(place: str) -> bool:
    """Whether a group of version 2 can hand all controllers down: it has them, and nobody else is in it directly."""
    known = _read(place, "cgroup.controllers").split()
    inside = set(_read(place, "cgroup.procs").split()) - {str(os.getpid())}
    return not inside and all(each in known for each in CONTROLLERS[:3])


def settle(group: Group) -> None:
    """Make the node's own group, and move the calling process, which starts all others, into a leaf of it.

    With version 2 a group hands its controllers down only when no process is in it directly; what is at the
    top of a container moves along. Raises OSError.
    """
    leaf = group.child(NODE)
    leaf.make()
    doors = leaf.doors()
    enter(doors)
    for door in doors:
        os.close(door)
    if group.version == 2:
        try:
            group.parent().delegate()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _move_all(group.parent(), leaf)
            group.parent().delegate()
        group.delegate()


def _move_all(source: Group, target: Group) -> None:
    door = next(iter(target._directories()))
    for pid in source.processes():
        with contextlib.suppress(OSError):  # it has ended, or is the kernel's
            _write(door, "cgroup.procs", str(pid))


def leave(group: Group) -> None:
    """Move the calling process out of the node's group and remove that, as far as this can be done."""
    with contextlib.suppress(OSError):  # with version 2 there is no way back, and an empty group stays
        doors = group.parent().doors()
        enter(doors)
        for door in doors:
            os.close(door)
    group.remove()


class _Hierarchy(NamedTuple):
    """A mount of a hierarchy: where, and which of its groups is at the mount's top."""

    point: str
    top: str

    def place(self, path: str) -> str:
        """The directory of the group that /proc/self/cgroup calls `path`."""
        inner = path[len(self.top) :] if self.top != "/" and path.startswith(self.top) else path
        place = f"{self.point}/{inner.strip('/')}".rstrip("/")
        return place if os.path.isdir(place) else self.point


def _hierarchies(mounts: str) -> Dict[str, _Hierarchy]:
    """The mounted hierarchies by controller; version 2's has the name ""."""
    found: Dict[str, _Hierarchy] = {}
    for line in _lines(mounts):
        before, _, after = line.partition(" - ")
        top, point = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            found.setdefault("", _Hierarchy(point, top))
        elif kind == "cgroup":
            for name in options.split(" ", 1)[-1].split(","):
                found.setdefault(name, _Hierarchy(point, top))
    return found


def _own_paths(own: str) -> Dict[str, str]:
    paths = {}
    for line in _lines(own):
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            paths[name] = path
    return paths


def _limit_v2(places: Dict[str, str], limits: Limits) -> None:
    place = next(iter(places.values()))
    if "memory" in places:
        _write(place, "memory.high", _or_max(limits.memory_soft))
        _write(place, "memory.max", _or_max(limits.memory))
        _try_to_write(place, "memory.swap.max", str(limits.swap) if limits.memory else "max")
    if "pids" in places:
        _write(place, "pids.max", _or_max(limits.tasks))
    if "cpu" in places:
        ceiling = str(limits.cpu * _PERIOD // 100) if limits.cpu else "max"
        _try_to_write(place, "cpu.max", f"{ceiling} {_PERIOD}")
        _write(place, "cpu.weight", str(limits.cpu_weight))
    if "io" in places:
        _try_to_write(place, "io.weight", f"default {limits.io_weight}")


def _limit_v1(places: Dict[str, str], limits: Limits) -> None:
    if "memory" in places:
        _limit_memory_v1(places["memory"], limits)
    if "pids" in places:
        _write(places["pids"], "pids.max", _or_max(limits.tasks))
    if "cpu" in places:
        ceiling = limits.cpu * _PERIOD // 100 if limits.cpu else -1
        _try_to_write(places["cpu"], "cpu.cfs_quota_us", str(ceiling))
        _write(places["cpu"], "cpu.shares", str(_shares(limits.cpu_weight)))
    if "io" in places:
        weight = str(max(10, min(1000, limits.io_weight)))
        _try_to_write(places["io"], "blkio.bfq.weight", weight)
        _try_to_write(places["io"], "blkio.weight", weight)


def _shares(weight: int) -> int:
    return max(2, weight * _SHARES // 100)


def _limit_memory_v1(place: str, limits: Limits) -> None:
    """Memory, and memory with swap, which may never be less: which of the two goes first depends on the direction."""
    memory = str(limits.memory or -1)
    together = str(limits.memory + limits.swap if limits.memory else -1)
    _try_to_write(place, "memory.memsw.limit_in_bytes", together)
    _write(place, "memory.limit_in_bytes", memory)
    _try_to_write(place, "memory.memsw.limit_in_bytes", together)
    _write(place, "memory.soft_limit_in_bytes", str(limits.memory_soft or -1))


def _usage_v2(places: Dict[str, str]) -> Usage:
    place = next(iter(places.values()))
    cpu, events = _table(place, "cpu.stat"), _table(place, "memory.events")
    return Usage(
        cpu=cpu.get("usage_usec", 0) / 1e6,
        throttled=cpu.get("throttled_usec", 0) / 1e6,
        memory=_number(place, "memory.current"),
        tasks=_number(place, "pids.current"),
        out_of_memory=events.get("oom_kill", 0),
        memory_peak=_number(place, "memory.peak"),
        tasks_refused=_table(place, "pids.events").get("max", 0),
    )


def _usage_v1(places: Dict[str, str]) -> Usage:
    memory, pids = places.get("memory", ""), places.get("pids", "")
    return Usage(
        cpu=_number(places.get("cpuacct", ""), "cpuacct.usage") / 1e9,
        throttled=_table(places.get("cpu", ""), "cpu.stat").get("throttled_time", 0) / 1e9,
        memory=_number(memory, "memory.usage_in_bytes"),
        tasks=_number(pids, "pids.current"),
        out_of_memory=_table(memory, "memory.oom_control").get("oom_kill", 0),
        memory_peak=_number(memory, "memory.max_usage_in_bytes"),
        tasks_refused=_table(pids, "pids.events").get("max", 0),
    )


def _inherit_cpus(place: str) -> None:
    """Give a group of version 1 the CPUs and memory nodes of the one above; a new one has none."""
    above = os.path.dirname(place)
    if _read(place, "cpuset.cpus").strip() or not os.path.exists(f"{above}/cpuset.cpus"):
        return
    _inherit_cpus(above)
    for name in ("cpuset.cpus", "cpuset.mems"):
        _write(place, name, _read(above, name).strip())


def _numbers(text: str) -> List[int]:
    """The numbers in a list such as "0-3,8"."""
    found: List[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _or_max(value: int) -> str:
    return str(value) if value else "max"


def _remove_tree(place: str) -> bool:
    try:
        inner = [entry.path for entry in os.scandir(place) if entry.is_dir()]
    except FileNotFoundError:
        return True
    gone = [_remove_tree(path) for path in inner]
    try:
        os.rmdir(place)
    except FileNotFoundError:
        return all(gone)
    except OSError:  # EBUSY: a process is in it
        return False
    return all(gone)


def _write(place: str, name: str, value: str) -> None:
    descriptor = os.open(f"{place}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _try_to_write(place: str, name: str, value: str) -> None:
    """Write what not every kernel has, or takes in this order."""
    with contextlib.suppress(OSError):
        _write(place, name, value)


def _read(place: str, name: str) -> str:
    """All of a small file; "" where there is none. Hundreds are read each second, so no file object is made."""
    try:
        descriptor = os.open(f"{place}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        found = b""
        while part := os.read(descriptor, 65536):
            found += part
        return found.decode()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _lines(path: str) -> List[str]:
    with open(path) as file:
        return file.read().splitlines()


def _number(place: str, name: str) -> int:
    text = _read(place, name).strip()
    return int(text) if text.isdigit() else 0


def _table(place: str, name: str) -> Dict[str, int]:
    """A file of lines "key number"."""
    found: Dict[str, int] = {}
    for line in _read(place, name).splitlines():
        key, _, value = line.partition(" ")
        if value.isdigit():
            found[key] = int(value)
    return found


def reason(name: str) -> Optional[str]:
    """None when groups with all that is needed may be made here, else why not; a child makes one to try."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, _try(name).encode()[:500])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        found = answers.read().decode()
    os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        find(name).remove()
    return found or None


def _try(name: str) -> str:
    try:
        group = find(name)
        settle(group)
        group.child("try").create(Limits())
    except OSError as error:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    missing = [each for each in CONTROLLERS[:3] if each not in group.controllers]
    return f"the controllers {', '.join(missing)} are missing" if missing else ""
