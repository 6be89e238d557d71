"""Starting a worker: from a site's spec to an order for its zygote."""

from __future__ import annotations

import os
import socket
from typing import Any

from innkeeper.edge import logs, rotation, routes
from innkeeper.kernel import sockets
from innkeeper.spec.problem import Problem, SpecError
from innkeeper.spec.site import SiteSpec
from innkeeper.spec.tenant import TenantSpec
from innkeeper.spec.values import bytes_of
from innkeeper.supervisor import plan
from innkeeper.supervisor.nursery import Ground
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.worker import Hear, Worker
from innkeeper.worker.order import Descriptors, Order

_SOCKET_MODE = 0o660


def bind(spec: SiteSpec, services: Services, note: dict[str, Any] | None = None) -> socket.socket:
    """Bind a site's listening socket, in the place of one that may be there, and give it into keeping."""
    directory = f"live/{spec.domain}"
    os.makedirs(directory, mode=0o755, exist_ok=True)
    path = f"{directory}/{socket_name(spec)}"
    listener = sockets.listen(path, mode=_SOCKET_MODE, gid=services.edge_gid, backlog=sockets.BACKLOG)
    services.custody.keep(f"site:{spec.domain}", [listener.fileno()], note)
    return listener


def socket_name(spec: SiteSpec) -> str:
    """The name of a site's socket, by what is spoken on it: apps of different kinds never share one."""
    return routes.HTTP_SOCKET if spec.app is not None and spec.app.speaks_http else routes.UWSGI_SOCKET


def start(spec: SiteSpec, ground: Ground, listener: socket.socket, services: Services, hear: Hear) -> Worker:
    """Order a worker for `spec` on `ground`. SpecError for what keeps it from being ordered, else OSError.

    The worker's channel is in the keeper's hands before the order goes out: should this process die in
    between, its successor knows of the worker.
    """
    _require(ground.runtime, spec, services)
    tenant = tenant_of(spec, services)
    identity = services.new_identity()
    if problem := services.disk_problem(tenant):
        raise SpecError(problem)
    ours, theirs = sockets.pair()
    worker = Worker(identity, spec.domain, ours, hear)
    worker.socket, worker.mark = socket_name(spec), plan.mark(spec)
    with services.ordering(worker, theirs) as files:
        files.extend(_open_logs(spec, tenant, services))
        if spec.app is not None and spec.app.kind == "command":
            worker.port = services.ports.take(tenant.uid)
        zygote = services.nursery.zygote(ground)
        worker.python = zygote.runtime.python
        files.extend(services.enlist(worker, tenant, spec.domain, spec.limits))
        given = Descriptors.of([theirs.fileno(), listener.fileno(), *files])
        order = order_for(worker, spec, tenant, ground)
        zygote.order(order, given)
        services.meter.begin(tenant.name, spec.domain)
    return worker


def is_bound_for(listener: socket.socket, spec: SiteSpec) -> bool:
    """Whether what is spoken on a socket is what the site's app speaks."""
    return os.path.basename(str(listener.getsockname())).rstrip("~") == socket_name(spec)


def may_serve(worker: Worker, spec: SiteSpec) -> bool:
    """Whether a worker is one of the site's tenant, and listens where the site does."""
    return worker.tenant == spec.tenant and worker.socket in ("", socket_name(spec))


def is_outdated(worker: Worker, spec: SiteSpec) -> bool:
    """Whether a worker is made from something else than the site is now, as far as was noted."""
    return worker.mark not in ("", plan.mark(spec))


def renew_logs(spec: SiteSpec, workers: list[Worker], kind: str, services: Services) -> None:
    """Set a full or old log aside, and have those of the workers that are the tenant's write into a new one."""
    tenant = services.tenants.get(spec.tenant)
    if tenant is None or logs.other_owner(services.layout, spec.domain, tenant.uid):
        return  # `spec` may be that of a site that was removed, and is another tenant's by now
    rotation.set_aside(services.layout.log_dir(spec.domain), kind)
    files = _open_logs(spec, tenant, services)
    for worker in workers:
        if worker.tenant == tenant.name:
            worker.ask("logs", files)
    for descriptor in files:
        os.close(descriptor)


