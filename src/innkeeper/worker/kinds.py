"""The kinds of apps, and the server of each. What a kind needs is imported when the first of it is served."""

from __future__ import annotations

import os
import socket
from typing import Type

from innkeeper.worker.order import Descriptors, Order
from innkeeper.worker.places import Places
from innkeeper.worker.serving import Server


def serve(order: Order, places: Places, given: Descriptors, link: socket.socket) -> None:
    """Be the serving process of the order until drained; never returns."""
    _server(order.kind)(order, places, given, link).run()
    os._exit(0)


def _server(kind: str) -> Type[Server]:
    if kind == "asgi":
        from innkeeper.worker.asgi import AsgiServer

        return AsgiServer
    from innkeeper.worker.wsgi import WsgiServer

    return WsgiServer
