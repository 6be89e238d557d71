"""Helpers: commands run inside a tenant's sandbox on behalf of whoever asks at the control socket."""

from __future__ import annotations

import os
from typing import Any

from innkeeper.kernel import sockets
from innkeeper.spec.values import bytes_of
from innkeeper.supervisor.confines import HELPERS
from innkeeper.supervisor.control import Reply
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.worker import Worker
from innkeeper.worker.order import Descriptors, Order


def run(request: dict[str, Any], descriptors: list[int], reply: Reply, services: Services) -> None:
    """Run `arguments` as `tenant` on the asker's three standard descriptors; answers {"status": exit status}.

    When the asker goes away, the command and all that it started are killed.
    """
    tenant = services.tenants.get(request["tenant"])
    if tenant is None:
        reply.refuse(
            f"there is no tenant {request['tenant']!r}; `innkeeper tenant list` shows those there are"
        )
        return
    zygote = services.zygotes.get(request.get("runtime") or services.default_runtime)
    if zygote is None or len(descriptors) != 3:
        reply.refuse("there is no such runtime, or the three standard descriptors were not given")
        return
    identity = services.new_identity()
    ours, theirs = sockets.pair()
    status: dict[str, int] = {}

    def hear(worker: Worker, event: str, message: dict[str, Any]) -> None:
        if event == "ended":
            status["code"] = message["code"]
        elif event == "broken":
            reply.refuse(f"the sandbox could not be set up: {message.get('reason')}")
        elif event == "gone":
            services.forget(worker)
            reply.send({"status": status.get("code", 137)})

    worker = Worker(identity, "", ours, hear)
    with theirs:
        doors = services.enlist(worker, tenant, HELPERS, services.settings.site_limits)
        reply.on_gone = worker.kill
        order = Order(
            identity=identity,
            domain="",
            tenant=tenant.name,
            uid=tenant.uid,
            gid=tenant.uid,
            arguments=tuple(request["arguments"]),
            directory=request.get("directory"),
            environment=dict(request.get("environment", {})),
            tasks=tenant.limits.tasks,
            file_size=bytes_of(tenant.limits.disk),
        )
        zygote.order(order, Descriptors.of([theirs.fileno(), *descriptors, *doors]))
        for door in doors:
            os.close(door)
