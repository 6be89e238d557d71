"""Hibernation: a tier before the stop. A worker's processes are stopped where they are, and their memory swapped out.

The next connection has them go on within a few milliseconds. Their first process stays as it is: it watches the
app's file. What is stopped is all of a sandbox, so there has to be one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from innkeeper.kernel import paging, remote
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.worker import Worker

# A site whose last start cost less is stopped. From the swap space it is back within 5 to 15 ms (scripts/bench), and
# what gains little by that should not take the space of those who gain much.
LEAST_START_MS = 45.0
_LONGEST_LOOK = 0.02  # seconds, in which nothing else is done
PAUSE = 5.0  # seconds after thawing in which a site does not hibernate again


def is_worth_it(cold_start_ms: float | None) -> bool:
    return cold_start_ms is not None and cold_start_ms >= LEAST_START_MS


def is_caught(worker: Worker, name: str, services: Services) -> bool:
    """Whether stopped processes of the worker hold a connection that they had accepted at the socket of that name.

    As well when they have too many to tell.
    """
    until = time.monotonic() + _LONGEST_LOOK
    for pid in _stopped(worker, services):
        try:
            if remote.has_accepted(pid, name, until):
                return True
        except TimeoutError:
            return True
        except OSError:  # it has ended
            continue
    return False


def page_out(worker: Worker, services: Services) -> None:
    """Have the memory of the stopped processes swapped out, in a thread: it takes a while."""
    services.confines.allow_swap(worker.tenant, worker.group, True)
    pids = _stopped(worker, services)
    asyncio.get_running_loop().run_in_executor(None, _page_out, pids)


def forbid_swap(worker: Worker, services: Services) -> None:
    """From here on the site's own limit of swap space holds."""
    services.confines.allow_swap(worker.tenant, worker.group, False)


def _stopped(worker: Worker, services: Services) -> list[int]:
    """The worker's processes but its first, by the host's numbers."""
    return [pid for pid in services.confines.processes(worker.tenant, worker.group) if pid != worker.pid]


def _page_out(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            paging.page_out(pid)
