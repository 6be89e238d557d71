"""The kinds of apps, and the server of each.

A zygote imports them all before it forks (`learn`): a worker's root does not hold our source any more.
"""

from __future__ import annotations

import importlib
import os
import socket
from typing import Dict, Type

from innkeeper.worker.order import Descriptors, Order
from innkeeper.worker.places import Places
from innkeeper.worker.serving import Server

_SERVERS = {"wsgi": ("wsgi", "WsgiServer"), "asgi": ("asgi", "AsgiServer")}
_known: Dict[str, Type[Server]] = {}
_unknown: Dict[str, str] = {}  # why a kind can't be served by this runtime


def learn() -> Dict[str, str]:
    """Import the servers of all kinds; for each that can't be, the reason."""
    for kind, (module, name) in _SERVERS.items():
        try:
            _known[kind] = getattr(importlib.import_module(f"innkeeper.worker.{module}"), name)
        except ImportError as error:
            _unknown[kind] = str(error)
    return _unknown


def serve(order: Order, places: Places, given: Descriptors, link: socket.socket) -> None:
    """Be the serving process of the order until drained; never returns."""
    server = _known.get(order.kind, Server)(order, places, given, link)
    try:
        if order.kind in _unknown:
            raise ImportError(f"this runtime serves no {order.kind} apps: {_unknown[order.kind]}")
        server.run()
    except Exception as error:  # of ours, not of the app's: it would be lost without a word
        server.fail(error)
    os._exit(0)
