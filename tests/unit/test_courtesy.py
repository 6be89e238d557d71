"""Who keeps the CPUs busy is asked only when all together do, and is found at the second look."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor import courtesy
from innkeeper.supervisor.confines import Confines
from innkeeper.supervisor.courtesy import Courtesy


class Groups:
    """CPU seconds by tenant, as the kernel would count them; and what was asked and done."""

    def __init__(self, *tenants: str) -> None:
        self.used = dict.fromkeys(tenants, 0.0)
        self.asked: list[str] = []
        self.busy: set[str] = set()

    def awake(self) -> dict[str, list[str]]:
        return {tenant: [f"{tenant}.test"] for tenant in self.used}

    def cpu_seconds(self, tenant: str = "") -> float:
        if tenant:
            self.asked.append(tenant)
        return self.used[tenant] if tenant else sum(self.used.values())

    def tasks_refused(self, tenant: str, name: str) -> int:
        return 0

    def set_busy(self, tenant: TenantSpec, wanted: bool) -> None:
        (self.busy.add if wanted else self.busy.discard)(tenant.name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def _look(groups: Groups, watch: Courtesy, clock: list[float], seconds: float, **used: float) -> float:
    """One look, `seconds` after the one before, in which the tenants have used so much."""
    clock[0] += seconds
    for tenant, more in used.items():
        groups.used[tenant] += more
    return asyncio.run(watch.look())


def _tenants(groups: Groups) -> dict[str, TenantSpec]:
    return {name: TenantSpec(name=name, uid=20000 + number) for number, name in enumerate(groups.used)}


def _watch(groups: Groups, tenants: dict[str, TenantSpec] | None = None) -> Courtesy:
    return Courtesy(cast("Confines", groups), tenants or _tenants(groups), lambda *_: None)


def test_nobody_is_asked_while_all_are_quiet(clock: list[float]) -> None:
    groups = Groups("alice", "bob")
    watch = _watch(groups)
    for _ in range(4):
        assert _look(groups, watch, clock, 0.5, alice=0.02, bob=0.02) == courtesy.INTERVAL
    assert groups.asked == []


def test_the_busy_one_is_found_soon_and_let_go_when_it_is_calm(clock: list[float]) -> None:
    groups = Groups("alice", "bob")
    watch = _watch(groups)
    _look(groups, watch, clock, 0.5)
    wait = _look(groups, watch, clock, 0.5, alice=0.5, bob=0.01)
    assert wait < courtesy.INTERVAL
    assert groups.busy == set()
    _look(groups, watch, clock, wait, alice=wait, bob=0.01)
    assert groups.busy == {"alice"}
    _look(groups, watch, clock, 0.5, bob=0.01)
    assert groups.busy == set()


def test_who_is_alone_may_be_busy(clock: list[float]) -> None:
    groups = Groups("alice", "bob")
    watch = _watch(groups)
    for _ in range(3):
        _look(groups, watch, clock, 0.5, alice=0.5)
    assert groups.busy == set()


def test_who_is_removed_while_busy_is_let_go_as_well(clock: list[float]) -> None:
    groups = Groups("alice", "bob")
    tenants = _tenants(groups)
    watch = _watch(groups, tenants)
    for _ in range(3):
        _look(groups, watch, clock, 0.5, alice=0.5, bob=0.01)
    assert groups.busy == {"alice"}
    del tenants["alice"], groups.used["alice"]
    _look(groups, watch, clock, 0.5)
    assert groups.busy == set()
    groups.asked.clear()
    _look(groups, watch, clock, 0.5)
    assert groups.asked == []
