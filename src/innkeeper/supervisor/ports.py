"""The ports of commands that listen on one instead of on their socket: of the loopback, and for one tenant alone."""

from __future__ import annotations

import itertools
import socket
import subprocess
from collections.abc import Callable, Iterator

from innkeeper.kernel import firewall

FIRST, LAST = 20_000, 29_999  # below those that the kernel gives to outgoing connections


class Ports:
    """Hands out ports, and has the packet filter let the tenant's processes, and no other tenant's, reach them."""

    def __init__(self, table: str, log: Callable[[str], None]) -> None:
        self._table = table
        self._log = log
        self._taken: dict[int, int] = {}  # port → uid
        self._next: Iterator[int] = itertools.cycle(range(FIRST, LAST + 1))

    def take(self, uid: int) -> int:
        """A port for one worker; 0 when all are taken. Raises OSError when the packet filter can't be told."""
        for port in itertools.islice(self._next, LAST - FIRST + 1):
            if port not in self._taken and _is_free(port):
                self._tell(firewall.grant(self._table, uid, port))
                self._taken[port] = uid
                return port
        return 0

    def adopt(self, uid: int, port: int) -> None:
        """Take note of a port that an earlier supervisor has given away."""
        if port:
            self._taken[port] = uid

    def settle(self) -> None:
        """All was adopted that there is: take back what was given to workers that have ended meanwhile."""
        if firewall.program() is None:
            return
        try:
            firewall.install(
                firewall.grant_only(self._table, ((uid, port) for port, uid in self._taken.items()))
            )
        except OSError as error:
            self._log(f"the ports of former commands could not be closed: {error}")

    def release(self, port: int) -> None:
        """Take a port back. One that can't be closed is given to nobody else until the next supervisor settles."""
        uid = self._taken.get(port)
        if uid is None:
            return
        try:
            self._tell(firewall.revoke(self._table, uid, port))
        except OSError as error:
            self._log(f"port {port} of a command that has ended could not be closed: {error}")
        else:
            del self._taken[port]

    def _tell(self, words: list[str]) -> None:
        """Have nft do it meanwhile: whoever connects is refused until then, and tries again. Raises OSError."""
        nft = firewall.program()
        if nft is None:
            return
        process = subprocess.Popen(  # reaped by the kernel (SIGCHLD is ignored)
            [nft, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        process.returncode = 0


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
