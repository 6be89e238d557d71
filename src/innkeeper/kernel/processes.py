"""Processes: who reaps, who dies with whom, and signals by pidfd, which never hit a stranger."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import struct
import threading
from pathlib import Path
from typing import Optional, Set

from innkeeper.kernel import libc

_SET_PDEATHSIG = 1
_CAPBSET_DROP = 24
_SET_KEEPCAPS = 8
_SET_DUMPABLE = 4
_CAPABILITY_VERSION = 0x20080522
READ_ALL = 2  # CAP_DAC_READ_SEARCH
_SET_NAME = 15
_SET_CHILD_SUBREAPER = 36
_SET_NO_NEW_PRIVS = 38
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}.get(os.uname().machine)
_SHORT_TURN = 100_000  # nanoseconds, the least that the kernel takes
_RATHER_NOT, RATHER_END = -500, 300  # of -1000 to 1000: who is ended when the machine's memory runs out


def _prctl(option: int, value: int) -> None:
    libc.call("prctl", option, value, 0, 0, 0)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send us `number` when our parent ends; a change of user id clears this."""
    _prctl(_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends (child subreaper)."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def drop_bounding_set() -> None:
    """Give up every capability for whatever is executed from here on; takes CAP_SETPCAP, else does nothing."""
    for capability in range(64):
        try:
            _prctl(_CAPBSET_DROP, capability)
        except OSError:  # beyond the last capability, or not ours to drop
            return


def no_new_privileges() -> None:
    _prctl(_SET_NO_NEW_PRIVS, 1)


def be_open_to_itself() -> None:
    """Have /proc/self belong to the user that this process has become, as with a program that the user has started.

    Other processes of the user's can then look into it as well.
    """
    _prctl(_SET_DUMPABLE, 1)


def set_name(name: str) -> None:
    """The name that ps and top show, cut to 15 bytes."""
    libc.call("prctl", _SET_NAME, name.encode()[:15], 0, 0, 0)


def become(uid: int, gid: int, *, keep: Optional[int] = None) -> None:
    """Drop to a user and group for good, with no supplementary groups and no capability but `keep`."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    if keep is not None:
        _prctl(_SET_KEEPCAPS, 1)
    os.setresuid(uid, uid, uid)
    if keep is not None:
        header = struct.pack("II", _CAPABILITY_VERSION, 0)
        libc.call("capset", header, struct.pack("6I", 1 << keep, 1 << keep, 0, 0, 0, 0))


def limit_files(soft: int, hard: int | None = None) -> None:
    """Have this process's limits of open files be these, or lower if its hard limit is: that is for good."""
    ceiling = min(soft if hard is None else hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, ceiling), ceiling))


def raise_file_limit(wanted: int) -> int:
    """Raise this process's limit of open files towards `wanted`; returns what it is then."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for ceiling in (max(hard, wanted), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, ceiling), ceiling))
        except (ValueError, OSError):
            continue
        break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def prefer_to_keep() -> None:
    """Have the kernel end others before us, and what we start, when the machine's memory runs out."""
    _rate_for_killing(_RATHER_NOT)


def prefer_to_end() -> None:
    """Have the kernel end us first when the machine's memory runs out. Said by root, it can't be unsaid by others."""
    _rate_for_killing(RATHER_END)


def be_prompt() -> None:
    """Take the CPU in short turns, so that it is given quickly when we wake: before one who is in a longer turn.

    Linux 6.12 and newer (sched_setattr(2): `sched_runtime` of an ordinary task); others know no such thing.
    """
    if _SCHED_SETATTR is not None:
        attributes = struct.pack(
            "IIQiIQQQ", 48, 0, 0, os.getpriority(os.PRIO_PROCESS, 0), 0, _SHORT_TURN, 0, 0
        )
        with contextlib.suppress(OSError):
            libc.call("syscall", _SCHED_SETATTR, 0, attributes, 0)


def _rate_for_killing(rating: int) -> None:
    with contextlib.suppress(OSError):  # not ours to say in an unprivileged container
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, b"%d" % rating)
        finally:
            os.close(file)


def file_limit() -> int:
    """How many open files a process may have, once it has asked for as many as it can."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def signal_by_pidfd(pidfd: int, number: int) -> bool:
    """Send a signal; False when the process is already gone."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    return True


def children_of(pid: int) -> list[int]:
    """The direct children of all threads of `pid`, oldest first."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def user_of(pid: int) -> int:
    """The user id that a process has given itself; -1 when it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[1])
    return -1


def users() -> Set[int]:
    """The user ids that any process of the machine has given itself."""
    return {user_of(int(name)) for name in os.listdir("/proc") if name.isdigit()}


def thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


def others_wait() -> int:
    """How many other threads this process has, if all of them sleep in the kernel; else -1."""
    others = [name for name in os.listdir("/proc/self/task") if int(name) != threading.get_native_id()]
    for name in others:
        with open(f"/proc/self/task/{name}/stat", "rb") as file:
            if file.read().rpartition(b") ")[2][:1] != b"S":
                return -1
    return len(others)


def describe_exit(status: int) -> str:
    """A wait status in words: "exit status 1" or "signal 9 (SIGKILL)"."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
