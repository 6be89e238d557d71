"""The fence inside the walls: no capability, no new privilege, and only the system calls that apps need."""

from __future__ import annotations

import os
import resource
from typing import List

from innkeeper.kernel import namespaces, processes, seccomp
from innkeeper.worker import calls

MAX_TASKS = 2048  # processes and threads of one tenant, in all of the tenant's sandboxes together
_program = b""


def prepare() -> None:
    """Compile the filter once, in the zygote. Raises OSError where there is no libseccomp."""
    global _program
    _program = calls.program()


def close() -> None:
    """Hold this process and its children to the filter for good. Nothing can be mounted from then on."""
    processes.no_new_privileges()
    if _program:
        seccomp.install(_program)


def limit() -> None:
    """The limits that each process carries with it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (MAX_TASKS, MAX_TASKS))


def missing() -> List[str]:
    """What of full isolation this machine does not permit, each with the reason; empty when all is there."""
    reasons = []
    refused = namespaces.permitted()
    if refused:
        reasons.append(f"namespaces are not permitted ({refused})")
    try:
        program = calls.program()
    except OSError as error:
        reasons.append(f"system calls can't be filtered ({error})")
    else:
        refused = _try(program)
        if refused:
            reasons.append(f"system calls can't be filtered ({refused})")
    return reasons


def _try(program: bytes) -> str:
    """Install the filter in a child; the reason why that does not work, or ""."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            processes.no_new_privileges()
            seccomp.install(program)
        except OSError as error:
            os.write(writer, str(error).encode()[:500])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        reason = answers.read().decode()
    os.waitpid(child, 0)
    return reason
