"""A helper: a command run inside a tenant's sandbox that is not a site."""

from __future__ import annotations

import fcntl
import os
import signal
import socket

from innkeeper.kernel import processes, sockets
from innkeeper.worker.order import Descriptors, Order
from innkeeper.worker.places import Places


def run(order: Order, places: Places, given: Descriptors) -> None:
    """Run the order's command on the given descriptors; tells the supervisor its exit status, and ends."""
    child = os.fork()
    if child == 0:
        processes.die_with_parent()
        # The given descriptors may themselves be numbered 0 to 2: copy them out of the way first.
        copies = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (given.listener, given.stdout, given.stderr)]
        for target, source in enumerate(copies):
            os.dup2(source, target)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.closerange(3, 256)
        try:
            os.chdir(places.real(order.tenant, order.directory or f"/home/{order.tenant}"))
            os.execvpe(order.arguments[0], list(order.arguments), os.environ)
        except OSError as error:
            os.write(2, f"innkeeper: {order.arguments[0]}: {error.strerror}\n".encode())
            os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            with socket.socket(fileno=given.channel) as channel:
                sockets.send(channel, {"event": "ended", "code": code if code >= 0 else 128 - code})
            os._exit(0)
