"""What a tenant's files take, counted as the tenant, however they are nested, named or moved about meanwhile.

Whatever can't be counted makes the whole measure fail: else it would be the place to hide files in. So it starts no
process, of which the tenant might have none left, and it goes from directory to directory, because paths end at 4096
bytes and trees don't.
"""

from __future__ import annotations

import os
import stat
import time
from typing import Iterable, Iterator, List, NamedTuple

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (FileNotFoundError, NotADirectoryError)  # deleted meanwhile, or another kind of file by now
_DEEPEST = 2048  # directories in each other: as many as a path can name


class Unmeasured(Exception):
    """It could not be measured; the text says why."""


class Measure(NamedTuple):
    """What files take: bytes, and how many there are, directories among them."""

    space: int
    files: int


def measure(places: Iterable[str], seconds: float) -> Measure:
    """What all below `places` takes; a file with several names there counts once. Raises Unmeasured."""
    end = time.monotonic() + seconds
    space = files = 0.0
    try:
        for place in places:
            for state in _all_in(place):
                names = 1 if stat.S_ISDIR(state.st_mode) else max(1, state.st_nlink)
                space += state.st_blocks * 512 / names  # in parts: nothing is to be remembered of it
                files += 1 / names
                if time.monotonic() > end:
                    raise Unmeasured(f"it was not done after {seconds:.0f} seconds")
    except OSError as error:
        raise Unmeasured(str(error.strerror)) from error
    except MemoryError:
        raise Unmeasured("there are too many directories beside each other") from None
    return Measure(round(space), round(files))


def _all_in(place: str) -> Iterator[os.stat_result]:
    """The state of a directory and of all that is in it. No link is followed."""
    opened = [os.open(place, _DIRECTORY)]  # the directory that we are in, behind those that it is in
    ahead: List[List[str]] = []  # by depth: the directories that are yet to be gone into
    try:
        while opened:
            if len(ahead) < len(opened):
                yield os.fstat(opened[-1])
                ahead.append([])
                yield from _others_in(opened[-1], ahead[-1])
            elif ahead[-1]:
                inner = ahead[-1].pop()
                if len(opened) == _DEEPEST:
                    raise Unmeasured(f"more than {_DEEPEST} directories are in each other")
                try:
                    opened.append(os.open(inner, _DIRECTORY, dir_fd=opened[-1]))
                except _GONE:
                    continue
            else:
                ahead.pop()
                os.close(opened.pop())
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _others_in(directory: int, inner: List[str]) -> Iterator[os.stat_result]:
    """The state of all in a directory but directories, whose names are put into `inner`."""
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                state = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(state.st_mode):
                inner.append(entry.name)
            else:
                yield state
