"""Sockets that other processes have: which they are, who is at their other end, and a copy of one (for root)."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import time
from typing import Iterator, Optional, Set, Tuple

from innkeeper.kernel import libc

_PIDFD_GETFD = 438  # the same on all architectures
_SOCK_DIAG, _BY_FAMILY = 4, 20  # NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY
_REQUEST, _ANY = 1, 0xFFFFFFFF
_NAME, _PEER = 0, 2  # UNIX_DIAG_NAME, UNIX_DIAG_PEER; asked for by the bits of these numbers
_QUESTION = struct.Struct("=IHHII" + "BBHIIIII")  # nlmsghdr, unix_diag_req
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
_FIXED = 16  # bytes of a unix_diag_msg


def has_accepted(pid: int, name: str, until: float) -> bool:
    """Whether a stopped process has a connection that was accepted at the socket of that name.

    Raises TimeoutError when that is not known `until` then (time.monotonic), OSError when there is no such process.
    """
    for descriptor, _ in _sockets(pid):
        if time.monotonic() > until:
            raise TimeoutError(errno.ETIMEDOUT, "it has too many sockets")
        if _is_accepted(pid, descriptor, name):
            return True
    return False


def other_end(inode: int, name: str) -> int:
    """The inode of the Unix socket that one called `name` is connected with; 0 when there is none such."""
    size = _QUESTION.size
    wanted = 1 << _NAME | 1 << _PEER
    question = _QUESTION.pack(
        size, _BY_FAMILY, _REQUEST, 1, 0, socket.AF_UNIX, 0, 0, _ANY, inode, wanted, _ANY, _ANY
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.send(question)
        answer = kernel.recv(8192)
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:  # an error: there is no such socket
        return 0
    found = dict(_attributes(answer[_HEADER.size + _FIXED : _HEADER.unpack_from(answer)[0]]))
    if found.get(_NAME, b"").rstrip(b"\0") != os.fsencode(name) or _PEER not in found:
        return 0
    return int.from_bytes(found[_PEER], "little" if struct.pack("=H", 1)[0] else "big")


def _attributes(text: bytes) -> Iterator[Tuple[int, bytes]]:
    while len(text) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(text)
        if length < _ATTRIBUTE.size:
            return
        yield kind, text[_ATTRIBUTE.size : length]
        text = text[(length + 3) & ~3 :]


def copies(pid: int, inodes: Set[int]) -> Iterator[socket.socket]:
    """Those of the sockets that a process has open; closing a copy leaves it open there. Raises OSError."""
    for descriptor, inode in _sockets(pid):
        taken = _take(pid, descriptor) if inode in inodes else None
        if taken is not None and os.fstat(taken.fileno()).st_ino == inode:
            yield taken
        elif taken is not None:  # the number is another's by now
            taken.close()


def _sockets(pid: int) -> Iterator[Tuple[int, int]]:
    """Its sockets, by descriptor and inode. Raises OSError when there is no such process."""
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            kind, _, number = os.readlink(f"/proc/{pid}/fd/{entry}").partition(":")
        except OSError:
            continue
        if kind == "socket":
            yield int(entry), int(number[1:-1])


def _take(pid: int, descriptor: int) -> Optional[socket.socket]:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        number = ctypes.c_long(_PIDFD_GETFD)
        taken = libc.call("syscall", number, ctypes.c_int(pidfd), ctypes.c_int(descriptor), ctypes.c_uint(0))
    except OSError:
        return None
    finally:
        os.close(pidfd)
    return socket.socket(fileno=taken)


def _is_accepted(pid: int, descriptor: int, name: str) -> bool:
    taken = _take(pid, descriptor)
    if taken is None:
        return False
    with taken as view:
        return (
            view.family == socket.AF_UNIX
            and view.getsockname() == name
            and not view.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        )
