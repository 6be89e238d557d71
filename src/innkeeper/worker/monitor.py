"""The watch inside a serving process: tells its first process of idleness and of requests that take too long.

One thread that sleeps nearly all the time. It adds nothing to a request: what it knows it reads from uWSGI's
counter and from the process's open sockets. What it waits with, here and in `requests`, is imported by name before
the app is: gevent and eventlet put their own into the modules, which wait for a loop that nobody runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from _thread import start_new_thread
from select import POLLIN, poll
from time import monotonic, sleep
from typing import Any, Callable, Iterator

from innkeeper.kernel import processes, sharing, sockets
from innkeeper.worker import imports
from innkeeper.worker.order import RESERVE
from innkeeper.worker.requests import InFlight

DRAIN_STEP = 0.01  # seconds between looks while draining
SETTLE = 2  # looks in a row without a request before a gated process ends
NEARLY = 8  # files left when the app is taken to be out of them
_LONGEST_TICK = 10.0
_QUIET = 5.0  # seconds without a request before memory is given back
_STARTED = 0.25  # seconds after which all threads wait for connections; the visitor goes first
_TRIES = 5  # an app that has threads of its own will hardly be without them the next time
_LAST_WORDS = 10.0  # seconds that an app may take for its own end


class Monitor:
    """Watches one serving process on behalf of the first process at the other end of `link`."""

    def __init__(
        self,
        link: socket.socket,
        in_flight: InFlight,
        timeout: float,
        idle: float,
        open_files: int,
        finished: Callable[[], int],
        finish: Callable[[], Any],
        on_gate: Callable[[], Any],
        threads: int = 0,
    ) -> None:
        """`threads`: of the process, if it only serves requests in them; else 0."""
        self._link = link
        self._in_flight = in_flight
        self._timeout = timeout
        self._idle = idle
        self._open_files = open_files
        self._finished = finished  # how many requests have been answered so far
        self._finish = finish  # begins the orderly end of the process, when nothing is in flight any more
        self._on_gate = on_gate  # called when nothing more is accepted
        self._threads = threads
        self._tries = _TRIES if threads else 0
        self._busy_tick = max(0.1, min(1.0, timeout / 4))
        self._quiet_tick = max(0.1, min(_LONGEST_TICK, timeout / 2, idle / 4 if idle else _LONGEST_TICK))

    def start(self) -> None:
        start_new_thread(self._watch, ())

    def _watch(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # those are the app's and uWSGI's
        seen, since = -1, monotonic()
        waiting = poll()
        waiting.register(self._link, POLLIN)
        tick = _STARTED if self._threads > 1 else self._quiet_tick
        while True:
            if waiting.poll(tick * 1000) and not self._is_asked():
                self._drain()
            if self._threads > 1 and seen < 0:
                self._take_turns()
            age, finished, now = self._look(), self._finished(), monotonic()
            if age or finished != seen:
                seen, since = finished, now
            if finished and not age:
                self._tell_imports()
            tick = self._busy_tick if age else self._quiet_tick
            if self._tries:
                tick = min(tick, _QUIET)
            unused = 0.0 if age else now - since
            if finished and unused >= _QUIET and self._tries:
                self._tidy()
            self._say("beat", idle=bool(self._idle) and unused >= self._idle, unused=unused)
            if age > self._timeout:
                self._say("slow", sockets=self._in_flight.inodes())

    def _look(self) -> float:
        """The age of the oldest request in flight; for looking, some files beyond the app's limit are ours."""
        with self._spare_files():
            try:
                age = self._in_flight.look()
            except OSError:  # the app has raised its limit, and used that up too
                age, self._in_flight.open_files = self._quiet_tick, self._open_files
        if self._in_flight.open_files >= self._open_files - NEARLY:
            self._say("files")
        return age

    def _take_turns(self) -> None:
        """Have a connection wake one thread from now on, and not all that wait for it."""
        with contextlib.suppress(OSError), self._spare_files(), self._in_flight.shut():
            pass

    def _tidy(self) -> None:
        """Give back memory, once: nothing is let in meanwhile, so all threads wait and none writes to it."""
        self._tries -= 1
        # When the app has used up even our files, another time would be no better.
        with contextlib.suppress(OSError), self._spare_files(), self._in_flight.shut():
            if not self._in_flight.look() and processes.others_wait() == self._threads:
                _give_back()
                self._tries = 0

    @contextlib.contextmanager
    def _spare_files(self) -> Iterator[None]:
        """Some files beyond the app's limit are ours, for looking after it."""
        processes.limit_files(self._open_files + RESERVE)
        try:
            yield
        finally:
            processes.limit_files(self._open_files, self._open_files + RESERVE)

    def _is_asked(self) -> bool:
        """Whether we are only to look now. Else we are to drain; a closed link means that nobody is left to serve."""
        with contextlib.suppress(OSError, ValueError):
            received = sockets.receive(self._link)
            return received is not None and received[0].get("do") == "look"
        return False

    def _drain(self) -> None:
        processes.limit_files(self._open_files + RESERVE)
        self._in_flight.close_gate()
        self._say("gated")
        self._tell_imports()
        self._on_gate()
        quiet = 0
        while quiet < SETTLE:
            age = self._look()
            quiet = 0 if age else quiet + 1
            if age > self._timeout:
                self._say("slow", sockets=self._in_flight.inodes())
                sleep(1.0)
            sleep(DRAIN_STEP)
        self._finish()
        sleep(_LAST_WORDS)
        os._exit(0)

    def _tell_imports(self) -> None:
        """What the app has imported that the zygote could have, so that the next one has."""
        names = imports.news()
        if names:
            self._say("imported", modules=names)

    def _say(self, event: str, **detail: Any) -> None:
        with contextlib.suppress(OSError):  # the first process is gone, and this one will be in a moment
            sockets.send(self._link, {"event": event, **detail})


def _give_back() -> None:
    table = sharing.open_table()
    if table >= 0:
        sharing.give_back(table)
        os.close(table)
