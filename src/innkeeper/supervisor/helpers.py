"""Helpers: commands and tasks done inside a tenant's sandbox, for who asks at the control socket or for ourselves."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from innkeeper.kernel import sockets
from innkeeper.spec.tenant import TenantSpec
from innkeeper.spec.values import bytes_of
from innkeeper.supervisor.confines import HELPERS
from innkeeper.supervisor.control import Reply
from innkeeper.supervisor.nursery import Ground
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.worker import Worker
from innkeeper.worker.order import Descriptors, Order

_SLACK = 5.0  # seconds that a task's end may take beyond its time
_LONGEST = 30 * 86_400.0  # seconds that a helper may take


class NoHelper(Exception):
    """The helper could not be started; the text says why."""


class Failed(Exception):
    """It was started, and did not do what it was to do; the text says why."""


class Ending(NamedTuple):
    """How a helper ended: its exit status, None where it was ended from outside; what it said, or the reason."""

    code: int | None
    said: str
    began: bool  # whether the tenant's sandbox was entered


def start(
    tenant: TenantSpec,
    descriptors: list[int],
    services: Services,
    ended: Callable[[Ending], None],
    *,
    runtime: str | None = None,
    outside: bool = False,
    **what: Any,
) -> Worker:
    """Start a helper on three standard descriptors; `what` are fields of its Order.

    `ended` is called once. One that is to be `outside` has not the tenant's limits, but those of the zygotes.
    Raises NoHelper and OSError.
    """
    name = runtime or services.nursery.default
    if not services.nursery.has(name):
        raise NoHelper(f"there is no runtime {name!r} to run it with")
    identity = services.new_identity()
    ours, theirs = sockets.pair()
    found: dict[str, Any] = {"code": None, "said": "it was ended from outside", "broken": False}

    def hear(worker: Worker, event: str, message: dict[str, Any]) -> None:
        if event == "ended":
            found.update(code=int(message["code"]), said=message["said"])
        elif event == "broken":
            found.update(said=f"the sandbox could not be set up: {message.get('reason')}", broken=True)
        elif event == "gone":
            services.meter.look_at(tenant.name, HELPERS)  # a limit may be why it ended
            services.forget(worker)
            said = worker.problem.message if worker.problem else found["said"]
            ended(Ending(found["code"], said, worker.pid > 0 and not found["broken"]))

    worker = Worker(identity, "", ours, hear)
    with services.ordering(worker, theirs) as doors:
        zygote = services.nursery.zygote(Ground(name, bare=True))
        worker.python = zygote.runtime.python
        doors.extend(services.enlist(worker, tenant, HELPERS, services.settings.site_limits))
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
        zygote.order(order, Descriptors.of([theirs.fileno(), *descriptors, *(() if outside else doors)]))
        services.meter.begin(tenant.name, HELPERS)
    return worker


def run(request: dict[str, Any], descriptors: list[int], reply: Reply, services: Services) -> None:
    """Do what is asked as `tenant` on the asker's three standard descriptors; answers {"status": exit status}.

    The request has `arguments` (a command) or `task`; when the asker goes away, all that was started is killed.
    """
    tenant = services.tenants.get(request["tenant"])
    problem = services.tenant_problem(tenant) if tenant else services.tenant_faults.get(request["tenant"])
    if problem is not None:
        reply.refuse(f"{problem.message}. {problem.hint}")
        return
    if tenant is None:
        reply.refuse(
            f"there is no tenant {request['tenant']!r}; `innkeeper tenant list` shows those there are"
        )
        return
    if len(descriptors) != 3:
        reply.refuse("the three standard descriptors were not given")
        return

    def ended(ending: Ending) -> None:
        services.disk_changed(tenant)
        if ending.code is None:
            reply.send({"status": 137, "reason": ending.said})
        else:
            reply.send({"status": ending.code})

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
    """What a task of the node's own says, as JSON. The tenant may have no room left in its limits for that.

    Raises NoHelper when that is no fault of the tenant's, else Failed; `timeout` are the seconds that it may take.
    """
    done: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def ended(ending: Ending) -> None:
        if not done.done():
            done.set_result(ending)

    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        worker = start(tenant, [nothing] * 3, services, ended, outside=True, task=task, timeout=timeout)
    except OSError as error:
        raise NoHelper(str(error)) from error
    finally:
        os.close(nothing)
    try:
        ending = await asyncio.wait_for(done, timeout + _SLACK)
    except TimeoutError:  # stopped, where the tenant's processes see it
        ending = Ending(None, "it did not end", worker.pid > 0)
        worker.kill()
    if ending.code == 0:
        return json.loads(ending.said)
    raise (NoHelper if ending.code is None and not ending.began else Failed)(ending.said)
