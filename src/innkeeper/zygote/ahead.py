"""From a forked process to a worker; and the same done ahead, up to where it must be known whose worker it is.

A spare is a worker that has its namespaces and its processes already, and waits for an order: what is left to do
then is to furnish the root, to become the tenant, and to start uWSGI. It holds nothing of anybody's.

The root is furnished by a process of its own, which then ends: whatever a forked process does copies memory, and
the first process, which does it no longer, keeps a megabyte less for as long as the site is awake.
"""

from __future__ import annotations

import os
import socket
from typing import Any, Dict, NamedTuple, NoReturn, Optional

from innkeeper.kernel import cgroups, processes, sockets
from innkeeper.worker import fence, helper, kinds, sandbox
from innkeeper.worker.children import Children
from innkeeper.worker.first import First, stop_strays
from innkeeper.worker.order import MAX_DESCRIPTORS, Descriptors, Order
from innkeeper.worker.places import Places


class Spare(NamedTuple):
    """A worker forked ahead: its first process, and where it takes its order."""

    pid: int
    link: socket.socket


def become_first(
    order: Order,
    places: Places,
    given: Descriptors,
    children: Optional[Children] = None,
    furnisher: Optional[socket.socket] = None,
) -> NoReturn:
    """Be the first process of the worker that `order` describes; namespaces are entered already.

    `furnisher` is the link to the process that furnishes the root, where another one does that.
    """
    status = 70
    try:
        processes.set_name(f"ik {order.domain or order.tenant}")
        cgroups.enter(given.doors)
        first = First(order, places, given, kinds.serve, children)
        first.engage()
        rules = sandbox.furnish(order, places) if furnisher is None else _await_furniture(furnisher)
        sandbox.settle(order, rules)
        if order.is_helper:
            sandbox.set_environment(order, places)
            fence.close()
            helper.run(order, places, given)
        status = first.run(rules)
        if not places.walled:
            stop_strays()
    except BaseException as error:
        report(given.channel, error)
        raise
    finally:
        os._exit(status)


def wait(link: socket.socket, places: Places) -> NoReturn:
    """Be a spare: prepare all that can be prepared, then wait for the order."""
    try:
        processes.set_name("ik spare")
        sandbox.detach(places)
        children = Children()
        if children.fork() is None:
            link.close()
            _wait_to_serve(children.ours, places)
        furnisher = _fork_furnisher(link, places, children) if places.walled else None
        received = sockets.receive(link, MAX_DESCRIPTORS)
        if received is None:
            os._exit(0)
        link.close()
        message, descriptors = received
        if furnisher is not None:
            sockets.send(furnisher, message)
    except BaseException:
        os._exit(70)
    become_first(Order.from_message(message), places, Descriptors.of(descriptors), children, furnisher)


def _fork_furnisher(link: socket.socket, places: Places, children: Children) -> socket.socket:
    """Fork the process that furnishes the root once it knows whose it is; our end of the link to it."""
    ours, theirs = sockets.pair()
    if os.fork() != 0:
        theirs.close()
        return ours
    try:
        for other in (link, ours, *(child.link for child in children)):
            other.close()
        processes.die_with_parent()
        received = sockets.receive(theirs)
        if received is not None:
            rules = sandbox.furnish(Order.from_message(received[0]), places)
            sockets.send(theirs, {"furnished": True}, [] if rules is None else [rules])
    except BaseException as error:
        sockets.send(theirs, {"failed": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)


def _await_furniture(furnisher: socket.socket) -> Optional[int]:
    """Wait until the root is furnished; the rules that `sandbox.furnish` returned there."""
    with furnisher:
        received = sockets.receive(furnisher, 1)
    told: Dict[str, Any] = (
        received[0] if received else {"failed": "the process that furnishes the root has ended"}
    )
    if "failed" in told:
        raise OSError(told["failed"])
    return next(iter(received[1]), None) if received else None


def _wait_to_serve(link: socket.socket, places: Places) -> NoReturn:
    """Be the serving process of a spare."""
    try:
        fence.close()
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
