"""Which requests are in flight in this process, told from the kernel's own account: its open sockets.

A connection accepted from the site's listening socket bears that socket's address as its own name. So the
requests in flight are the open descriptors with that name: exact, and free of cost for the requests.
"""

from __future__ import annotations

import contextlib
import os
from select import EPOLLEXCLUSIVE, EPOLLIN, epoll
from socket import AF_UNIX, SO_ACCEPTCONN, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, socket
from time import monotonic
from typing import Callable, Dict, Iterator, List

_ONE_OF_US = EPOLLIN | EPOLLEXCLUSIVE  # whom a connection wakes
_HEAD_START = 1.0  # seconds that an event loop has to give up a request by itself, before all are ended


class InFlight:
    """The accepted connections of one process, and since when each has been seen."""

    def __init__(self, listener: int) -> None:
        self._listener = listener
        with _borrowed(listener) as ours:
            self._name = ours.getsockname()
        self._seen: Dict[str, float] = {}
        self.open_files = 0  # of the process, when it was last looked at

    def look(self) -> float:
        """Seconds since the oldest request in flight was first seen; 0 when there is none."""
        now = monotonic()
        self._seen = {key: self._seen.get(key, now) for key in self._accepted()}
        return now - min(self._seen.values()) + 1e-6 if self._seen else 0.0

    def inodes(self) -> List[int]:
        """Of the connections that were found by the last look."""
        return [int(key[len("socket:[") : -1]) for key in self._seen]

    def _accepted(self) -> Iterator[str]:
        names = os.listdir("/proc/self/fd")
        self.open_files = len(names)
        for name in names:
            descriptor = int(name)
            if descriptor == self._listener:
                continue
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{name}")
                if target.startswith("socket:") and self._is_accepted(descriptor):
                    yield target

    def _is_accepted(self, descriptor: int) -> bool:
        with _borrowed(descriptor) as other:
            return (
                other.family == AF_UNIX
                and other.getsockname() == self._name
                and not other.getsockopt(SOL_SOCKET, SO_ACCEPTCONN)
            )

    def close_gate(self) -> None:
        """Accept nothing more, and leave to the next generation what waits in the queue.

        The listening socket is taken out of every epoll set of this process; a thread that has already
        been told of a connection finds, in the socket's place, one that nobody connects to.
        """
        self._take_out()

    @contextlib.contextmanager
    def shut(self) -> Iterator[None]:
        """Accept nothing meanwhile; what comes waits in the queue until then.

        From then on a connection wakes one of the threads that wait, the first of them: the others stay out of the
        caches.
        """
        kept = os.dup(self._listener)
        sets = self._take_out()
        try:
            yield
        finally:
            os.dup2(kept, self._listener, inheritable=False)
            os.close(kept)
            for descriptor in sets:
                with _as_epoll(descriptor) as waiting:
                    waiting.register(self._listener, _ONE_OF_US)

    def _take_out(self) -> List[int]:
        """Have nobody wait for connections; the epoll sets that the socket was in."""
        found = []
        for descriptor in _epoll_sets():
            with contextlib.suppress(OSError), _as_epoll(descriptor) as waiting:
                waiting.unregister(self._listener)
                found.append(descriptor)
        with socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK) as nobody:
            nobody.bind("")  # the kernel picks an unused abstract name
            nobody.listen(1)
            os.dup2(nobody.fileno(), self._listener, inheritable=False)
        return found


class Attended(InFlight):
    """Requests whose age is that of the most neglected one. What is neglected for too long is given up one by
    one, by the process itself; it is ended only when its event loop does not even come to that.

    One whose answer is sent is in flight for as long as the app goes on with it.
    """

    def __init__(
        self, listener: int, oldest: Callable[[], float], any_goes_on: Callable[[], bool] = bool
    ) -> None:
        super().__init__(listener)
        self._oldest = oldest
        self._any_goes_on = any_goes_on

    def look(self) -> float:
        """Seconds since anything was last done for the most neglected request; 0 when none is in flight."""
        if not super().look() and not self._any_goes_on():
            return 0.0
        return max(1e-6, monotonic() - self._oldest() - _HEAD_START)


def _epoll_sets() -> Iterator[int]:
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]":
                yield int(name)


@contextlib.contextmanager
def _as_epoll(descriptor: int) -> Iterator[epoll]:
    with contextlib.closing(epoll.fromfd(os.dup(descriptor))) as view:
        yield view


@contextlib.contextmanager
def _borrowed(descriptor: int) -> Iterator[socket]:
    """A socket object over a copy of `descriptor`, so that closing the object leaves the original open."""
    copy = os.dup(descriptor)
    try:
        view = socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
    with view:
        yield view
