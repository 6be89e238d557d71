"""From a forked process to a worker; and the same done ahead, up to where it must be known whose worker it is.

A spare is a worker that has its namespaces and its processes already, and waits for an order: what is left to do
then is to furnish the root, to become the tenant, and to start uWSGI. It holds nothing of anybody's.
"""

from __future__ import annotations

import json
import os
import select
import socket
from typing import NamedTuple, NoReturn

from innkeeper.kernel import cgroups, processes, sharing, sockets
from innkeeper.kernel.mold import Begun
from innkeeper.worker import fence, helper, kinds, sandbox
from innkeeper.worker.first import First, stop_strays
from innkeeper.worker.order import MAX_DESCRIPTORS, Descriptors, Order
from innkeeper.worker.places import Places
from innkeeper.zygote.foresight import Foresight

_QUIET = 0.01  # seconds without an order until a spare prepares for all frameworks


class Spare(NamedTuple):
    """A worker forked ahead: its first process, and where it takes its order."""

    pid: int
    pidfd: int
    link: socket.socket


def be_first(begun: Begun, places: Places) -> NoReturn:
    """Be a first process that needs Python."""
    given = Descriptors.of(list(begun.given))
    status = 70
    try:
        order = Order.from_message(json.loads(begun.order))
        if order.is_helper:
            sandbox.settle(order, fence.rules(order, places))
            sandbox.set_environment(order, places)
            fence.close()
            helper.run(order, places, given)
        status = First(order, places, begun, kinds.serve).run()
        if not places.walled:
            stop_strays()
    except BaseException as error:
        report(given.channel, error)
        raise
    finally:
        os._exit(status)


def _is_quiet(link: socket.socket, seconds: float) -> bool:
    """Whether no order comes for so long."""
    return not select.select([link], [], [], seconds)[0]


def wait_to_serve(link: socket.socket, places: Places, foresight: Foresight) -> NoReturn:
    """Be the serving process of a spare: prepare all that can be prepared, then wait for the order."""
    try:
        fence.close()
        wait = _QUIET
        for part in foresight.rest:
            if not _is_quiet(link, wait):
                break
            sharing.copy_ahead(part)
            wait = 0.0
        received = sockets.receive(link, MAX_DESCRIPTORS)
        if received is not None:
            message, descriptors = received
            order, given = Order.from_message(message), Descriptors.of([-1, *descriptors])
            processes.set_name(order.domain)
            cgroups.enter(given.doors)
            for door in given.doors:
                os.close(door)

            def arrive() -> None:
                received = sockets.receive(link, 1)
                if received is None:
                    os._exit(70)  # the root could not be furnished
                sandbox.settle(order, next(iter(received[1]), None))
                for rules in received[1]:
                    os.close(rules)
                processes.die_with_parent()  # anew, because becoming another user has cleared it

            kinds.serve(order, places, given, link, arrive)
    finally:
        os._exit(70)


def report(channel: int, error: BaseException) -> None:
    """Tell the supervisor that the sandbox could not be entered: the operator's problem, not the owner's."""
    with socket.socket(fileno=os.dup(channel)) as end:
        sockets.send(end, {"event": "broken", "reason": f"{type(error).__name__}: {error}"})
