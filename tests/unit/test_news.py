"""News of files that changed: what goes wrong with one keeps nobody else from theirs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from innkeeper.spec.site import SiteSpec
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor.node import Node
from innkeeper.supervisor.watch import Watch


class Groups:
    """Of two tenants that are awake; the limits of one can't be changed."""

    def __init__(self) -> None:
        self.limited: list[str] = []

    def awake(self) -> dict[str, list[str]]:
        return {"alice": ["a.test"], "bob": ["b.test"]}

    def limit(self, tenant: TenantSpec) -> None:
        self.limited.append(tenant.name)
        if tenant.name == "alice":
            raise OSError("refused")


@pytest.fixture
def groups() -> Groups:
    return Groups()


@pytest.fixture
def node(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> Node:
    """With one site of each tenant; `looked` has those that were looked at again, `log` what was told."""
    tenants = {name: TenantSpec(name=name, uid=20000) for name in ("alice", "bob", "carol")}
    wanted = {name: SiteSpec(domain=f"{name}.test", tenant=name) for name in tenants}
    log: list[str] = []
    services = SimpleNamespace(confines=groups, tenants=tenants, log=log.append)
    registry = SimpleNamespace(wanted={spec.domain: spec for spec in wanted.values()})
    found: Any = Node(cast("Any", registry), cast("Any", services))
    found.looked, found.log = [], log
    monkeypatch.setattr(found, "_look_again_at", found.looked.append)
    return cast("Node", found)


def test_a_tenant_that_cannot_be_limited_keeps_no_other_from_its_sites(node: Any, groups: Groups) -> None:
    node.tenants_changed(None)
    assert groups.limited == ["alice", "bob"]
    assert node.looked == ["alice.test", "bob.test", "carol.test"]
    assert node.log == ["tenant alice: its limits could not be changed: refused"]


def test_only_who_changed_is_limited_anew(node: Any, groups: Groups) -> None:
    node.tenants_changed({"bob", "carol"})
    assert groups.limited == ["bob"]
    assert node.looked == ["bob.test", "carol.test"]
    assert not node.log


def test_a_folder_whose_news_cannot_be_used_keeps_no_other_from_its_own(tmp_path: Path) -> None:
    told: list[set[str] | None] = []
    failed: list[Any] = []

    def fail(_: set[str] | None) -> None:
        raise OSError("refused")

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        watch = Watch()
        for name, tell in (("first", fail), ("second", told.append)):
            (tmp_path / name).mkdir()
            watch.add(tmp_path / name, tell)
        (tmp_path / "first/a.toml").write_text("x")
        (tmp_path / "second/b.toml").write_text("x")
        for _ in range(100):
            if told:
                break
            await asyncio.sleep(0.01)

    asyncio.run(run())
    assert told == [{"b"}]
    assert len(failed) == 1
