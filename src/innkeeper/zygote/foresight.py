"""Foresight: which memory a worker is going to write to, so that a spare copies it while nobody waits.

A forked process copies a page when it first writes to it, and most of a cold start's time in the kernel is that:
some two thousand times, one after the other. Which pages they are is nearly the same for all sites. So processes
that serve nobody do what a worker does: they start uWSGI, and one has the frameworks serve a small app. What they
have copied, each spare copies ahead, at once (scripts/bench). A spare that nobody wants for a moment goes on with
what the other frameworks need: where many are wanted, that would only cost time.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from functools import partial
from typing import Any, Callable, Iterator, NamedTuple, NoReturn, Tuple

from innkeeper.kernel import processes, sharing, sockets
from innkeeper.worker import kinds
from innkeeper.worker.order import Descriptors, Order
from innkeeper.worker.places import Places
from innkeeper.zygote import rehearsal

_PATIENCE = 20.0  # seconds
_NOBODY = 65534
_PART = 300  # pages


class Foresight(NamedTuple):
    """Pages as `sharing.stretches` tells them; b"" for none."""

    serving: bytes = b""  # whatever it serves: copied before Python is entered
    rest: Tuple[bytes, ...] = ()  # for any of the frameworks, in parts that are copied in a millisecond or so


def learn(places: Places) -> Foresight:
    """Find out; call it when there is a snapshot."""
    serving = _try(partial(_serve, rehearsal.play_least), places)
    everything = _try(partial(_serve, rehearsal.play), places)
    return Foresight(
        sharing.stretches(serving), tuple(sharing.stretches(part) for part in _parts(serving, everything))
    )


def _parts(done: bytes, wanted: bytes) -> Iterator[bytes]:
    """What is wanted beyond what is done, in parts."""
    left = [
        position for position, mark in enumerate(wanted) if mark and done[position : position + 1] != b"\1"
    ]
    for start in range(0, len(left), _PART):
        marks = bytearray(len(wanted))
        for position in left[start : start + _PART]:
            marks[position] = 1
        yield bytes(marks)


def _try(play: Callable[[Places, Callable[[], NoReturn]], None], places: Places) -> bytes:
    """What a forked process has copied when it calls what it is given, which ends it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            processes.die_with_parent()
            silence = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(silence, stream)
            table = sharing.open_table()

            def tell() -> NoReturn:
                with os.fdopen(writer, "wb") as file:
                    file.write(sharing.touched(table))
                os._exit(0)

            play(places, tell)
        finally:
            os._exit(70)
    os.close(writer)
    found = b""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while poll.poll(_PATIENCE * 1000) and (part := os.read(reader, 65536)):
        found += part
    os.close(reader)
    os.kill(pid, signal.SIGKILL)  # it is ours to reap, so this hits nobody else
    _, status = os.waitpid(pid, 0)
    return found if status == 0 else b""


def _order() -> Order:
    return Order(
        0, "rehearsal.invalid", "nobody", _NOBODY, _NOBODY, entry="rehearsal", threads=2, file_size=1 << 30
    )


def _given() -> Descriptors:
    """Descriptors as a worker is given them, with nobody at the other ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")  # the kernel picks an unused abstract name
    listener.listen()
    channel, _ = sockets.pair()
    return Descriptors(channel.detach(), listener.detach(), os.dup(1), os.dup(2))


def _serve(play: Callable[[], None], places: Places, tell: Callable[[], NoReturn]) -> None:
    """uWSGI, and in it a rehearsal in the place of an app."""
    server = kinds.server_of("wsgi")
    if server is None:
        return

    def provide(_: Any) -> Any:
        play()
        tell()

    link, _ = sockets.pair()
    type("Rehearsal", (server,), {"_provide": provide})(_order(), places, _given(), link).run()
