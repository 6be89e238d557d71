"""The tail that this machine gives by itself: one process that serves visitors in the order in which they ask.

It spends the same time on each request, so nobody waits longer than others but for what the machine and the
visitors' own process do. What a system's p99/p50 with as many visitors is above this is the system's own.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import sys
import time
from typing import Any

from benchmarks import load
from benchmarks.measures.article import CONNECTIONS, QUEUE

_WORK = 150e-6  # seconds for each request: what one of the article's apps takes here, nginx included
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def measure(seconds: float) -> dict[str, Any]:
    """Percentiles, in milliseconds, and p99/p50 by number of visitors."""
    with socket.create_server(("127.0.0.1", 0), backlog=QUEUE) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "benchmarks.measures.floor", str(listener.fileno())]
        server = subprocess.Popen(command, pass_fds=[listener.fileno()])
        try:
            return {
                f"{visitors} visitors": _ask(port, visitors, seconds) for visitors in (CONNECTIONS, QUEUE)
            }
        finally:
            server.kill()
            server.wait()


def _ask(port: int, visitors: int, seconds: float) -> dict[str, float]:
    outcome = load.hammer(port, ["floor.localhost"], seconds, connections=visitors)
    return {**outcome.ms, "p99 over p50": outcome.ms["p99"] / outcome.ms["p50"], "failed": outcome.failed}


def _serve(listener: socket.socket) -> None:
    with selectors.DefaultSelector() as asking:
        asking.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in asking.select():
                if key.fileobj is listener:
                    asking.register(listener.accept()[0], selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    _answer(key.fileobj, asking)


def _answer(visitor: socket.socket, asking: selectors.BaseSelector) -> None:
    begun = time.perf_counter()
    with contextlib.suppress(OSError):
        if visitor.recv(65536):
            while time.perf_counter() - begun < _WORK:
                pass
            visitor.sendall(_ANSWER)
            return
    asking.unregister(visitor)
    visitor.close()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
