"""Asking the node: one request packet, one answer, over the control socket."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from innkeeper.kernel import sockets

TIMEOUT = 30.0  # seconds for an ordinary answer
LOCK = "keeper.lock"
RESTART_TIME = 10.0  # seconds that a supervisor which is being restarted is waited for


class NodeDown(Exception):
    """No node is up at this root."""


class SupervisorDown(Exception):
    """The keeper of this root's node is up, and no supervisor has come within RESTART_TIME."""


class Refusal(Exception):
    """The node's answer is no; the text is for the person who asked."""


def ask(
    control_socket: Path,
    request: dict[str, Any],
    descriptors: list[int] | None = None,
    *,
    timeout: float | None = TIMEOUT,
) -> dict[str, Any]:
    """The node's answer to `request`.

    Raises NodeDown, SupervisorDown or Refusal; TimeoutError after `timeout` seconds.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(timeout)
        try:
            _connect(connection, control_socket, time.monotonic() + RESTART_TIME)
            sockets.send(connection, request, descriptors)
            parts: list[bytes] = []
            while part := connection.recv(sockets.MAX_MESSAGE):
                parts.append(part)
        except (FileNotFoundError, ConnectionError) as error:
            raise _absence(control_socket) from error
    if not parts:
        raise _absence(control_socket)
    answer = json.loads(b"".join(parts))
    if "refused" in answer:
        raise Refusal(answer["refused"])
    found: dict[str, Any] = answer
    return found


def _connect(connection: socket.socket, path: Path, deadline: float) -> None:
    """Connect by way of the directory's descriptor, so that a long --root does not matter.

    While a keeper is there, its supervisor is too, or will be in a moment.
    """
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                connection.connect(f"/proc/self/fd/{directory}/{path.name}")
                return
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline or not _is_locked(path.parent / LOCK):
                    raise
            time.sleep(0.05)
    finally:
        os.close(directory)


def _absence(control_socket: Path) -> NodeDown | SupervisorDown:
    up = _is_locked(control_socket.parent / LOCK)
    return SupervisorDown(str(control_socket)) if up else NodeDown(str(control_socket))


def _is_locked(lock: Path) -> bool:
    """Whether a keeper holds its lock."""
    with contextlib.suppress(FileNotFoundError), lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
