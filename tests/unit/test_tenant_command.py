"""innkeeper tenant: who may be removed, and which user id is given to whom."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer

from innkeeper.cli import folders, tenant
from innkeeper.cli.app import Context
from innkeeper.kernel import processes
from innkeeper.spec.node import Layout, NodeSettings
from innkeeper.spec.site import SiteSpec
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor.registry import LastGood

SITE = 'tenant = "bob"\n'
FIRST = os.getuid()  # the user whom homes that a test makes belong to


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


def chosen(layout: Layout, name: str = "carol", *, others: int = 0) -> int | None:
    """Out of three user ids, of which so many are other tenants'."""
    settings = NodeSettings(first_uid=FIRST, last_uid=FIRST + 2)
    known = [TenantSpec(name=f"t{number}", uid=FIRST + number) for number in range(others)]
    return tenant._choose_uid(layout, settings, name, known)


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Those who have processes."""
    found: set[int] = set()
    monkeypatch.setattr(processes, "users", lambda: found)
    return found


def test_a_user_id_is_not_given_anew_while_a_process_has_it(layout: Layout, users: set[int]) -> None:
    assert chosen(layout, others=1) == FIRST + 1
    users.add(FIRST + 1)
    assert chosen(layout, others=1) == FIRST + 2
    users.add(FIRST + 2)
    assert chosen(layout, others=1) is None
    users.clear()
    assert chosen(layout, others=1) == FIRST + 1


def test_a_user_id_is_not_given_anew_while_files_of_the_removed_tenant_are_set_aside(
    layout: Layout, users: set[int]
) -> None:
    layout.tenant_home("bob").mkdir(parents=True)
    remove(layout)
    (aside,) = layout.removed.iterdir()
    assert chosen(layout) == FIRST + 1
    assert chosen(layout, "bob") == FIRST + 1
    aside.rename(layout.root / "elsewhere")
    assert chosen(layout) == FIRST


def test_whose_home_is_there_has_its_own_user_id_also_while_it_runs(layout: Layout, users: set[int]) -> None:
    layout.tenant_home("bob").mkdir(parents=True)
    users.add(FIRST)
    assert chosen(layout, "bob") == FIRST
    assert chosen(layout, "carol") == FIRST + 1


def test_all_users_that_run_something_are_known() -> None:
    if os.getuid() == 0:
        with subprocess.Popen(["sleep", "60"], user=54321) as process:
            assert {0, 54321} <= processes.users()
            process.kill()
    assert os.getuid() in processes.users()
