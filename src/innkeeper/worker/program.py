"""A tenant's own program that speaks HTTP: started, listening, told to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from typing import Tuple, Union

from innkeeper.kernel import processes
from innkeeper.worker.serving import CommandEnded

Address = Union[str, Tuple[str, int]]

LOOK = 0.004  # seconds between looks whether something has come about that nobody tells
_SHELLS = ("sh", "dash", "bash", "ash", "busybox", "ksh", "zsh")


class Program:
    """A shell command, with all that it starts; it listens at one of two places of its own."""

    def __init__(self, text: str, identity: int, port: int, stderr: int) -> None:
        self._socket = f"/dev/shm/innkeeper-{identity}.sock"
        self._port = port
        self._told_to_end = False
        environment = {**os.environ, "DOMAIN_SOCKET": self._socket, "PORT": str(port)}
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", text],
            stdin=subprocess.DEVNULL,
            stdout=1,
            stderr=stderr,
            env=environment,
            start_new_session=True,
            preexec_fn=_be_child,  # noqa: PLW1509 - there are no threads yet
        )
        self._pidfd = os.pidfd_open(self._process.pid)

    async def listening(self) -> Address:
        """Wait until it accepts connections, and say where. CommandEnded when it ends instead."""
        while True:
            for address in (self._socket, ("127.0.0.1", self._port), ("::1", self._port)):
                if await _accepts(address):
                    return address
            status = self._process.poll()
            if status is not None:
                raise CommandEnded(
                    f"the command ended before it listened on $DOMAIN_SOCKET or $PORT: {_ending(status)}"
                )
            await asyncio.sleep(LOOK)

    async def ended(self) -> int:
        """Its wait status, when it has ended."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_reader(self._pidfd, over.set)
        await over.wait()
        loop.remove_reader(self._pidfd)
        status = self._process.wait()
        return -status if status < 0 else status << 8

    def end(self) -> None:
        """Ask it to end, once. A server with processes of its own ends those itself, when they are done; a shell
        leaves them behind, so all are asked."""
        if self._told_to_end:
            return
        self._told_to_end = True
        if _is_shell(self._process.pid):
            self._signal_all(signal.SIGTERM)
        else:
            processes.signal_by_pidfd(self._pidfd, signal.SIGTERM)

    async def rest_ended(self) -> None:
        """Ask what it has left behind to end, and wait until that has."""
        is_left = self._signal_all(signal.SIGTERM)
        while is_left:
            await asyncio.sleep(LOOK)
            is_left = self._signal_all(0)

    def kill(self) -> None:
        self._signal_all(signal.SIGKILL)
        self.clear_up()

    def _signal_all(self, number: int) -> bool:
        """Whether there was anybody to signal."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def clear_up(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._socket)


async def connect(address: Address) -> socket.socket:
    """A connection to where a program listens, as soon as it has room. OSError when it accepts none."""
    if isinstance(address, str):
        connection = socket.socket(socket.AF_UNIX)
    else:
        connection = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    try:
        if isinstance(address, str):
            await _stand_in_line(connection, address)
        else:
            await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


async def _stand_in_line(connection: socket.socket, path: str) -> None:
    """Connect to a Unix socket. That its queue is full is told at once, and not when there is room again; event
    loops take it for a connection that is under way."""
    while True:
        try:
            connection.connect(path)
            return
        except BlockingIOError:
            await asyncio.sleep(LOOK)


async def _accepts(address: Address) -> bool:
    """Whether somebody accepts connections there."""
    if not (os.path.exists(address) if isinstance(address, str) else address[1]):
        return False
    try:
        (await connect(address)).close()
    except OSError:
        return False
    return True


def _is_shell(pid: int) -> bool:
    """Whether a process runs a shell, or can't be looked at."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")) in _SHELLS
    except OSError:
        return True


def _be_child() -> None:
    processes.die_with_parent()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _ending(status: int) -> str:
    return processes.describe_exit(-status if status < 0 else status << 8)
