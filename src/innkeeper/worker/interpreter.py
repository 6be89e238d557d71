"""Starting the server of an app in another Python than the one that was forked: by executing it.

The other Python is of a virtualenv for which the node has no runtime. It finds our code in a file that has no
name, and uWSGI or uvicorn in the virtualenv itself.
"""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import List, NoReturn

from innkeeper.worker.order import Descriptors, Order
from innkeeper.worker.places import Places

_BOOT = """
import sys
sys.path[:] = ["/proc/self/fd/{code}"] + sys.path[1:]
from innkeeper.worker import interpreter
interpreter.take_over(sys.argv[1])
"""
_NEEDED = ("__init__.py", "kernel/*.py", "worker/*.py")
_code: List[bytes] = []  # our own source as a zip archive


def remember(source: str) -> None:
    """Read our own source below `source`, before it is hidden."""
    packed = io.BytesIO()
    root = Path(source)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for pattern in _NEEDED:
            for file in sorted((root / "innkeeper").glob(pattern)):
                archive.write(file, file.relative_to(root))
    _code[:] = [packed.getvalue()]


def execute(order: Order, places: Places, given: Descriptors, link: socket.socket) -> NoReturn:
    """Become the order's interpreter, and serve there. OSError when it can't be executed."""
    code = os.memfd_create("innkeeper", 0)
    with os.fdopen(os.dup(code), "wb") as file:
        file.write(_code[0])
    told = {
        "order": order.to_message(),
        "places": asdict(places),
        "given": given._replace(doors=()).row(),
        "link": link.fileno(),
        "code": code,
    }
    _let_inherit([*given._replace(doors=()).row(), link.fileno()], True)
    boot = _BOOT.replace("{code}", str(code))
    os.execv(order.interpreter, [order.interpreter, "-c", boot, json.dumps(told)])


def take_over(text: str) -> NoReturn:
    """In the other Python: serve."""
    from innkeeper.worker import kinds

    told = json.loads(text)
    _let_inherit([*told["given"], told["link"]], False)
    kinds.learn()
    sys.path.pop(0)
    os.close(told["code"])
    order = Order.from_message(told["order"])
    link = socket.socket(fileno=told["link"])
    kinds.serve(order, Places(**told["places"]), Descriptors.of(told["given"]), link, None)


def _let_inherit(descriptors: List[int], inheritable: bool) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:  # what a serving process has no use for is -1
            os.set_inheritable(descriptor, inheritable)
