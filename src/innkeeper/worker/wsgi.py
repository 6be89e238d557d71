"""A serving process: uWSGI on the site's listening socket, with the tenant's WSGI app in it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import Any, Callable, List, Optional

import pyuwsgi

from innkeeper.kernel import processes
from innkeeper.worker import answering, application, ending, severance
from innkeeper.worker.order import RESERVE
from innkeeper.worker.requests import InFlight
from innkeeper.worker.serving import Server
from innkeeper.worker.turns import Turns

_SETUP_FILES = 64  # uWSGI closes 3..limit one by one at start: keep it short, raise the limit afterwards
_BUFFER = 65535  # bytes of request headers, the most that a uwsgi packet holds
_VARS = 1024  # twice as many request headers, ours among them; memory that is touched only when they come


class WsgiServer(Server):
    """One uWSGI process, which starts while the tenant's root is furnished; the app is loaded inside of it."""

    program = "uwsgi"
    is_prompt = True

    def run(self) -> None:
        processes.limit_files(_SETUP_FILES, self._order.open_files + RESERVE)
        silence = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for stream in (1, 2):  # what uWSGI says at its start is about a process that is nobody's yet
            os.dup2(silence, stream)
        os.close(silence)
        sys.meta_path.insert(0, application.Finder(self._provide))
        pyuwsgi.run(self._arguments())

    def _arguments(self) -> List[str]:
        return [
            *("--socket", f"fd://{self._given.listener}"),
            *("--module", application.MODULE, "--callable", "application"),
            *("--need-app", "--single-interpreter"),
            *("--enable-threads", "--threads", str(self._order.threads)),
            *("--buffer-size", str(_BUFFER), "--max-vars", str(_VARS)),
            *("--safe-fd", str(self._link.fileno()), "--safe-fd", str(self._given.stderr)),
            *("--safe-fd", str(self._given.stdout)),
            *("--close-on-exec", "--close-on-exec2", "--exit-on-reload", "--die-on-term"),
            *("--disable-logging", "--ignore-sigpipe", "--ignore-write-errors", "--disable-write-exception"),
            *self._without_lock(),
        ]

    def _without_lock(self) -> List[str]:
        """Have all threads wait for connections at once; `Monitor` sees to it that each wakes but one.

        By itself uWSGI has one thread wait and the others queue at a lock, so each request wakes two: one for itself,
        and one to wait in its place. It takes no lock once there is a socket for keep-alive HTTP (`uwsgi.is_et` in
        its proto/http.c and uwsgi.h). The one here is of UDP and has no port, so nobody can reach it; an address it
        must have, though, if only 0.0.0.0:0, or uWSGI takes `fd` for a host's name and listens there.
        """
        if self._order.threads == 1:
            return []
        nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        return ["--http11-socket", f"fd://{nobody.detach()}"]

    def _provide(self) -> Any:
        import uwsgi  # exists only now, inside a running uWSGI

        try:
            self.move_in()
            self.speak()
        except Exception as error:  # of ours: inside of uWSGI it would be lost
            self.fail(error)
        self.prepare()
        app = self.load()
        with contextlib.suppress(Exception):  # the app may have closed it, or put anything in its place
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            os.dup2(1, 2)  # uWSGI's own words go to server.log
        uwsgi.post_fork_hook = _in_turn(
            self.give_stderr,
            _own(getattr(uwsgi, "post_fork_hook", None)),
            lambda: self.become_ready(
                InFlight(self._given.listener), uwsgi.total_requests, _finish, threads=self._order.threads
            ),
        )
        uwsgi.atexit = _in_turn(_own(getattr(uwsgi, "atexit", None)), ending.end)
        turns = Turns() if self._order.threads > 1 else None
        return answering.guarded(
            app,
            self._order.body,
            turns,
            multiprocess=self._order.processes > 1,
            sever=lambda connection: severance.sever(self._link, connection),
        )


def _finish() -> None:
    os.kill(os.getpid(), signal.SIGINT)  # uWSGI ends, and has its main thread call `uwsgi.atexit`


def _in_turn(*steps: Callable[[], Any]) -> Callable[[], None]:
    def all_of_them() -> None:
        for step in steps:
            step()

    return all_of_them


def _own(hook: Optional[Callable[[], Any]]) -> Callable[[], None]:
    """What the app itself gave uWSGI to be called at some time, if anything."""
    return lambda: ending.attempt(hook) if hook is not None else None
