"""What a site's life needs of the node: handed over as one value, so that tests can hand over others."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from innkeeper.edge.routes import Routes
from innkeeper.spec.node import Layout, NodeSettings
from innkeeper.spec.problem import Problem
from innkeeper.spec.shares import SiteLimits
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor.admission import Admission
from innkeeper.supervisor.confines import Confines
from innkeeper.supervisor.custody import Custody
from innkeeper.supervisor.learning import Learning
from innkeeper.supervisor.meter import Meter
from innkeeper.supervisor.nursery import Nursery
from innkeeper.supervisor.ports import Ports
from innkeeper.supervisor.wakeups import Wakeups
from innkeeper.supervisor.worker import Worker


@dataclass
class Services:
    """The parts of a running supervisor."""

    layout: Layout
    settings: NodeSettings
    custody: Custody
    routes: Routes
    admission: Admission
    wakeups: Wakeups
    nursery: Nursery
    learning: Learning
    ports: Ports
    meter: Meter
    edge_gid: int
    log: Callable[[str], None]
    most_open_files: int = sys.maxsize  # that the machine lets a process of an app have
    tenants: dict[str, TenantSpec] = field(default_factory=dict)
    tenant_faults: dict[str, Problem] = field(default_factory=dict)  # of tenants whose files are broken
    disk_problem: Callable[[TenantSpec], Problem | None] = lambda _: (
        None
    )  # why a tenant may not start anything
    disk_changed: Callable[[TenantSpec], None] = lambda _: None  # to be called after a command of a tenant's
    tenant_problem: Callable[[TenantSpec], Problem | None] = lambda _: None  # why nothing may run as a tenant
    disk_used: Callable[[str], int | None] = lambda _: None  # bytes that a tenant's files take, where known
    can_hibernate: Callable[[], bool] = lambda: False
    woken: Callable[[str], None] = lambda _: None  # a tenant whose site was woken, or could not be
    confines: Confines = field(default_factory=lambda: Confines(None))
    workers: dict[int, Worker] = field(default_factory=dict)  # by identity
    last_identity: int = 0

    def enlist(self, worker: Worker, tenant: TenantSpec, group: str, limits: SiteLimits) -> list[int]:
        """Give a worker that is about to be ordered into keeping, and open the doors of its control group.

        Raises OSError when the group can't be made; the caller, who is `ordering`, has the meter begin.
        """
        doors = self.confines.enter(tenant, group, limits)
        worker.tenant, worker.group = tenant.name, group
        self.custody.keep(worker.kept_name, [worker.channel.fileno()], worker.note)
        self.workers[worker.identity] = worker
        return doors

    @contextlib.contextmanager
    def ordering(self, worker: Worker, theirs: socket.socket) -> Iterator[list[int]]:
        """While a worker is ordered. What is put into the list is closed afterwards, and its end of the channel.

        Where that fails, by OSError, nobody knows the worker any more.
        """
        given: list[int] = []
        try:
            yield given
        except OSError:
            worker.forsake()
            self.forget(worker)
            raise
        finally:
            theirs.close()
            for descriptor in given:
                os.close(descriptor)

    def forget(self, worker: Worker) -> None:
        """A worker has ended, or is not to begin."""
        if not worker.pid:
            self.nursery.withdraw(worker.identity)
        if self.workers.pop(worker.identity, None) is not None:
            self.confines.leave(worker.tenant, worker.group)
        self.ports.release(worker.port)
        self.custody.drop(worker.kept_name)

    def may_hibernate(self, worker: Worker) -> bool:
        """Whether there is room for its memory elsewhere, and nothing else runs in its group."""
        return self.confines.sandboxes(worker.tenant, worker.group) == 1 and self.can_hibernate()

    def new_identity(self) -> int:
        self.last_identity += 1
        return self.last_identity
