"""What only a worker itself can see: a limit that was met, or what it had to import."""

from __future__ import annotations

from typing import Any

from innkeeper.spec.problem import Problem
from innkeeper.spec.site import SiteSpec
from innkeeper.supervisor import overuse, starting
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.worker import Worker


def take(
    spec: SiteSpec, worker: Worker, event: str, message: dict[str, Any], services: Services
) -> Problem | None:
    """Do what a worker's account calls for; the Problem that its site's owner is to see, if any."""
    process = f"a process of the app (worker {worker.pid})"
    kind = "error" if message.get("kind") == "error" else "server"
    if event == "imported":
        runtime = (spec.app and spec.app.runtime) or services.nursery.default
        services.learning.hear(runtime, spec.tenant, spec.domain, message.get("modules"))
    elif event == "files":
        return overuse.too_many_files(f"site {spec.domain}", spec.limits.open_files, process)
    elif event == "flooded":
        return overuse.log_flood(f"site {spec.domain}", spec.limits.log, process, kind)
    elif event == "full":
        starting.renew_logs(spec, [worker], kind, services)
    return None
