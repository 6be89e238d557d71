"""A serving process: uWSGI on the site's listening socket, with the tenant's app in it."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import socket
import sys
from typing import Any, List, Optional, TextIO

import pyuwsgi

from innkeeper.kernel import processes, sockets
from innkeeper.worker import answering, application, virtualenv
from innkeeper.worker.children import STACK_SIGNAL
from innkeeper.worker.monitor import RESERVE, Monitor
from innkeeper.worker.order import Descriptors, Order
from innkeeper.worker.places import Places

LOAD_FAILED = 78  # exit status, EX_CONFIG of sysexits.h
_SETUP_FILES = 64  # uWSGI closes 3..limit one by one at start: keep it short, raise the limit afterwards
_BUFFER = 65535  # bytes of request headers, the most that a uwsgi packet holds


def serve(order: Order, places: Places, given: Descriptors, link: socket.socket) -> None:
    """Run uWSGI until it ends; never returns."""
    server = Server(order, places, given, link)
    server.run()
    os._exit(0)


class Server:
    """One uWSGI process: prepares the interpreter, loads the app inside uWSGI, and says when it is ready."""

    def __init__(self, order: Order, places: Places, given: Descriptors, link: socket.socket) -> None:
        self._order = order
        self._places = places
        self._given = given
        self._link = link

    def run(self) -> None:
        os.dup2(self._given.stdout, 1)
        os.close(self._given.stdout)
        os.dup2(1, 2)  # uWSGI's own words go to server.log; the app's stderr see _load
        processes.limit_files(_SETUP_FILES, self._order.open_files + RESERVE)
        self._enter_directory()
        virtualenv.activate(self._order.virtualenv and self._real(self._order.virtualenv))
        sys.path[:0] = application.search_path(self._order, self._real)
        sys.argv[:] = ["uwsgi"]
        sys.meta_path.insert(0, application.Finder(self._load))
        pyuwsgi.run(self._arguments())

    def _real(self, path: str) -> str:
        return self._places.real(self._order.tenant, path)

    def _enter_directory(self) -> None:
        home = f"/home/{self._order.tenant}"
        try:
            os.chdir(self._real(self._order.directory or home))
        except OSError as error:
            self._fail(error)

    def _arguments(self) -> List[str]:
        return [
            *("--socket", f"fd://{self._given.listener}"),
            *(
                "--module",
                application.MODULE,
                "--callable",
                "application",
                "--need-app",
                "--single-interpreter",
            ),
            *("--enable-threads", "--threads", str(self._order.threads)),
            *("--buffer-size", str(_BUFFER)),
            *("--safe-fd", str(self._link.fileno()), "--safe-fd", str(self._given.stderr)),
            *("--close-on-exec", "--close-on-exec2", "--exit-on-reload", "--die-on-term"),
            *("--disable-logging", "--ignore-sigpipe", "--ignore-write-errors", "--disable-write-exception"),
        ]

    def _load(self) -> Any:
        import uwsgi  # exists only now, inside a running uWSGI

        os.dup2(self._given.stderr, 2)
        processes.limit_files(self._order.open_files, self._order.open_files + RESERVE)
        sys.stdout, sys.stderr = _line_by_line(1), _line_by_line(2)  # uWSGI has sent both to stderr
        entry = self._order.entry
        target = self._real(entry) if entry.startswith("/") else entry
        try:
            app = application.load(target, self._order.callable)
        except BaseException as error:  # whatever a tenant's code raises, SystemExit too, is a failed load
            self._fail(error)
        sys.stdout.flush()
        os.dup2(1, 2)
        watched = application.watched_file(target)
        uwsgi.post_fork_hook = lambda: self._ready(uwsgi, *watched)
        return answering.guarded(app, self._order.body)

    def _ready(self, uwsgi: Any, watched: str | None, mark: Optional[List[int]]) -> None:
        """uWSGI is about to accept: from here on stderr is the app's alone."""
        os.dup2(self._given.stderr, 2)
        os.close(self._given.stderr)
        os.set_inheritable(self._given.listener, False)
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            faulthandler.register(STACK_SIGNAL, file=2, all_threads=True)
        order = self._order
        Monitor(
            self._link,
            self._given.listener,
            order.timeout,
            order.idle,
            order.open_files,
            uwsgi.total_requests,
        ).start()
        sockets.send(self._link, {"event": "loaded", "watched": watched, "mark": mark})

    def _fail(self, error: BaseException) -> None:
        text = application.explain(error)
        os.write(self._given.stderr, text.encode(errors="backslashreplace"))
        summary = f"{type(error).__name__}: {error}".strip(": ")[:500]
        if isinstance(error, application.LoadError):
            summary = str(error)[:500]
        mark = application.MARKS.get(self._real(self._order.entry))
        sockets.send(self._link, {"event": "failed", "summary": summary, "traceback": text, "mark": mark})
        os._exit(LOAD_FAILED)


def _line_by_line(descriptor: int) -> TextIO:
    """A stream whose lines are in the log at once, whatever becomes of the process."""
    return open(descriptor, "w", buffering=1, closefd=False, encoding="utf-8", errors="backslashreplace")
