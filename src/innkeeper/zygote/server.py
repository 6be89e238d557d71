"""The zygote: a warm Python that forks workers on the supervisor's order.

It has no threads, no secrets and no sockets but its channel, and imports nothing of a tenant's. For each order
it forks a first process in a new PID namespace; that one closes itself in and starts serving.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from typing import Any, Dict, List

from innkeeper.kernel import namespaces, processes, sockets
from innkeeper.worker import helper, sandbox, wsgi
from innkeeper.worker.first import First, stop_strays
from innkeeper.worker.order import Descriptors, Order
from innkeeper.worker.places import Places
from innkeeper.zygote.preload import ThreadLeft, preload


class Zygote:
    """The fork loop. Answers {"forked": id, "pid"} with a pidfd, {"ended": pid, "status"} and {"ready": …}."""

    def __init__(self, channel: socket.socket, places: Places) -> None:
        self._channel = channel
        self._places = places
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._wakeup, self._wakeup_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Fork on demand until the other end of the channel is closed."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wakeup_writer, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._wakeup:
                    os.read(self._wakeup, 4096)
                    self._reap()
                elif not self._obey():
                    return

    def _obey(self) -> bool:
        received = sockets.receive(self._channel, len(Descriptors._fields))
        if received is None:
            return False
        message, descriptors = received
        try:
            self._fork(Order.from_message(message), Descriptors(*descriptors))
        except OSError as error:
            sockets.send(self._channel, {"refused": message["identity"], "reason": str(error)})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _fork(self, order: Order, given: Descriptors) -> None:
        if self._places.walled:
            namespaces.unshare(namespaces.PID)
        try:
            pid = os.fork()
        finally:
            if self._places.walled and os.getpid() != 1:
                namespaces.return_to(self._own_pids, namespaces.PID)
        if pid == 0:
            self._become_first(order, given)
        pidfd = os.pidfd_open(pid)
        sockets.send(self._channel, {"forked": order.identity, "pid": pid}, [pidfd])
        os.close(pidfd)

    def _become_first(self, order: Order, given: Descriptors) -> None:
        status = 70
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            self._channel.close()
            for descriptor in (self._own_pids, self._wakeup, self._wakeup_writer):
                os.close(descriptor)
            os.setsid()
            processes.set_name(f"ik {order.domain or order.tenant}")
            sandbox.enter(order, self._places)
            if order.arguments:
                helper.run(order, self._places, given)
            status = First(order, self._places, given, wsgi.serve).run()
            if not self._places.walled:
                stop_strays()
        except BaseException as error:
            _report(given.channel, error)
            raise
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            sockets.send(self._channel, {"ended": pid, "how": processes.describe_exit(status)})


def _report(channel: int, error: BaseException) -> None:
    """Tell the supervisor that the sandbox itself could not be entered: the operator's problem, not the owner's."""
    with socket.socket(fileno=os.dup(channel)) as end:
        sockets.send(end, {"event": "broken", "reason": f"{type(error).__name__}: {error}"})


def serve(settings: Dict[str, Any]) -> None:
    """Import what is to be shared, say so, and fork until told to end. `settings` come from `zygote.launch`."""
    channel = socket.socket(fileno=settings["channel"])
    places = Places(settings["tenants"], settings["logs"], settings["walled"])
    wanted: List[str] = settings["preload"]
    try:
        left_out = preload(wanted)
    except ThreadLeft as found:
        sockets.send(channel, {"threaded": str(found)})
        sys.exit(1)
    processes.set_name("ik zygote")
    if settings["walled"]:
        settings["hide_source"]()
    sys.path[:] = [entry for entry in sys.path if entry != settings["source"]]
    sockets.send(channel, {"ready": True, "left_out": left_out})
    Zygote(channel, places).run()
