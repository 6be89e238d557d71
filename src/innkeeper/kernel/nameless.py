"""Files that no name leads to, as long as a process has them: deleted ones, and those that never had a name.

They are looked at through the links of proc(5), which lead root to the file itself, by no path.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from typing import Dict, Iterable, Iterator, List

from innkeeper.kernel import libc
from innkeeper.kernel.quota import Used

_KCMP = {"x86_64": 312, "aarch64": 272}.get(os.uname().machine)
_DESCRIPTORS = 2  # KCMP_FILES


def held(pids: Iterable[int], uid: int, device: int, seconds: float) -> Used:
    """What a user's files on a device take that have no name, and that these processes have open, mapped or run.

    What is on its way from one to the other, as in a socket's queue (SCM_RIGHTS), is not seen. Raises TimeoutError
    after so many seconds of CPU time.
    """
    end = time.thread_time() + seconds
    found: Dict[int, int] = {}  # bytes, by inode
    for link in (link for pid in pids for task in _tasks(pid) for link in _links(task)):
        if time.thread_time() > end:
            raise TimeoutError(
                f"what its processes have open was not looked through after {seconds:.0f} seconds"
            )
        with contextlib.suppress(OSError):  # closed meanwhile
            state = os.stat(link)
            is_theirs = (state.st_uid, state.st_dev) == (uid, device)
            if is_theirs and state.st_nlink == 0 and stat.S_ISREG(state.st_mode):
                found[state.st_ino] = state.st_blocks * 512
    return Used(sum(found.values()), len(found))


def _tasks(pid: int) -> Iterator[int]:
    """Those threads of a process that have between them all that it has open.

    A thread may have descriptors of its own, and the first one none any more.
    """
    found: List[int] = []
    for task in map(int, _names_in(f"/proc/{pid}/task")):
        if not any(_have_the_same_open(task, other) for other in found):
            found.append(task)
            yield task


def _have_the_same_open(one: int, other: int) -> bool:
    if _KCMP is None:
        return False
    try:
        return libc.call("syscall", _KCMP, one, other, _DESCRIPTORS, 0, 0) == 0
    except OSError:  # ended, or the kernel does not tell
        return False


def _links(task: int) -> Iterator[str]:
    yield f"/proc/{task}/exe"
    for name in _names_in(f"/proc/{task}/fd"):
        yield f"/proc/{task}/fd/{name}"
    with contextlib.suppress(OSError), open(f"/proc/{task}/maps", "rb") as maps:
        for line in maps:
            if line.endswith(b" (deleted)\n"):
                begin, end = (int(address, 16) for address in line.split()[0].split(b"-"))
                yield f"/proc/{task}/map_files/{begin:x}-{end:x}"


def _names_in(directory: str) -> List[str]:
    try:
        return os.listdir(directory)
    except OSError:  # the process has ended
        return []
