"""The way of nginx's user to the node's files, where a directory above them is closed to it.

A root such as /root/inn or what mktemp makes lies below a directory that only root may enter. Opening that to
all is not ours to do; so nginx gets a mount namespace in which the closed directory is an empty one, with just
the node's own directories at their places.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from innkeeper.kernel import mounts, namespaces
from innkeeper.spec.node import Layout


def closed_above(root: Path, user: pwd.struct_passwd) -> Path | None:
    """The uppermost directory on the way to `root`, itself included, that the user may not enter."""
    for directory in (*reversed(root.parents), root):
        state = directory.stat()
        owned = state.st_uid == user.pw_uid and state.st_mode & stat.S_IXUSR
        of_group = state.st_gid == user.pw_gid and state.st_mode & stat.S_IXGRP
        if not (state.st_mode & stat.S_IXOTH or of_group or owned):
            return directory
    return None


def open_way(closed: Path, layout: Layout) -> None:
    """Enter a mount namespace in which `closed` holds nothing but the node's directories that nginx reads."""
    needed = (layout.run, layout.tenants_data, layout.lib / "edge", layout.logs)
    namespaces.unshare(namespaces.MOUNT)
    mounts.make_private()
    held = {directory: os.open(directory, os.O_PATH | os.O_DIRECTORY) for directory in needed}
    mounts.tmpfs(str(closed), options="mode=755,size=64k")
    for directory in _without_inner(needed):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        mounts.bind(f"/proc/self/fd/{held[directory]}", str(directory), recursive=True)
    for descriptor in held.values():
        os.close(descriptor)


def _without_inner(directories: Iterable[Path]) -> list[Path]:
    """The directories that lie in none of the others."""
    found = list(directories)
    return [one for one in found if not any(other in one.parents for other in found)]
