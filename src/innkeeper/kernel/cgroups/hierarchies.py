"""Where this machine keeps its control groups, and ours among them."""

from __future__ import annotations

import errno
import os
from typing import Dict, List, NamedTuple

from innkeeper.kernel.cgroups import knobs, version1
from innkeeper.kernel.cgroups.group import CONTROLLERS, Group
from innkeeper.kernel.cgroups.version1 import Split
from innkeeper.kernel.cgroups.version2 import Unified

NEEDED = CONTROLLERS[:3]
NODE = "node"  # the leaf of the node's own processes


def find(name: str, *, mounts: str = "/proc/self/mountinfo", own: str = "/proc/self/cgroup") -> Group:
    """The group `name` below our own, not yet made. Raises OSError with the reason why there can be none."""
    found = _hierarchies(mounts)
    paths = {key: path.removesuffix(f"/{name}/{NODE}") or "/" for key, path in _own_paths(own).items()}
    unified = found.pop("", None)
    if unified is not None:
        place = unified.place(paths.get("", "/"))
        if not _is_ours(place):
            place = unified.point
        known = knobs.read(place, "cgroup.controllers").split()
        if "memory" in known:
            return Unified({each: f"{place}/{name}" for each in CONTROLLERS if each in known})
    places = {
        key: f"{found[controller].place(paths.get(controller, '/'))}/{name}"
        for controller, key in version1.NAMES.items()
        if controller in found
    }
    if not places:
        raise OSError(errno.ENOENT, "no control group file system is mounted")
    return Split(places)


def _is_ours(place: str) -> bool:
    """Whether a group of version 2 can hand all controllers down: it has them, and nobody else is in it directly."""
    known = knobs.read(place, "cgroup.controllers").split()
    inside = set(knobs.read(place, "cgroup.procs").split()) - {str(os.getpid())}
    return not inside and all(each in known for each in NEEDED)


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


def _lines(path: str) -> List[str]:
    with open(path) as file:
        return file.read().splitlines()
