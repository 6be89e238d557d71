"""A site's logs: in a directory of root's, so that no tenant can plant anything there (CVE-2016-1247)."""

from __future__ import annotations

import os
import pwd

from innkeeper.kernel import files
from innkeeper.spec.node import Layout

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def prepare(layout: Layout, domain: str, *, gid: int, nginx_user: str) -> None:
    """Make the directory and access.log, which nginx's workers write with their own rights."""
    directory = layout.log_dir(domain)
    files.ensure_directory(directory, mode=0o751, gid=gid)
    os.close(_open(layout, domain, "access", uid=pwd.getpwnam(nginx_user).pw_uid, gid=gid))


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
