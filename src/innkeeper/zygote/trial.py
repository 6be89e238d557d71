"""Trying out what is to be preloaded: a process of its own imports each module first, and tells what that did.

What lives once in the zygote lives in every worker. So a module that starts a thread or a process, leaves a
file open or changes what all share is not imported there; nor is one that looks at what each site has another
of. The trial runs ahead of the zygote, which imports behind it what was found harmless. After a module that
was not, a new trial begins where the zygote has got to.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import gc
import importlib
import json
import locale
import logging
import os
import resource
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, NoReturn, Sequence, Set

from innkeeper.kernel import processes

PATIENCE = 20.0  # seconds that one import may take
_NOBODY = 65534
_PERSONAL = {"HOME", "USER", "LOGNAME", "PWD", "VIRTUAL_ENV", "TMPDIR", "DJANGO_SETTINGS_MODULE"}
_HARMLESS = {"LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES"}  # decide the language of help texts alone
_LONGEST_REASON = 200  # characters
_LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_STACK, resource.RLIMIT_AS, resource.RLIMIT_CORE)
_read: Set[str] = set()  # the variables that were looked at since it was last emptied


class Sifted:
    """What came of trying: what was imported, what was left out and why, what it cost, what it looked at."""

    def __init__(self) -> None:
        self.preloaded: List[str] = []
        self.left_out: Dict[str, str] = {}
        self.memory = 0  # bytes
        self.reads: Set[str] = set()  # variables of the environment that decide what the modules are like


def sift(names: Sequence[str]) -> Sifted:
    """Import those of the modules that do no harm."""
    sifted = Sifted()
    left = list(names)
    while left:
        for verdict in _try(left):
            name = left.pop(0)
            reason = verdict["reason"] or _import(name)
            if reason:
                sifted.left_out[name] = reason
                break
            sifted.preloaded.append(name)
            sifted.memory += verdict["memory"]
            sifted.reads.update(verdict["reads"])
    return sifted


def reason_of(action: Callable[[], Any]) -> str:
    """Why an action fails; "" when it does not."""
    try:
        action()
    except BaseException as error:  # SystemExit as well
        return f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
    return ""


def try_out(action: Callable[[], Any]) -> str:
    """Do it in a process of its own; what harm that does, or "" for none."""

    def judge() -> str:
        before = _state()
        return reason_of(action) or _difference(before, _state()).replace("imported", "rehearsed")

    return hear(judge, "it does not come to its end")


def hear(action: Callable[[], str], otherwise: str) -> str:
    """What an action gives, a line, that is done in a process of its own by nobody; `otherwise`: it gives nothing."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _be_nobody()
            with os.fdopen(writer, "wb") as file:
                file.write(action().replace("\n", " ").encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writer)
    told = next(_lines(reader), otherwise)
    os.close(reader)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return told


def _import(name: str) -> str:
    return reason_of(lambda: importlib.import_module(name))


def _try(names: Sequence[str]) -> Iterator[Dict[str, Any]]:
    """What a trial of the modules, one after the other, tells of each; the last one may be a bad one."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _import_all(names, writer)
    os.close(writer)
    told = 0
    try:
        for line in _lines(reader):
            told += 1
            yield json.loads(line)
        if told < len(names):
            status = os.waitpid(pid, os.WNOHANG)
            if status[0] == 0:
                os.kill(pid, signal.SIGKILL)
                ending = f"the import does not end within {PATIENCE:.0f} seconds"
            else:
                pid = 0
                ending = f"its import ends the process: {processes.describe_exit(status[1])}"
            yield {"reason": ending, "memory": 0, "reads": []}
    finally:
        os.close(reader)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _lines(reader: int) -> Iterator[str]:
    """What comes, line by line, until the other end is closed or says nothing for too long."""
    rest = b""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while poll.poll(PATIENCE * 1000):
        chunk = os.read(reader, 65536)
        if not chunk:
            time.sleep(0.01)  # the process is about to end
            return
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode()


# ── in the trial's own process ───────────────────────────────────────────────────────────────────────────────


class _Noticing(os._Environ):  # type: ignore[type-arg]
    """The environment, that notices what is looked at."""

    def __getitem__(self, key: Any) -> Any:
        _read.add(str(key))
        return super().__getitem__(key)

    def __contains__(self, key: Any) -> bool:
        _read.add(str(key))
        return super().__contains__(key)


def _import_all(names: Sequence[str], writer: int) -> NoReturn:
    try:
        _be_nobody()
        os.environ.__class__ = _Noticing
        for name in names:
            told = _import_one(name)
            os.write(writer, json.dumps(told).encode() + b"\n")
            if told["reason"]:
                break
    finally:
        os._exit(0)


def _be_nobody() -> None:
    """Which modules are tried is up to the tenants' apps, and so it is not root who tries them."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    processes.die_with_parent()
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.close(silence)


def _import_one(name: str) -> Dict[str, Any]:
    before, memory = _state(), _memory()
    _read.clear()
    reason = _import(name)
    reads = {key for key in _read if key.isidentifier()} - _HARMLESS
    if not reason:
        reason = _difference(before, _state())
    personal = sorted(reads & _PERSONAL)
    if not reason and personal:
        reason = f"it looks at {personal[0]} when it is imported, which is another one for each site"
    return {"reason": reason, "memory": max(0, _memory() - memory), "reads": sorted(reads)}


def _difference(before: Dict[str, Any], after: Dict[str, Any]) -> str:
    for what, value in before.items():
        if after[what] != value:
            gc.collect()  # what is closed as soon as it is collected is no harm
            if _state()[what] != value:
                return f"it {what} when it is imported"
    return ""


def _state() -> Dict[str, Any]:
    """What an import is to leave as it was, by what is said of one that does not."""
    root = logging.getLogger()
    return {
        "starts a thread": processes.thread_count(),
        "starts a process": bool(processes.children_of(os.getpid())),
        "leaves a file or a socket open": _open_files(),
        "changes signal handlers": [signal.getsignal(each) for each in signal.valid_signals()],
        "sets a timer": signal.getitimer(signal.ITIMER_REAL)[0] > 0,
        "changes the environment": dict(os.environ._data),  # type: ignore[attr-defined]
        "changes the current directory": os.getcwd(),
        "changes the umask": _umask(),
        "changes what is done with unhandled exceptions": (sys.excepthook, threading.excepthook),
        "changes the standard streams": (id(sys.stdin), id(sys.stdout), id(sys.stderr)),
        "changes the root logger": (root.level, [id(each) for each in root.handlers], logging.root.disabled),
        "changes the locale": locale.setlocale(locale.LC_ALL),
        "changes limits": [resource.getrlimit(each) for each in _LIMITS],
        "changes the recursion limit": sys.getrecursionlimit(),
        "traces": (sys.gettrace(), sys.getprofile()),
        "patches the standard library": [
            id(each)
            for each in (
                *(socket.socket, socket.create_connection, socket.getaddrinfo, ssl.SSLContext, select.poll),
                *(threading.Thread, threading.Lock, time.sleep, os.fork, os.environ, subprocess.Popen),
                *(builtins.open, builtins.__import__, builtins.print),
            )
        ],
        "changes asyncio's policy": id(getattr(asyncio.events, "_event_loop_policy", None)),
        "changes the time limit of all sockets": socket.getdefaulttimeout(),
    }


def _open_files() -> List[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return [each for each in found if not each.endswith("/fd")]


def _umask() -> int:
    found = os.umask(0o022)
    os.umask(found)
    return found


def _memory() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
