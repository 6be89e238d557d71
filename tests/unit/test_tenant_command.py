"""innkeeper tenant: who may be removed, and which user id is given to whom."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer

from innkeeper.cli import folders, tenant
from innkeeper.cli.app import Context
from innkeeper.spec.node import Layout
from innkeeper.spec.site import SiteSpec
from innkeeper.supervisor.registry import LastGood

SITE = 'tenant = "bob"\n'


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A node that is down, with the tenant bob."""
    found = Layout(tmp_path)
    for directory in (found.sites, found.tenants):
        directory.mkdir(parents=True)
    found.tenant_file("bob").write_text("uid = 20001\n")
    return found


def remove(layout: Layout) -> None:
    tenant.remove(cast("typer.Context", SimpleNamespace(obj=Context(layout))), "bob", purge=False)


def refused(layout: Layout, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(typer.Exit):
        remove(layout)
    assert layout.tenant_file("bob").exists()
    return capsys.readouterr().err


def serve(monkeypatch: pytest.MonkeyPatch, **tenants: str) -> None:
    """Have a node be up, with these sites."""
    sites = [{"domain": name.replace("_", "."), "tenant": owner} for name, owner in tenants.items()]
    answer: Any = {"sites": sites}
    monkeypatch.setattr(Context, "ask_if_up", lambda *_: answer)


def test_a_tenant_is_not_removed_while_a_broken_file_leaves_its_site_in_force(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    layout.site_file("whole.test").write_text(SITE)
    layout.site_file("broken.test").write_text("tenant =")
    LastGood(layout.last_good, SiteSpec, pytest.fail).keep(
        "broken.test", folders.sites(layout).specs["whole.test"]
    )
    assert "bob has sites: broken.test, whole.test" in refused(layout, capsys)
    for name in ("whole.test", "broken.test"):
        layout.site_file(name).unlink()
    remove(layout)
    assert not layout.tenant_file("bob").exists()


def test_a_tenant_is_not_removed_while_the_node_serves_a_site_of_its(
    layout: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, moved_test="bob", gone_test="bob", other_test="carol")
    layout.site_file("moved.test").write_text('tenant = "nobody-yet"\n')
    layout.site_file("other.test").write_text('tenant = "carol"\n')
    assert "bob has sites: moved.test\n" in refused(layout, capsys)
    layout.site_file("moved.test").unlink()
    remove(layout)
    assert not layout.tenant_file("bob").exists()
