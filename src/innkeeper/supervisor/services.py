"""What a site's life needs of the node: handed over as one value, so that tests can hand over others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from innkeeper.edge.routes import Routes
from innkeeper.spec.node import Layout, NodeSettings
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor.admission import Admission
from innkeeper.supervisor.custody import Custody
from innkeeper.supervisor.wakeups import Wakeups
from innkeeper.supervisor.worker import Worker
from innkeeper.supervisor.zygotes import Zygote


@dataclass
class Services:
    """The parts of a running supervisor."""

    layout: Layout
    settings: NodeSettings
    custody: Custody
    routes: Routes
    admission: Admission
    wakeups: Wakeups
    edge_gid: int
    log: Callable[[str], None]
    tenants: dict[str, TenantSpec] = field(default_factory=dict)
    zygotes: dict[str, Zygote] = field(default_factory=dict)
    default_runtime: str = ""
    workers: dict[int, Worker] = field(default_factory=dict)  # by identity
    last_identity: int = 0

    def new_identity(self) -> int:
        self.last_identity += 1
        return self.last_identity
