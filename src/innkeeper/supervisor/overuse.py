"""A limit was met: the Problem that names it, its value, when it was, and which process."""

from __future__ import annotations

import time

from innkeeper.spec.problem import Problem

CODES = (
    "out-of-memory",
    "too-many-tasks",
    "too-many-files",
    "cpu-limit",
    "cpu-budget",
    "log-flood",
    "disk-full",
    "disk-unmeasured",
)


_ENDED = " It was tried again and again, and so all of them were ended."


def _limit(owner: str, key: str, value: object) -> str:
    """A limit as its owner finds it: "[limits] memory = "1g" of tenant alice"."""
    shown = f'"{value}"' if isinstance(value, str) else value
    return f"[limits] `{key}` = {shown} of {owner}"


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())


def out_of_memory(owner: str, value: str, process: str) -> Problem:
    return Problem(
        "out-of-memory",
        f"memory ran out: the kernel ended {process}; the limit is {_limit(owner, 'memory', value)}. Last: {_now()}",
        "Have the app keep less in memory, or fewer `processes`; or raise the limit, which an operator can.",
    )


def too_many_tasks(owner: str, value: int, process: str, *, ended: bool = False) -> Problem:
    return Problem(
        "too-many-tasks",
        f"no further process or thread could be started, by {process}; "
        f"the limit is {_limit(owner, 'tasks', value)}.{_ENDED if ended else ''} Last: {_now()}",
        "Look for processes and threads that are started again and again; or raise the limit.",
    )


def too_many_files(owner: str, value: int, process: str) -> Problem:
    return Problem(
        "too-many-files",
        f"{process} has opened nearly all the files and sockets it may; "
        f"the limit is {_limit(owner, 'open_files', value)}. Last: {_now()}",
        "Look for files and connections that are never closed; a reload closes them. Or raise the limit.",
    )


def cpu_limit(owner: str, value: int, process: str, share: float) -> Problem:
    return Problem(
        "cpu-limit",
        f"{process} had to wait for the CPU {share:.0%} of the time; "
        f"the limit is {_limit(owner, 'cpu', value)} (percent of a core). Last: {_now()}",
        "Look for loops that never rest; or raise the limit.",
    )


def cpu_budget(owner: str, value: int, spent: float, process: str) -> Problem:
    return Problem(
        "cpu-budget",
        f"{spent:.0f} seconds of CPU time were used today, most lately by {process}; "
        f"the limit is {_limit(owner, 'cpu_seconds', value)}. Last: {_now()}",
        "Nothing is stopped, but others go first until midnight (UTC). Look for loops that never rest; "
        "or raise the limit.",
    )


def log_flood(owner: str, value: str, process: str, kind: str) -> Problem:
    return Problem(
        "log-flood",
        f"{process} printed too much at once for {kind}.log, and some of it was left out; "
        f"the limit is {_limit(owner, 'log', value)}, and a hundredth of it each second. Last: {_now()}",
        "Print less: lower the level of logging. Or raise the limit.",
    )


def disk_full(owner: str, key: str, value: object, used: str, process: str, *, enforced: str) -> Problem:
    return Problem(
        "disk-full",
        f"the files take {used}, written most lately by {process}; "
        f"the limit is {_limit(owner, key, value)}. {enforced} Last: {_now()}",
        "Delete what is not needed, in the home, /var/www and /tmp; or raise the limit.",
    )


def disk_unmeasured(reason: str) -> Problem:
    return Problem(
        "disk-unmeasured",
        f"what the files take could not be measured again and again: {reason}. "
        f"Nothing starts until that is known. Last: {_now()}",
        "Delete or move what is nested too deeply or is too much, in the home, /var/www and /tmp.",
    )
