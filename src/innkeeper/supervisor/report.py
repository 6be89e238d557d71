"""What the node tells about itself: the answer to `status`, in the shape that the fixed interface names."""

from __future__ import annotations

import os
from typing import Any

import innkeeper
from innkeeper.spec.problem import Problem
from innkeeper.supervisor.node import Node
from innkeeper.supervisor.states import State


def status(node: Node, isolation: str) -> dict[str, Any]:
    """The whole node: {"version", "keeper_pid", "supervisor_pid", "isolation", "sites": […], …}."""
    services = node.services
    names = sorted({*node.published, *node.registry.faults, *node.faults})
    return {
        "version": innkeeper.__version__,
        "keeper_pid": os.getppid(),
        "supervisor_pid": os.getpid(),
        "isolation": isolation,
        "sites": [site(node, name) for name in names],
        "tenants": [tenant(node, name) for name in _told_of(node)],
        "runtimes": services.nursery.report(),
    }


def site(node: Node, domain: str) -> dict[str, Any]:
    """One site: {"domain", "tenant", "state", "pid", "wakes", "cold_start_ms", "problems": […]}."""
    spec = node.published.get(domain)
    life = node.sites.get(domain)
    problems = [fault for faults in (node.registry.faults, node.faults) if (fault := faults.get(domain))]
    if life is not None:
        problems += life.problems.values()
    return {
        "domain": domain,
        "tenant": spec.tenant if spec else None,
        "kind": _kind(node, domain),
        "state": _state(node, domain),
        "pid": life.pid if life else None,
        "wakes": life.wakes if life else 0,
        "cold_start_ms": life.cold_start_ms if life else None,
        "hibernating": life is not None and life.state is State.HIBERNATING,
        "problems": [_problem(problem) for problem in problems],
    }


def tenant(node: Node, name: str) -> dict[str, Any]:
    """One tenant: {"name", "cpu_seconds" (today), "cpu_budget", "tarpit", "memory", "tasks", "disk", "problems"}."""
    services = node.services
    spec, usage = services.tenants.get(name), services.confines.usage(name)
    spent, budget = services.meter.spent(name), spec.limits.cpu_seconds if spec else 0
    return {
        "name": name,
        "cpu_seconds": round(spent, 1),
        "cpu_budget": budget,
        "tarpit": bool(budget) and spent > budget,
        "memory": usage.memory,
        "tasks": usage.tasks,
        "disk": services.disk_used(name),
        "problems": [_problem(problem) for problem in services.meter.problems.get(name, {}).values()],
    }


def _told_of(node: Node) -> list[str]:
    """The tenants that are awake, have used CPU time today, or have a Problem."""
    services = node.services
    return sorted({*services.confines.awake(), *services.meter.tenants_of_today(), *services.meter.problems})


def _kind(node: Node, domain: str) -> str | None:
    spec = node.published.get(domain)
    if spec is None:
        return None
    return spec.app.kind if spec.app else "static"


def _state(node: Node, domain: str) -> str:
    life, spec = node.sites.get(domain), node.published.get(domain)
    if life is not None:
        return State.ASLEEP.value if life.state is State.HIBERNATING else life.state.value
    if spec is None:
        return State.FAILED.value
    return State.ASLEEP.value if spec.enabled else State.DISABLED.value


def _problem(problem: Problem) -> dict[str, str]:
    return {"code": problem.code, "message": problem.message, "hint": problem.hint}
