"""Moving into the node's own group, out of it again, and trying first whether that can be done."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Optional

from innkeeper.kernel.cgroups import knobs
from innkeeper.kernel.cgroups.group import Group, Limits, enter
from innkeeper.kernel.cgroups.hierarchies import NEEDED, NODE, find


def settle(group: Group) -> None:
    """Make the node's own group, and move the calling process, which starts all others, into a leaf of it.

    With version 2 a group hands its controllers down only when no process is in it directly; what is at the
    top of a container moves along. Raises OSError.
    """
    leaf = group.child(NODE)
    leaf.make()
    _move_into(leaf)
    try:
        group.parent().delegate()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        _move_all(group.parent(), leaf)
        group.parent().delegate()
    group.delegate()


def leave(group: Group) -> None:
    """Move the calling process out of the node's group and remove that, as far as this can be done."""
    with contextlib.suppress(OSError):  # with version 2 there is no way back, and an empty group stays
        _move_into(group.parent())
    group.remove()


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
    missing = [each for each in NEEDED if each not in group.controllers]
    return f"the controllers {', '.join(missing)} are missing" if missing else ""


def _move_into(group: Group) -> None:
    doors = group.doors()
    try:
        enter(doors)
    finally:
        for door in doors:
            os.close(door)


def _move_all(source: Group, target: Group) -> None:
    for pid in source.processes():
        with contextlib.suppress(OSError):  # it has ended, or is the kernel's
            knobs.write(target.directories[0], "cgroup.procs", str(pid))
