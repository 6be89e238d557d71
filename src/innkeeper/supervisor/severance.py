"""An answer that breaks off is not to look whole: the worker's half of this is worker/severance.py.

In uwsgi's protocol an answer ends where its connection does, and to nginx one end is like another, unless the kernel
says that the connection was reset. That it does when a Unix socket is closed which holds something unread. Nobody but
nginx can send a worker anything, so a byte is sent here, by a copy of nginx's own descriptor. It harms nobody: a
worker is believed about connections that were accepted at its own site's socket, and nginx has sent its request.
"""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import Any

from innkeeper.kernel import processes, remote
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.worker import Worker

_MOST = 256  # connections of one message
_SHARE = 10  # times as long as one message took passes before a worker's next is heeded
_LONGEST = 0.1  # seconds; but no longer than this


def sever(worker: Worker, name: str, inodes: Any, services: Services) -> None:
    """Have nginx see the end of these connections of a worker's, which are about to be closed, as a reset.

    `name` is that of its site's socket.
    """
    began = time.monotonic()
    if not isinstance(inodes, list) or began < worker.may_sever:
        return
    ends = set()
    for inode in inodes[:_MOST]:
        if isinstance(inode, int) and 0 < inode < 1 << 32:
            with contextlib.suppress(OSError):  # this kernel can't be asked
                ends.add(remote.other_end(inode, name))
    ends.discard(0)
    for pid in _edge(services.layout.nginx_pid) if ends else ():
        with contextlib.suppress(OSError):  # it has ended, or has closed the connection
            _send(pid, ends)
    ended = time.monotonic()
    worker.may_sever = ended + min(_LONGEST, _SHARE * (ended - began))


def _send(pid: int, ends: set[int]) -> None:
    for copy in remote.copies(pid, ends):
        with copy, contextlib.suppress(OSError):
            copy.send(b"\0", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _edge(pid_file: Path) -> list[int]:
    """nginx's processes that serve."""
    try:
        return processes.children_of(int(pid_file.read_text()))
    except (OSError, ValueError):
        return []
