"""The kinds of apps, and the server of each.

A zygote imports them all before it forks (`learn`): a worker's root does not hold our source any more.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from typing import Callable, Dict, NoReturn, Optional, Type

from innkeeper.worker import application, interpreter, virtualenv
from innkeeper.worker.order import Descriptors, Order
from innkeeper.worker.places import Places
from innkeeper.worker.serving import Server

_SERVERS = {
    "wsgi": ("wsgi", "WsgiServer"),
    "asgi": ("asgi", "AsgiServer"),
    "command": ("command", "CommandServer"),
}
_known: Dict[str, Type[Server]] = {}
_unknown: Dict[str, str] = {}  # why a kind can't be served by this runtime


def learn() -> Dict[str, str]:
    """Import the servers of all kinds; for each that can't be, the reason."""
    if _known or _unknown:
        return _unknown
    for kind, (module, name) in _SERVERS.items():
        try:
            _known[kind] = getattr(importlib.import_module(f"innkeeper.worker.{module}"), name)
        except ImportError as error:
            _unknown[kind] = str(error)
    return _unknown


def server_of(kind: str) -> Optional[Type[Server]]:
    """The class that serves a kind of apps; None when this runtime can't, or before `learn`."""
    return _known.get(kind)


def serve(
    order: Order,
    places: Places,
    given: Descriptors,
    link: socket.socket,
    arrive: Optional[Callable[[], None]] = lambda: None,
) -> NoReturn:
    """Be the serving process of the order until drained; never returns.

    `arrive` waits until the tenant's root is furnished, and becomes the tenant in it; None: all that is done.
    """
    server = _known.get(order.kind, Server)(order, places, given, link)
    try:
        executes = order.interpreter and order.interpreter != sys.executable
        server.arrive = arrive
        if not server.is_prompt or executes or order.kind in _unknown:
            server.move_in()
        if executes:
            interpreter.execute(order, places, given, link)
        if order.kind in _unknown:
            raise application.LoadError(_lacking(order, _unknown[order.kind]))
        server.run()
    except Exception as error:  # of ours, not of the app's: it would be lost without a word
        server.fail(error)
    os._exit(0)


def _lacking(order: Order, reason: str) -> str:
    package = {"wsgi": "pyuwsgi", "asgi": '"uvicorn[standard]"'}.get(order.kind, "the server")
    if not order.interpreter:
        return f"this runtime can't serve {order.kind} apps: {reason}"
    return (
        f"this node has no runtime of Python {virtualenv.VERSION}, so {order.virtualenv} needs a server of its own: "
        f"run `{order.virtualenv}/bin/pip install {package}`, or ask the operator for such a runtime ({reason})"
    )
