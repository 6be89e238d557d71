"""A helper: a command run inside a tenant's sandbox that is not a site."""

from __future__ import annotations

import os
import signal

from innkeeper.kernel import processes
from innkeeper.worker.order import Descriptors, Order
from innkeeper.worker.places import Places


def run(order: Order, places: Places, given: Descriptors) -> None:
    """Run the order's command on the given descriptors; ends this process with the command's status."""
    child = os.fork()
    if child == 0:
        processes.die_with_parent()
        for target, source in enumerate((given.listener, given.stdout, given.stderr)):
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
            os._exit(code if code >= 0 else 128 - code)
