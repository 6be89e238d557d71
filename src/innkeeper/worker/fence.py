"""The fence inside the walls: no capability, no new privilege, and only the system calls that apps need."""

from __future__ import annotations

import os
import resource
from typing import List, Optional, Tuple

from innkeeper.kernel import landlock, processes, seccomp
from innkeeper.kernel.mold import Script
from innkeeper.worker import calls
from innkeeper.worker.order import Order
from innkeeper.worker.places import Places

_BEYOND = 64  # tasks: who meets the control group's limit is told, and who meets the process's own is not
_programs: Tuple[bytes, ...] = ()


def prepare() -> None:
    """Compile the filters once, in the zygote. Raises OSError where there is no libseccomp."""
    global _programs
    _programs = calls.programs()


def close() -> None:
    """Hold this process and its children to the filter for good. Nothing can be mounted from then on."""
    processes.no_new_privileges()
    for program in _programs:
        seccomp.install(program)


def filters() -> Tuple[bytes, ...]:
    """What `prepare` has compiled."""
    return _programs


def limit(order: Order) -> None:
    """The limits that each process carries with it; those of control groups stand beside them."""
    for kind, value in _limits(order):
        resource.setrlimit(kind, (value, value))


def add_limits(steps: Script, order: Order) -> None:
    """The same, for a first process to do."""
    for kind, value in _limits(order):
        steps.add("limit", int(kind), value)


def _limits(order: Order) -> List[Tuple[int, int]]:
    found = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_NPROC, order.tasks + _BEYOND)]
    return [*found, (resource.RLIMIT_FSIZE, order.file_size)] if order.file_size else found


def rules(order: Order, places: Places) -> Optional[int]:
    """A second fence where the kernel has Landlock: files are changed only where the tenant's are. See `landlock`."""
    return landlock.rules(*_changeable(order, places))


def add_rules(steps: Script, order: Order, places: Places) -> None:
    """The same, for a first process to do."""
    for step in landlock.steps(*_changeable(order, places)):
        steps.add(*step)


def _changeable(order: Order, places: Places) -> Tuple[List[str], List[str]]:
    own = [places.real(order.tenant, path) for path in (f"/home/{order.tenant}", "/var/www", "/tmp")]
    return [*own, "/dev/shm"], ["/dev", "/proc"]


def refused() -> str:
    """Why system calls can't be filtered on this machine; "" when they can."""
    try:
        return _try(calls.programs())
    except OSError as error:
        return str(error)


def _try(programs: Tuple[bytes, ...]) -> str:
    """Install the filters in a child; the reason why that does not work, or ""."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            processes.no_new_privileges()
            for program in programs:
                seccomp.install(program)
        except OSError as error:
            os.write(writer, str(error).encode()[:500])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        reason = answers.read().decode()
    os.waitpid(child, 0)
    return reason
