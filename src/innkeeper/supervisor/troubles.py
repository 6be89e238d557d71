"""What can go wrong with a site's worker, in words for its owner; and how long to wait before the next try."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Any
from weakref import WeakKeyDictionary

from innkeeper.spec.problem import Problem
from innkeeper.spec.site import SiteSpec

_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0
_MAX_TEXT = 20_000
CRASH_WINDOW = 10.0  # seconds: a worker that ended sooner after it was ready has crashed at once
PASSING = ("crashed", "request-too-slow", "socket-shut", "not-accepting")  # forgotten at a reload
NOT_TO_BE_HAD = (
    "tenant-unknown",
    "tenant-outside",
    "tenant-invalid",
    "file-unreadable",
    "runtime-unknown",
)
OVER_WHEN_LOADED = (
    "load-failed",
    "virtualenv-broken",
    "load-too-slow",
    "start-failed",
    "sandbox-failed",
    "crash-loop",
    "disk-full",
    "disk-unmeasured",
    *NOT_TO_BE_HAD,
)
CRASHES = 3  # in a row, and the site is failed
_TURNING = 0.02  # seconds that turning visitors away may take, but for those whose app has a hand in it
_turning: WeakKeyDictionary[socket.socket, threading.Thread] = WeakKeyDictionary()


class Backoff:
    """Growing waits between tries: 1, 2, 4 … 60 seconds."""

    __slots__ = ("failures",)

    def __init__(self) -> None:
        self.failures = 0

    def next_wait(self) -> float:
        self.failures += 1
        return float(min(_FIRST_WAIT * 2 ** min(self.failures - 1, 10), _LONGEST_WAIT))


def turn_away(listener: socket.socket) -> None:
    """Close the connections that wait, so that nginx answers them by the page that the site's flags call for.

    In a thread, which is hardly ever waited for: processes of the app's have the same open file, and could have
    whoever accepts from it wait for ever.
    """
    before = _turning.get(listener)
    if before is not None and before.is_alive():
        return
    with contextlib.suppress(OSError):
        thread = threading.Thread(target=_close_waiting, args=(listener.dup(),), daemon=True)
        _turning[listener] = thread
        thread.start()
        thread.join(_TURNING)


def _close_waiting(listener: socket.socket) -> None:
    with listener, contextlib.suppress(OSError):
        waiting = select.poll()
        waiting.register(listener, select.POLLIN)
        while waiting.poll(0):
            listener.setblocking(False)
            listener.accept()[0].close()


def _text(message: dict[str, Any], key: str, otherwise: str) -> str:
    value = message.get(key)
    return value[:_MAX_TEXT] if isinstance(value, str) and value else otherwise


def load_failed(spec: SiteSpec, message: dict[str, Any]) -> Problem:
    summary = _text(message, "summary", "the app ended while it was loaded")
    traceback = _text(message, "traceback", "")
    target = spec.app.target if spec.app else ""
    again = f"touch {target}" if target.startswith("/") else f"`innkeeper site reload {spec.domain}`"
    if spec.app is not None and spec.app.kind == "command":
        return Problem(
            "load-failed",
            f"the command does not start: {summary}",
            "It must listen on $DOMAIN_SOCKET (a Unix socket), or on 127.0.0.1 and $PORT. What it printed is in "
            f"error.log and server.log. Then: `innkeeper site reload {spec.domain}` (a wake tries again too).",
        )
    if message.get("virtualenv"):
        path = spec.app.virtualenv if spec.app else ""
        return Problem(
            "virtualenv-broken",
            f"the app does not load: {summary}",
            f"If `virtualenv` names the right directory, build it anew as {spec.tenant}: "
            f"`python3 -m venv --clear {path}` (which deletes all that is in it), then "
            f"`{path}/bin/pip install -r requirements.txt`, and {again}.",
        )
    return Problem(
        "load-failed",
        f"the app does not load: {summary}" + (f"\n{traceback.rstrip()}" if traceback else ""),
        f"Mend the code, then {again} (a wake tries again too). The traceback is also in error.log."
        if traceback
        else f"Mend that, then {again} (a wake tries again too).",
    )


def ended_while_loading() -> Problem:
    return Problem(
        "load-failed",
        "the app does not load: its worker ended without a word",
        "See the end of error.log and server.log; a killed process often means that memory ran out.",
    )


def load_limit(seconds: float) -> Problem:
    return Problem(
        "load-too-slow",
        f"the app did not finish loading within {seconds:g} seconds and was stopped",
        "Look for work done at import (network calls, big files) and move it into a request or a task.",
    )


def sandbox_failed(message: dict[str, Any]) -> Problem:
    return Problem(
        "sandbox-failed",
        f"the site's sandbox could not be set up: {_text(message, 'reason', 'no reason given')}",
        "This is for the operator: see the node's log, and `innkeeper status` for the isolation in force.",
    )


def host_failed(error: OSError) -> Problem:
    return Problem(
        "start-failed",
        f"no worker could be started: {error}",
        "This is for the operator: the machine refused a file, socket or process. The next request tries again.",
    )


def refused(reason: str) -> Problem:
    return Problem(
        "start-failed",
        f"no process could be made for the worker: {reason}",
        "This is for the operator: the machine is out of processes or memory. The next request tries again.",
    )


def too_slow(spec: SiteSpec) -> Problem:
    limit = spec.app.timeout if spec.app else 0
    return Problem(
        "request-too-slow",
        f"a request took longer than the {limit} seconds that [app] `timeout` allows; its process was ended",
        "The stacks at that moment are in error.log. Make the request faster, or raise `timeout`.",
    )


def given_up(spec: SiteSpec) -> Problem:
    """The same of an app with an event loop, and of a command: the others that it has open go on."""
    limit = spec.app.timeout if spec.app else 0
    return Problem(
        "request-too-slow",
        f"for the {limit} seconds that [app] `timeout` allows nothing was done for a request, and it was given up",
        "Look for what it waits for, such as a database or another site; or raise `timeout`.",
    )


def crashed(message: dict[str, Any]) -> Problem:
    return Problem(
        "crashed",
        f"a process of the app ended unasked: {_text(message, 'detail', 'killed')}",
        "See the end of error.log; the next request starts it again.",
    )


def socket_shut(error: OSError | None = None) -> Problem:
    if error is not None:
        return Problem(
            "socket-shut",
            f"the app shut down the socket that the site listens on, and another can't be bound yet: {error}",
            "This is for the operator: free disk space, inodes or open files. It is tried again every second.",
        )
    return Problem(
        "socket-shut",
        "the app shut down the socket that the site listens on; another was bound, and its processes were ended",
        "Close only sockets that your app has opened itself.",
    )


def not_accepting(seconds: float) -> Problem:
    return Problem(
        "not-accepting",
        f"visitors waited for more than {seconds:g} seconds and the app took none of them in; "
        "its processes were replaced",
        "Raise `threads` or `processes` if the site has many visitors; else look for what keeps all threads busy.",
    )


def crash_loop() -> Problem:
    return Problem(
        "crash-loop",
        f"the app ended {CRASHES} times in a row within {CRASH_WINDOW:g} seconds of its start",
        "See error.log for the cause. It is tried again with growing waits, or at once when you reload it.",
    )
