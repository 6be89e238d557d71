"""A site's logs: in a directory of root's, so that no tenant can plant anything there (CVE-2016-1247).

A directory's group is the tenant who may read it. When a domain passes to another tenant, what was logged before is
set aside, where root alone finds it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import time
from collections.abc import Collection
from functools import cache
from pathlib import Path

from innkeeper.kernel import files
from innkeeper.spec.node import Layout

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def prepare(layout: Layout, domain: str, *, gid: int, nginx_user: str) -> None:
    """Make the directory and access.log, which nginx's workers write with their own rights."""
    uid = _uid_of(nginx_user)
    if _is_ready(layout.log_dir(domain), uid, gid):
        return
    _part_with_former(layout, domain, gid)
    files.ensure_directory(layout.log_dir(domain), mode=0o751, gid=gid)
    os.close(_open(layout, domain, "access", uid=uid, gid=gid))


def open_for_worker(layout: Layout, domain: str, *, gid: int, nginx_user: str) -> tuple[int, int]:
    """Descriptors of server.log (stdout) and error.log (stderr), open for appending."""
    prepare(layout, domain, gid=gid, nginx_user=nginx_user)
    server = _open(layout, domain, "server", uid=0, gid=gid)
    try:
        return server, _open(layout, domain, "error", uid=0, gid=gid)
    except OSError:
        os.close(server)
        raise


def other_owner(layout: Layout, domain: str, gid: int) -> int:
    """The group of another tenant whose logs these are; 0 if there is none."""
    try:
        owner = os.lstat(layout.log_dir(domain)).st_gid
    except FileNotFoundError:
        return 0
    return owner if owner != gid else 0


def part_with(layout: Layout, uid: int, keep_in: Path | None) -> None:
    """A tenant goes: move the logs that only it might read into a directory, or delete them."""
    for directory in _of_sites(layout):
        if directory.lstat().st_gid != uid:
            continue
        if keep_in is None:
            shutil.rmtree(directory)
        else:
            files.ensure_directory(keep_in, mode=0o700)
            directory.rename(keep_in / directory.name)


def sweep(layout: Layout, domains: Collection[str], days: int) -> None:
    """Delete the logs of sites that are no more, and of former tenants, in which nothing was written for so long."""
    oldest = time.time() - days * 86_400.0
    gone = [directory for directory in _of_sites(layout) if directory.name not in domains]
    former = list(layout.former_logs.iterdir()) if layout.former_logs.is_dir() else []
    for directory in (*gone, *former):
        with contextlib.suppress(FileNotFoundError):
            times = [entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(directory)]
            if max(times, default=directory.lstat().st_mtime) < oldest:
                shutil.rmtree(directory)


def _of_sites(layout: Layout) -> list[Path]:
    """The logs' directories: no domain begins with a dot."""
    if not layout.logs.is_dir():
        return []
    return [path for path in layout.logs.iterdir() if not path.name.startswith(".") and path.is_dir()]


def _part_with_former(layout: Layout, domain: str, gid: int) -> None:
    """Set aside the logs of a tenant who had the domain before."""
    owner = other_owner(layout, domain, gid)
    if not owner:
        return
    files.ensure_directory(layout.former_logs, mode=0o700)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    os.rename(layout.log_dir(domain), layout.former_logs / f"{domain}-{owner}-{stamp}-{time.monotonic_ns()}")


def _open(layout: Layout, domain: str, kind: str, *, uid: int, gid: int) -> int:
    descriptor = os.open(layout.log_dir(domain) / f"{kind}.log", _FLAGS, 0o640)
    state = os.fstat(descriptor)
    if (state.st_uid, state.st_gid) != (uid, gid):
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, 0o640)
    os.set_blocking(descriptor, True)
    return descriptor


@cache
def _uid_of(user: str) -> int:
    return pwd.getpwnam(user).pw_uid


def _is_ready(directory: Path, uid: int, gid: int) -> bool:
    """Whether an earlier call has made all of it; tenants can't put anything in its place."""
    try:
        state = os.lstat(f"{directory}/access.log")
    except FileNotFoundError:
        return False
    return (state.st_uid, state.st_gid) == (uid, gid)
