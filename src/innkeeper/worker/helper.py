"""A helper: a command, or one of our own tasks, done inside a tenant's sandbox that is not a site."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import resource
import select
import signal
import socket
import sys
import termios
import time
from typing import Optional, Tuple

from innkeeper.kernel import processes, sockets
from innkeeper.worker import measuring, tasks
from innkeeper.worker.order import Descriptors, Order
from innkeeper.worker.places import Places

TIMED_OUT = 124  # exit status, as timeout(1) has it
_GRACE = 2.0  # seconds between SIGTERM and the end by force
_MOST_MEMORY = 512 << 20  # bytes that a measure may take, which is the node's own


def run(order: Order, places: Places, given: Descriptors) -> None:
    """Do what the order says, on the given descriptors; tells the supervisor the exit status, and ends."""
    said = ""
    if order.task.get("do") == "measure":
        code, said = _measure(order, places)
    else:
        child = os.fork()
        if child == 0:
            try:
                _be_child(order, places, given)
            finally:
                os._exit(70)
        code = _await(child, order.timeout)
    with socket.socket(fileno=given.channel) as channel:
        sockets.send(channel, {"event": "ended", "code": code, "said": said})
    os._exit(0)


def _measure(order: Order, places: Places) -> Tuple[int, str]:
    """The exit status, and what all the tenant's files take, as JSON; or why nobody knows that."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    try:
        tops = [places.real(order.tenant, path) for path in order.task["paths"]]
        return 0, json.dumps(measuring.measure(tops, order.timeout)._asdict())
    except measuring.Unmeasured as error:
        return 1, str(error)


def _await(child: int, timeout: float) -> int:
    """The child's exit status as a shell tells it; it is ended after `timeout` seconds (0 = never)."""
    end = time.monotonic() + timeout if timeout else None
    pidfd = os.pidfd_open(child)
    overdue = False
    waiting = select.poll()
    waiting.register(pidfd, select.POLLIN)
    while not waiting.poll(None if end is None else max(0.0, end - time.monotonic()) * 1000):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL if overdue else signal.SIGTERM)
        end, overdue = (None if overdue else time.monotonic() + _GRACE), True
    while True:  # strangers' orphans are ours to reap as well
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return TIMED_OUT if overdue else code if code >= 0 else 128 - code


def _be_child(order: Order, places: Places, given: Descriptors) -> None:
    os.setsid()
    processes.die_with_parent()
    # The given descriptors may themselves be numbered 0 to 2: copy them out of the way first.
    copies = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (given.listener, given.stdout, given.stderr)]
    for target, source in enumerate(copies):
        os.dup2(source, target)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.closerange(3, 256)
    if order.terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    code: Optional[int] = None
    try:
        os.chdir(places.real(order.tenant, order.directory or f"/home/{order.tenant}"))
        if order.task:
            _renew_streams()
            code = tasks.run(order.task, lambda path: places.real(order.tenant, path))
        else:
            os.execvpe(order.arguments[0], list(order.arguments), os.environ)
    except OSError as error:
        what = order.arguments[0] if order.arguments else str(order.directory)
        os.write(2, f"innkeeper: {what}: {error.strerror}\n".encode())
        code = 127 if isinstance(error, FileNotFoundError) else 126
    os._exit(70 if code is None else code)


def _renew_streams() -> None:
    """Python's own streams belong to descriptors that are gone: make them anew over 0, 1 and 2."""
    sys.stdin = io.TextIOWrapper(io.FileIO(0, "rb", closefd=False))
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(1, "wb", closefd=False)), "utf-8", "surrogateescape"
    )
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "wb", closefd=False), "utf-8", "backslashreplace", write_through=True
    )
