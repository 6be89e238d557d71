"""The mold, by which a process that talks has others forked, and what becomes of these: see mold.c and first.c."""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from typing import Any, Iterable, List, NamedTuple, Tuple, Union

from innkeeper.kernel import sockets

_mold: Any
try:
    from innkeeper.kernel import _mold  # type: ignore[attr-defined,no-redef]
except ImportError:  # in an interpreter that was executed, and forks nothing in this way
    _mold = None

SERVING = 1  # the bit of a request: with a serving process
_ANSWER = struct.Struct("=ii")
_REQUEST = struct.Struct("=i")
_LENGTH = struct.Struct("=i")


class Begun(NamedTuple):
    """What a first process has come to when it needs Python. Descriptors are -1 where there is none."""

    order: bytes  # as it was sent
    given: Tuple[int, int, int, int]  # descriptors that came with it, without the doors
    pipes: Tuple[int, int, int, int]  # of its logs: where stdout is read and written, where stderr is
    pumped: Tuple[int, int]  # bytes that were written into these logs
    serving: Tuple[int, int]  # its serving process: the number, 0 for none, and the link to it
    table: int  # see `sharing.open_table`
    touch: int  # what has watched over the app's file, if the supervisor was told that the app is loaded
    touched: bool  # whether that has seen a change
    loaded: bytes  # what the serving process said then; empty before
    heard: float  # when that was last heard of (time.monotonic)
    used: float  # when the app last had a request, as far as it has told
    asked: bool  # whether the supervisor waits for the answer when that was


class Script:
    """What a first process does before Python is needed: steps that `first.c` knows, each with so many fields."""

    def __init__(self) -> None:
        self._fields: List[str] = []

    def add(self, step: str, *fields: object) -> None:
        self._fields += (step, *map(str, fields))

    def __bytes__(self) -> bytes:
        if any("\0" in field for field in self._fields):
            raise ValueError("a field of a script has a NUL in it")
        return "".join(f"{field}\0" for field in self._fields).encode()


class Mold:
    """Whom to ask for processes."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def fileno(self) -> int:
        """To poll: it is readable when the mold has ended."""
        return self._link.fileno()

    def fork(self, request: int) -> Tuple[int, int, socket.socket]:
        """A new process, which waits for `send_order`: its number, its pidfd, and the link to it.

        Raises OSError; that is a ConnectionError when the mold has ended.
        """
        ours, theirs = sockets.pair()
        try:
            with theirs:
                socket.send_fds(self._link, [_REQUEST.pack(request)], [theirs.fileno()])
            body, ancillary, _, _ = self._link.recvmsg(
                _ANSWER.size, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
            )
            if not body:
                raise ConnectionResetError("the mold has ended")
            pid, error = _ANSWER.unpack(body)
            if error or not ancillary:
                raise OSError(error or errno.EMFILE, os.strerror(error or errno.EMFILE))
            return pid, array.array("i", ancillary[0][2])[0], ours
        except BaseException:
            ours.close()
            raise


def send_order(link: socket.socket, script: Script, order: bytes, descriptors: Iterable[int]) -> None:
    """Tell a process that was forked what to do, and what to be. Raises OSError, ValueError for a NUL in a field."""
    steps = bytes(script)
    socket.send_fds(link, [_LENGTH.pack(len(steps)), steps, order], list(descriptors))


def become(
    channel: socket.socket, walled: bool, filters: Tuple[bytes, ...], ahead: bytes
) -> Union[Mold, int, Begun]:
    """Have this process be the mold, which ends with whoever asks it; it gives up its own end of `channel`.

    Returns a `Mold` in a process that goes on in its place, in a serving process the link to its first process, and
    in a first process what has come so far. `filters`: of the system calls of first processes. `ahead`: what a
    serving process copies before it enters Python, see `sharing.stretches`.
    """
    # No object, which would close them in the end: what is forked has these numbers for others.
    ours, theirs = (end.detach() for end in sockets.pair())
    told: Any = _mold.serve(theirs, ours, channel.fileno(), walled, filters, ahead)
    if told is None:
        return Mold(socket.socket(fileno=ours))
    return told if isinstance(told, int) else Begun(*told)
