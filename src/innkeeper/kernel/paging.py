"""Memory of processes that are not to run for a while: given to the swap space, and how much of that there is."""

from __future__ import annotations

import ctypes
import os
from typing import Iterator, NamedTuple, Tuple

from innkeeper.kernel import libc

_PROCESS_MADVISE = 440  # the same on all architectures
_PAGEOUT = 21  # MADV_PAGEOUT of <linux/mman.h>; pages that others have, too, stay
_MOST_RANGES = 1024  # UIO_MAXIOV


class Memory(NamedTuple):
    """Bytes of the machine, from /proc/meminfo."""

    total: int
    available: int
    swap_total: int
    swap_free: int


class _Range(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def memory() -> Memory:
    found = {}
    with open("/proc/meminfo") as file:
        for line in file:
            key, _, value = line.partition(":")
            found[key] = int(value.split()[0]) * 1024
    return Memory(*(found.get(key, 0) for key in ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")))


def page_out(pid: int) -> None:
    """Have what only this process has in memory written to the swap space. Raises OSError."""
    pidfd = os.pidfd_open(pid)
    try:
        ranges = list(_private(pid))
        for start in range(0, len(ranges), _MOST_RANGES):
            part = ranges[start : start + _MOST_RANGES]
            vector = (_Range * len(part))(*(_Range(*each) for each in part))
            arguments = (ctypes.c_int(pidfd), vector, ctypes.c_size_t(len(part)), ctypes.c_int(_PAGEOUT))
            libc.call("syscall", ctypes.c_long(_PROCESS_MADVISE), *arguments, ctypes.c_uint(0))
    finally:
        os.close(pidfd)


def _private(pid: int) -> Iterator[Tuple[int, int]]:
    """Where its private writable memory lies: address and length."""
    with open(f"/proc/{pid}/maps") as file:
        for line in file:
            place, rights, _ = line.split(" ", 2)
            if rights == "rw-p" and "[v" not in line:  # [vdso], [vvar]
                first, last = (int(part, 16) for part in place.split("-"))
                yield first, last - first
