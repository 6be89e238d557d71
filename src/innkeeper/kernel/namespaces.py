"""Namespaces: entering new ones, and finding out whether this machine lets us."""

from __future__ import annotations

import os

from innkeeper.kernel import libc

MOUNT = 0x00020000
UTS = 0x04000000
IPC = 0x08000000
PID = 0x20000000


def unshare(flags: int) -> None:
    """Enter new namespaces."""
    libc.call("unshare", flags)


def permitted() -> str | None:
    """None when a sandbox's namespaces may be made here, else the reason why not; forks a child to try."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            unshare(MOUNT | PID | IPC | UTS)
            libc.call("mount", b"none", b"/", None, 16384 | 1 << 18, None)
        except OSError as error:
            os.write(writer, str(error).encode()[:500])
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        reason = answers.read().decode()
    os.waitpid(child, 0)
    return reason or None
