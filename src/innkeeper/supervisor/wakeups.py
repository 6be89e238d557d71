"""The bell: one epoll set with the listening sockets of all sleeping sites.

A socket is armed for one ring, so that a site that is being started costs nothing more. A set of its own,
because asyncio's handles would weigh a kilobyte for each site.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

_AT_ONCE = 256  # rings answered before other work gets its turn
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_SHUT = select.EPOLLRDHUP | select.EPOLLONESHOT  # told once, whether or not it can be mended at once


class Wakeups:
    """Calls `ring(domain)` when a connection waits at an armed site's socket, and `shut` when it was shut down.

    A worker has the socket, too, and may shut it down for all; that shows as a hang-up, armed or not.
    """

    def __init__(self, ring: Callable[[str], None], shut: Callable[[str], None]) -> None:
        self._ring = ring
        self._shut = shut
        self._epoll = select.epoll()
        self._domains: dict[int, str] = {}
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._on_rings)

    def add(self, domain: str, descriptor: int) -> None:
        """Know a socket, not yet armed."""
        self._domains[descriptor] = domain
        self._epoll.register(descriptor, _SHUT)

    def remove(self, descriptor: int) -> None:
        if self._domains.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def arm(self, descriptor: int) -> None:
        """Ring once for the next connection, or for one that waits already."""
        self._epoll.modify(descriptor, select.EPOLLIN | _SHUT)

    def disarm(self, descriptor: int) -> None:
        self._epoll.modify(descriptor, _SHUT)

    def _on_rings(self) -> None:
        loop = asyncio.get_running_loop()
        for descriptor, events in self._epoll.poll(0, _AT_ONCE):
            domain = self._domains.get(descriptor)
            if domain is None:
                continue
            tell = self._shut if events & _GONE else self._ring
            try:
                tell(domain)
            except Exception as error:  # the others of this round are told once, too
                loop.call_exception_handler(
                    {"message": f"the bell of {domain} was not answered", "exception": error}
                )
