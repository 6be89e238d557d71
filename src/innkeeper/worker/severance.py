"""An answer that breaks off is not to look whole: the supervisor's half of this is supervisor/severance.py."""

from __future__ import annotations

import contextlib
import os
import select
import socket

from innkeeper.kernel import sockets

_WAITS = (10, 10, 30, 100, 100)  # milliseconds after each try: the supervisor may not heed all


def sever(link: socket.socket, connection: int) -> None:
    """See to it that nginx takes the closing of `connection`, which is to follow, for a reset: something unread lies
    in it then. Where that can't be had the answer ends as if it were whole."""
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    if waiting.poll(0):  # so it is already, or the visitor has gone
        return
    told = {"event": "severed", "sockets": [os.fstat(connection).st_ino]}
    with contextlib.suppress(OSError):  # the first process is gone, and this one will be in a moment
        for milliseconds in _WAITS:
            sockets.send(link, told)
            if waiting.poll(milliseconds):
                return
