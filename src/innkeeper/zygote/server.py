"""The zygote: a warm Python that forks workers on the supervisor's order.

It has no threads, no secrets and no sockets but its channel, and imports nothing of a tenant's. For each order
it forks a first process in a new PID namespace; that one closes itself in and starts serving.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from typing import Any, Dict, Optional

from innkeeper.kernel import libc, namespaces, processes, sharing, sockets
from innkeeper.worker import fence, sandbox, virtualenv
from innkeeper.worker.order import MAX_DESCRIPTORS, Descriptors, Order
from innkeeper.worker.places import Places
from innkeeper.zygote import ahead, foresight, stocking
from innkeeper.zygote.ahead import Spare, become_first, report
from innkeeper.zygote.foresight import Foresight

_MOST_REASONS = 300  # of modules left out, that fit into a message
_SPARE_WAIT = 0.01  # seconds of quiet after an order before the next spare is forked


class Zygote:
    """The fork loop. Answers {"forked": id, "pid"} with a pidfd, {"ended": pid, "status"} and {"ready": …}."""

    def __init__(self, channel: socket.socket, places: Places, foresight: Foresight) -> None:
        self._channel = channel
        self._places = places
        self._foresight = foresight
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._wakeup, self._wakeup_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._spare: Optional[Spare] = None
        self._spare_due = time.monotonic()  # 0 = none is to be made

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
            patience = None
            if self._spare_due:
                patience = max(0.0, self._spare_due - time.monotonic()) * 1000
            for descriptor, _ in poll.poll(patience):
                if descriptor == self._wakeup:
                    os.read(self._wakeup, 4096)
                    self._reap()
                elif not self._obey():
                    return
            if self._spare_due and time.monotonic() >= self._spare_due:
                self._make_spare()

    def _obey(self) -> bool:
        received = sockets.receive(self._channel, MAX_DESCRIPTORS)
        if received is None:
            return False
        message, descriptors = received
        try:
            order, given = Order.from_message(message), Descriptors.of(descriptors)
            if order.is_helper:
                self._fork(order, given)
            else:
                self._give(order, given)
        except OSError as error:
            sockets.send(self._channel, {"refused": message["identity"], "reason": str(error)})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _fork(self, order: Order, given: Descriptors) -> None:
        pid = self._fork_walled()
        if pid == 0:
            try:
                self._let_go()
                sandbox.detach(self._places)
            except BaseException as error:
                report(given.channel, error)
                os._exit(70)
            become_first(order, self._places, given)
        self._say_forked(order, pid)

    def _say_forked(self, order: Order, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        sockets.send(self._channel, {"forked": order.identity, "pid": pid}, [pidfd])
        os.close(pidfd)

    def _fork_walled(self) -> int:
        """Fork into a new PID namespace; 0 in the new process."""
        if not self._places.walled:
            return libc.fork()
        namespaces.unshare(namespaces.PID)
        try:
            pid = libc.fork()
        finally:
            if os.getpid() != 1:
                namespaces.return_to(self._own_pids, namespaces.PID)
        return pid

    def _let_go(self) -> None:
        """In a forked process: of all that is the zygote's."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self._channel.close()
        for descriptor in (self._own_pids, self._wakeup, self._wakeup_writer):
            os.close(descriptor)
        os.setsid()

    # ── the spare ────────────────────────────────────────────────────────────────────────────────────────

    def _give(self, order: Order, given: Descriptors) -> None:
        """Give the order to the worker that was forked ahead, or to one that is forked now. Raises OSError."""
        spare, self._spare = self._spare or self._fork_spare(), None
        self._spare_due = time.monotonic() + _SPARE_WAIT
        with spare.link:
            sockets.send(spare.link, order.to_message(), given.row())
        self._say_forked(order, spare.pid)

    def _make_spare(self) -> None:
        self._spare_due = 0.0
        with contextlib.suppress(OSError):  # an order that finds none has one forked, and tells what is wrong
            self._spare = self._fork_spare()

    def _fork_spare(self) -> Spare:
        ours, theirs = sockets.pair()
        with theirs:
            try:
                pid = self._fork_walled()
            except OSError:
                ours.close()
                raise
            if pid == 0:
                ours.close()
                self._let_go()
                ahead.wait(theirs, self._places, self._foresight)
        return Spare(pid, ours)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._spare is not None and self._spare.pid == pid:
                self._spare.link.close()
                self._spare = None
                continue
            sockets.send(self._channel, {"ended": pid, "how": processes.describe_exit(status)})


def serve(settings: Dict[str, Any]) -> None:
    """Import what is to be shared, say so, and fork until told to end. `settings` come from `zygote.launch`."""
    channel = socket.socket(fileno=settings["channel"])
    places = Places(settings["tenants"], settings["logs"], settings["walled"])
    sifted = stocking.stock(settings)
    processes.set_name("ik zygote bare" if settings["bare"] else "ik zygote")
    processes.drop_bounding_set()  # what is forked inherits that
    with contextlib.suppress(OSError):  # said at the node's start, and refused there if it has to be
        fence.prepare()
    if settings["walled"]:
        settings["hide_source"]()
    sys.path[:] = [entry for entry in sys.path if entry != settings["source"]]
    try:
        foreseen = foresight.learn(places) if sharing.snapshot() else Foresight()
    except OSError as error:
        print(f"memory is shared less well than it could be: {error}", file=sys.stderr)
        foreseen = Foresight()
    told = {"preloaded": sifted.preloaded, "memory": sifted.memory, "reads": sorted(sifted.reads)}
    told["left_out"] = dict(list(sifted.left_out.items())[:_MOST_REASONS])
    sockets.send(channel, {"ready": True, "python": virtualenv.VERSION, **told})
    Zygote(channel, places, foreseen).run()
