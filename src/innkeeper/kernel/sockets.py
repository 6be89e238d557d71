"""Sockets: messages with descriptors between our own processes, and listening sockets by path.

A message is one packet on a SOCK_SEQPACKET pair: a JSON object, and descriptors by SCM_RIGHTS.
"""

from __future__ import annotations

import array
import errno
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

MAX_MESSAGE = 256 * 1024
MAX_DESCRIPTORS = 250
BACKLOG = 4096  # connections that may wait at a socket of visitors; the kernel cuts it to net.core.somaxconn
_CREDENTIALS = struct.Struct("3i")

Message = dict  # of str to what JSON can say


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a packet channel with room for one whole message of ours."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MAX_MESSAGE)
    return ends


def send(channel: socket.socket, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
    """Send one message; OSError when the other side is gone, (not blocking) its queue is full, or it is too long."""
    body = json.dumps(message).encode()
    if len(body) > MAX_MESSAGE:  # it would be cut off
        raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    if descriptors:
        socket.send_fds(channel, [body], descriptors)
    else:
        channel.send(body)


def receive(channel: socket.socket, descriptors: int = 0) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its descriptors (close-on-exec); None when the other side has closed.

    Raises BlockingIOError when nothing waits on a channel that does not block, ValueError for what is no
    JSON object.
    """
    room = socket.CMSG_SPACE(descriptors * 4) if descriptors else 0
    body, ancillary, _flags, _ = channel.recvmsg(MAX_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
    received: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received += array.array("i", data[: len(data) - len(data) % 4])
    if not body:
        return None
    try:
        message = json.loads(body)
        if not isinstance(message, dict):
            raise ValueError("a message is a JSON object")
    except (ValueError, RecursionError) as error:
        for descriptor in received:
            os.close(descriptor)
        raise ValueError(f"no message: {error}") from None
    return message, received


def listen(path: Path | str, *, mode: int, gid: int, backlog: int) -> socket.socket:
    """Bind and listen beside `path` and rename into place, so that no client meets a half-made socket.

    Relative paths keep within the 107 bytes of sun_path whatever the directory we stand in is called.
    """
    beside = f"{path}~"
    if os.path.lexists(beside):
        os.unlink(beside)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(beside)
    os.chown(beside, 0, gid)
    os.chmod(beside, mode)
    listener.listen(backlog)
    os.rename(beside, path)
    return listener


def peer_credentials(connection: socket.socket) -> tuple[int, int, int]:
    """pid, uid and gid of the process at the other end of a Unix connection."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(data)
    return pid, uid, gid


def somaxconn() -> int:
    return int(Path("/proc/sys/net/core/somaxconn").read_text())
