"""Helpers: commands and tasks done inside a tenant's sandbox, for who asks at the control socket or for ourselves."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

from innkeeper.kernel import sockets
from innkeeper.spec.tenant import TenantSpec
from innkeeper.spec.values import bytes_of
from innkeeper.supervisor.confines import HELPERS
from innkeeper.supervisor.control import Reply
from innkeeper.supervisor.nursery import Ground
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.worker import Worker
from innkeeper.worker.order import Descriptors, Order

_MAX_ANSWER = 65536
_LONGEST = 30 * 86_400.0  # seconds that a helper may take


class NoHelper(Exception):
    """The helper could not be started; the text says why."""


def start(
    tenant: TenantSpec,
    descriptors: list[int],
    services: Services,
    ended: Callable[[int | None, str], None],
    *,
    runtime: str | None = None,
    **what: Any,
) -> Worker:
    """Start a helper on three standard descriptors; `what` are fields of its Order.

    `ended` is called once, with its exit status, or with None and a reason. Raises NoHelper and OSError.
    """
    name = runtime or services.nursery.default
    if not services.nursery.has(name):
        raise NoHelper(f"there is no runtime {name!r} to run it with")
    identity = services.new_identity()
    ours, theirs = sockets.pair()
    found: dict[str, Any] = {"code": None, "reason": "it was ended from outside"}

    def hear(worker: Worker, event: str, message: dict[str, Any]) -> None:
        if event == "ended":
            found["code"] = int(message["code"])
        elif event == "broken":
            found["reason"] = f"the sandbox could not be set up: {message.get('reason')}"
        elif event == "gone":
            services.meter.look_at(tenant.name, HELPERS)  # a limit may be why it ended
            services.forget(worker)
            ended(found["code"], found["reason"])

    worker = Worker(identity, "", ours, hear)
    doors: list[int] = []
    try:
        zygote = services.nursery.zygote(Ground(name, bare=True))
        worker.python = zygote.runtime.python
        doors = services.enlist(worker, tenant, HELPERS, services.settings.site_limits)
        order = Order(
            identity=identity,
            domain="",
            tenant=tenant.name,
            uid=tenant.uid,
            gid=tenant.uid,
            tasks=tenant.limits.tasks,
            file_size=bytes_of(tenant.limits.disk),
            **what,
        )
        zygote.order(order, Descriptors.of([theirs.fileno(), *descriptors, *doors]))
        services.meter.begin(tenant.name, HELPERS)
    except OSError:
        worker.forsake()
        services.forget(worker)
        raise
    finally:
        theirs.close()
        for door in doors:
            os.close(door)
    return worker


def run(request: dict[str, Any], descriptors: list[int], reply: Reply, services: Services) -> None:
    """Do what is asked as `tenant` on the asker's three standard descriptors; answers {"status": exit status}.

    The request has `arguments` (a command) or `task`; when the asker goes away, all that was started is killed.
    """
    tenant = services.tenants.get(request["tenant"])
    if tenant is None:
        reply.refuse(
            f"there is no tenant {request['tenant']!r}; `innkeeper tenant list` shows those there are"
        )
        return
    if problem := services.tenant_problem(tenant):
        reply.refuse(f"{problem.message}. {problem.hint}")
        return
    if len(descriptors) != 3:
        reply.refuse("the three standard descriptors were not given")
        return

    def ended(code: int | None, reason: str) -> None:
        services.disk_changed(tenant)
        if code is None:
            reply.send({"status": 137, "reason": reason})
        else:
            reply.send({"status": code})

    if request.get("task", {}).get("do") == "write" and (problem := services.disk_problem(tenant)):
        reply.refuse(problem.message)
        return
    try:
        worker = start(
            tenant,
            descriptors,
            services,
            ended,
            runtime=request.get("runtime"),
            arguments=tuple(request.get("arguments", ())),
            task=dict(request.get("task", {})),
            directory=request.get("directory"),
            environment=dict(request.get("environment", {})),
            timeout=min(_LONGEST, float(request.get("timeout") or 0)),
            terminal=bool(request.get("terminal")),
        )
    except (NoHelper, OSError) as error:
        reply.refuse(f"it could not be started: {error}")
        return
    reply.on_gone = worker.kill


async def ask(tenant: TenantSpec, task: dict[str, Any], services: Services, *, timeout: float) -> Any:
    """What a task prints, as JSON; None when it failed or took longer than `timeout` seconds."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    done: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    def ended(code: int | None, _: str) -> None:
        if not done.cancelled():
            done.set_result(code)

    try:
        start(tenant, [nothing, writer, nothing], services, ended, task=task, timeout=timeout)
        if await done != 0:
            return None
        os.set_blocking(reader, False)
        return json.loads(os.read(reader, _MAX_ANSWER))
    except (NoHelper, OSError, ValueError):
        return None
    finally:
        for descriptor in (reader, writer, nothing):
            os.close(descriptor)
