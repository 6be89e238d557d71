"""A site's logs: in a directory of root's, so that no tenant can plant anything there (CVE-2016-1247)."""

from __future__ import annotations

import os
import pwd
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
    files.ensure_directory(layout.log_dir(domain), mode=0o751, gid=gid)
    os.close(_open(layout, domain, "access", uid=uid, gid=gid))


def open_for_worker(layout: Layout, domain: str, *, gid: int) -> tuple[int, int]:
    """Descriptors of server.log (stdout) and error.log (stderr), open for appending."""
    return _open(layout, domain, "server", uid=0, gid=gid), _open(layout, domain, "error", uid=0, gid=gid)


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
