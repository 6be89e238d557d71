"""The control socket: what the command line (and later the console) may ask of a running node. Root only."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from typing import Any

from innkeeper.kernel import sockets

_BACKLOG = 64
_CHUNK = 128 * 1024


class Reply:
    """One asker's connection. An answer may come at once or later; the asker may go before."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection: socket.socket | None = connection
        self.on_gone: Callable[[], None] = lambda: None
        connection.setblocking(False)
        asyncio.get_running_loop().add_reader(connection.fileno(), self._on_readable)

    def send(self, answer: dict[str, Any]) -> None:
        """Send the answer; it is written without blocking the node."""
        asyncio.get_running_loop().create_task(self._write(json.dumps(answer).encode()))

    def refuse(self, reason: str) -> None:
        self.send({"refused": reason})

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            asyncio.get_running_loop().remove_reader(connection.fileno())
            connection.close()

    async def _write(self, body: bytes) -> None:
        try:
            for start in range(0, len(body), _CHUNK):
                if self._connection is None:
                    return
                await asyncio.get_running_loop().sock_sendall(self._connection, body[start : start + _CHUNK])
        except OSError:
            pass  # the asker has gone
        self.close()

    def _on_readable(self) -> None:
        """Nothing more is expected of an asker: readable means that it has gone."""
        self.close()
        self.on_gone()


Answer = Callable[[dict[str, Any], list[int], Reply], None]


class Control:
    """Listens on control.sock (in the current directory) and hands each request to `answer`."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        beside = "control.sock~"
        if os.path.lexists(beside):
            os.unlink(beside)
        listener.bind(beside)
        os.chmod(beside, 0o600)
        listener.listen(_BACKLOG)
        os.rename(beside, "control.sock")
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._on_connection)

    def _on_connection(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        if sockets.peer_credentials(connection)[1] != os.geteuid():
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        loop.add_reader(connection.fileno(), self._on_request, connection)

    def _on_request(self, connection: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(connection.fileno())
        try:
            received = sockets.receive(connection, 3)
        except (OSError, ValueError):
            received = None
        if received is None:
            connection.close()
            return
        request, descriptors = received
        reply = Reply(connection)
        try:
            self._answer(request, descriptors, reply)
        except (KeyError, TypeError) as error:
            reply.refuse(f"the request can't be understood: {error!r}")
        except OSError as error:
            reply.refuse(f"it could not be done: {error}")
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