def _open_logs(spec: SiteSpec, tenant: TenantSpec, services: Services) -> list[int]:
    user = services.settings.nginx_user
    return list(logs.open_for_worker(services.layout, spec.domain, gid=tenant.uid, nginx_user=user))


def order_for(worker: Worker, spec: SiteSpec, tenant: TenantSpec, ground: Ground) -> Order:
    """The order that a site's spec amounts to."""
    app = spec.app
    assert app is not None, "a static site has no worker"
    is_command = app.kind == "command"
    environment = {"WEB_CONCURRENCY": str(app.processes), "FORWARDED_ALLOW_IPS": "*"} if is_command else {}
    return Order(
        identity=worker.identity,
        domain=spec.domain,
        tenant=spec.tenant,
        uid=tenant.uid,
        gid=tenant.uid,
        kind=app.kind,
        entry=app.target,
        callable=app.callable,
        directory=app.directory,
        virtualenv=app.virtualenv,
        interpreter=ground.interpreter,
        port=worker.port,
        environment={**environment, **spec.env},
        processes=1 if is_command else app.processes,
        threads=app.threads,
        timeout=float(app.timeout),
        idle=float(app.idle),
        longest=float(app.longest),
        open_files=spec.limits.open_files,
        tasks=tenant.limits.tasks,
        file_size=bytes_of(tenant.limits.disk),
        body=bytes_of(spec.limits.body),
        log=bytes_of(spec.limits.log),
        shm=bytes_of(spec.limits.shm),
    )


def tenant_of(spec: SiteSpec, services: Services) -> TenantSpec:
    """The site's tenant; SpecError when the node has none of that name, or it can't be had."""
    tenant = services.tenants.get(spec.tenant)
    if tenant is None:
        raise SpecError(
            services.tenant_faults.get(spec.tenant)
            or Problem(
                "tenant-unknown",
                f"{spec.domain}.toml: `tenant` is {spec.tenant!r}, and this node has no tenant of that name",
                f"Add it with `innkeeper tenant add {spec.tenant}`, or correct the name in the site file.",
            )
        )
    if problem := services.tenant_problem(tenant):
        raise SpecError(problem)
    return tenant


def ground_of(spec: SiteSpec, services: Services) -> Ground:
    """Where a worker of the site's is started from, as far as its file tells. SpecError when it can't be."""
    app = spec.app
    assert app is not None, "a static site has no worker"
    name = app.runtime or services.nursery.default
    _require(name, spec, services)
    # A module that was imported in another environment than the site's may be another one.
    return Ground(name, bare=app.kind == "command" or services.nursery.is_decided_by(name, spec.env))


def _require(runtime: str, spec: SiteSpec, services: Services) -> None:
    """SpecError when the node has no runtime of that name."""
    if services.nursery.has(runtime):
        return
    known = ", ".join(sorted(services.nursery.pairs)) or "none"
    where, otherwise = f"{spec.domain}.toml: [app] `runtime`", ", or leave `runtime` out"
    if spec.app is None or spec.app.runtime != runtime:
        where, otherwise = "innkeeper.toml: `default_runtime`", ", and start the node anew"
    raise SpecError(
        Problem(
            "runtime-unknown",
            f"{where} is {runtime!r}, and this node has no runtime of that name",
            f"Runtimes of this node: {known}. Name one of them{otherwise}.",
        )
    )


def other_ground(spec: SiteSpec, ground: Ground, python: str, services: Services) -> Ground:
    """Where to start it after all, when its worker was unfit for where it has been started.

    `python` is the version that its virtualenv needs, if not that of the worker.
    """
    if python and spec.app is not None:
        return services.nursery.ground_of(python, f"{spec.app.virtualenv}/bin/python")
    return ground._replace(bare=True)
