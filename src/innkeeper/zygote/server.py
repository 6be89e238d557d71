"""The zygote: a warm Python from which workers are forked on the supervisor's order.

It has no threads, no secrets and no sockets but its channel, and imports nothing of a tenant's. It is two processes:
the mold, which is forked from, and the one that takes the orders, here.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any, Dict, Optional

from innkeeper.kernel import mold, processes, sharing, sockets
from innkeeper.kernel.mold import Begun, Mold, Script
from innkeeper.worker import fence, sandbox, virtualenv
from innkeeper.worker.order import MAX_DESCRIPTORS, Descriptors, Order
from innkeeper.worker.places import Places
from innkeeper.zygote import ahead, foresight, stocking
from innkeeper.zygote.ahead import Spare
from innkeeper.zygote.foresight import Foresight

_MOST_REASONS = 300  # of modules left out, that fit into a message
_SPARE_WAIT = 0.01  # seconds of quiet after an order before the next spare is forked


class Zygote:
    """Takes orders. Answers {"forked": id, "pid"} with a pidfd, or {"refused": id, "reason"}."""

    def __init__(self, channel: socket.socket, places: Places, mold: Mold) -> None:
        self._channel = channel
        self._places = places
        self._mold = mold
        self._spare: Optional[Spare] = None
        self._spare_due = time.monotonic()  # 0 = none is to be made

    def run(self) -> None:
        """Have workers forked until the other end of the channel is closed, or the mold has ended."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._mold, select.POLLIN)
        while True:
            patience = None
            if self._spare_due:
                patience = max(0.0, self._spare_due - time.monotonic()) * 1000
            for descriptor, _ in poll.poll(patience):
                if descriptor == self._mold.fileno() or not self._obey():
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
            self._give(order, given)
        except ConnectionError:  # nothing can be forked any more: the next zygote will be asked
            return False
        except (OSError, ValueError) as error:
            sockets.send(self._channel, {"refused": message["identity"], "reason": str(error)})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _give(self, order: Order, given: Descriptors) -> None:
        """Give the order to the worker that was forked ahead, or have one forked. Raises OSError, ValueError."""
        message = json.dumps(order.to_message()).encode()
        script = sandbox.script(order, self._places)
        spare = None
        if not order.is_helper:
            spare, self._spare = self._spare, None
            self._spare_due = time.monotonic() + _SPARE_WAIT
        if spare is None or not _hand_over(spare, script, message, given):
            spare = self._fork(0 if order.is_helper else mold.SERVING)
            if not _hand_over(spare, script, message, given):
                raise OSError("the process that was forked for it has ended")
        try:
            sockets.send(self._channel, {"forked": order.identity, "pid": spare.pid}, [spare.pidfd])
        finally:
            os.close(spare.pidfd)

    def _fork(self, request: int) -> Spare:
        return Spare(*self._mold.fork(request))

    def _make_spare(self) -> None:
        self._spare_due = 0.0
        with contextlib.suppress(OSError):  # an order that finds none has one forked, and tells what is wrong
            self._spare = self._fork(mold.SERVING)


def _hand_over(spare: Spare, script: Script, order: bytes, given: Descriptors) -> bool:
    """False when the spare has ended meanwhile. Raises OSError, ValueError."""
    with spare.link:
        try:
            mold.send_order(spare.link, script, order, given.row())
        except ConnectionError:
            os.close(spare.pidfd)
            return False
    return True


def serve(settings: Dict[str, Any]) -> None:
    """Import what is to be shared, say so, and take orders until told to end. `settings`: see `zygote.launch`."""
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
    foreseen = Foresight()
    try:
        try:
            if sharing.snapshot():
                foreseen = foresight.learn(places)
        finally:
            sharing.renew()
    except OSError as error:
        print(f"memory is shared less well than it could be: {error}", file=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as in what is forked
    became = mold.become(channel, settings["walled"], fence.filters(), foreseen.serving)
    if isinstance(became, Begun):
        ahead.be_first(became, places)
    if isinstance(became, int):
        ahead.wait_to_serve(socket.socket(fileno=became), places, foreseen)
    processes.set_name("ik orders")
    told = {"preloaded": sifted.preloaded, "memory": sifted.memory, "reads": sorted(sifted.reads)}
    told["left_out"] = dict(list(sifted.left_out.items())[:_MOST_REASONS])
    sockets.send(channel, {"ready": True, "python": virtualenv.VERSION, **told})
    Zygote(channel, places, became).run()
    os._exit(0)  # an orderly end would look at all of the memory, and copy it
