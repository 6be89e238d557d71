"""Memory that a process shares with what it forks: see pages.c. Without that (it is compiled), nothing is done."""

from __future__ import annotations

import bisect
import gc
import os
from typing import Any, List, Tuple

_pages: Any
try:
    from innkeeper.kernel import _pages  # type: ignore[attr-defined,no-redef]
except ImportError:
    _pages = None

_LEAST = 256 * 1024  # bytes of a region that is worth a mapping of its own


def snapshot() -> int:
    """Make this process's Python objects a private mapping of a file, once; bytes, 0 where that can't be.

    What is forked from here on has less to copy, and can `give_back`. Raises OSError.
    """
    return int(_pages.snapshot(_regions())) if _pages is not None else 0


def renew() -> None:
    """Have the snapshot be of this moment, and for good. What was forked before must have ended. Raises OSError."""
    if _pages is not None:
        _pages.renew()


def open_table() -> int:
    """What `give_back` needs. -1 where it can't be had: after becoming another user, see `be_open_to_itself`.

    Opened by root it tells where in the machine's memory a page is, which is nothing for a tenant to know.
    """
    try:
        return os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC) if _pages is not None else -1
    except OSError:
        return -1


def give_back(table: int) -> int:
    """Give back the copies of pages that are as they were at the snapshot; bytes. No other thread may be running."""
    return int(_pages.give_back(table)) if table >= 0 and _pages is not None else 0


def touched(table: int) -> bytes:
    """Which pages of the snapshot this process has copies of; see `stretches`."""
    return bytes(_pages.touched(table)) if table >= 0 else b""


def stretches(pages: bytes) -> bytes:
    """Where the pages lie that `touched` told of, in another process; for `copy_ahead` and `mold.become`."""
    return bytes(_pages.stretches(pages)) if pages else b""


def copy_ahead(places: bytes) -> int:
    """Copy pages that are going to be written to; bytes.

    All at once, which is cheaper than one after the other when each is written to. Needs Linux 5.14.
    """
    return int(_pages.copy_ahead(places)) if places else 0


def _regions() -> List[Tuple[int, int, bool]]:
    """Where this process's writable memory lies that Python's objects are in: address, length, whether of a file.

    Libraries may have memory of their own, and rely on what the kernel does with that. It is left alone.
    """
    gc.unfreeze()  # what is frozen is not told of
    tracked = gc.get_objects()
    gc.freeze()
    objects = sorted({*map(id, tracked), *map(id, gc.get_referents(*tracked))})
    found = []
    with open("/proc/self/maps") as file:
        for line in file:
            place, rights, _, _, _, *name = line.split()
            first, last = (int(part, 16) for part in place.split("-"))
            if rights != "rw-p" or last - first < _LEAST:
                continue
            path = name[0] if name else ""
            of_python = os.path.basename(path).startswith(("python", "libpython"))
            if path == "[heap]" or of_python or (not path and _holds_any(objects, first, last)):
                found.append((first, last - first, of_python))
    return found


def _holds_any(addresses: List[int], first: int, last: int) -> bool:
    index = bisect.bisect_left(addresses, first)
    return index < len(addresses) and addresses[index] < last
