"""Logs that were moved away under their writers: who has to be given another, and what it costs to look."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from innkeeper.edge import logs
from innkeeper.spec.node import Layout, NodeSettings
from innkeeper.spec.site import AppSpec, SiteSpec
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor.confines import Confines
from innkeeper.supervisor.housekeeping import Housekeeping

SITES = 40


class Counting(Confines):
    """All groups have processes in them; `asked` is how often all of them were named."""

    def __init__(self) -> None:
        super().__init__(None)
        self.asked = 0

    def awake(self) -> dict[str, list[str]]:
        self.asked += 1
        return super().awake()


def test_a_look_asks_once_who_is_awake_and_renews_what_they_have_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "prepare", lambda *_, **__: None)
    layout, confines, renewed = Layout(tmp_path), Counting(), []
    sites = {
        domain: SiteSpec(domain=domain, tenant="alice", app=AppSpec(wsgi="/var/www/a.py"))
        for domain in (f"{number}.test" for number in range(SITES))
    }
    for domain in sites:
        confines.adopt("alice", domain)
        layout.log_dir(domain).mkdir(parents=True)
        for kind in ("error", "server"):
            (layout.log_dir(domain) / f"{kind}.log").touch()
    (layout.log_dir("7.test") / "error.log").unlink()
    confines.leave("alice", "9.test")
    (layout.log_dir("9.test") / "error.log").unlink()
    services = SimpleNamespace(
        layout=layout,
        settings=NodeSettings(),
        confines=confines,
        tenants={"alice": TenantSpec(name="alice", uid=20000)},
        log=pytest.fail,
    )
    keeping = Housekeeping(cast("Any", services), sites, lambda *which: renewed.append(which))
    asyncio.run(keeping.look())
    assert renewed == [("7.test", "error")]
    assert confines.asked == 1
