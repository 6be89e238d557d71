"""Tenants whose files are broken: in force as they were last, and told as broken, not as unknown."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from innkeeper.spec.node import Layout, NodeSettings
from innkeeper.spec.problem import Problem, SpecError
from innkeeper.spec.site import SiteSpec
from innkeeper.supervisor import starting
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.tenants import Tenants


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path)
    found.tenants.mkdir(parents=True)
    return found


def read(layout: Layout) -> Tenants:
    """As a supervisor that starts has them."""
    return Tenants(layout, NodeSettings(), pytest.fail)


def problem_of_a_site(tenants: Tenants) -> Problem:
    services = SimpleNamespace(tenants=tenants.specs, tenant_faults=tenants.faults)
    with pytest.raises(SpecError) as caught:
        starting.tenant_of(SiteSpec(domain="a.test", tenant="alice"), cast("Services", services))
    return caught.value.problem


def test_a_broken_file_leaves_the_tenant_as_it_was_also_for_the_next_supervisor(layout: Layout) -> None:
    file = layout.tenant_file("alice")
    file.write_text('uid = 20007\n[limits]\nmemory = "333m"\n')
    tenants = read(layout)
    before = tenants.specs["alice"]
    file.write_text("uid = ")
    tenants.refresh({"alice"})
    assert tenants.specs == {"alice": before}
    for _ in range(2):
        restarted = read(layout)
        assert restarted.specs == {"alice": before}
        assert restarted.faults["alice"].code == "tenant-invalid"
    assert layout.last_good_tenants.stat().st_mode & 0o777 == 0o700
    file.unlink()
    assert not read(layout).specs
    file.write_text("uid = ")
    assert not read(layout).specs


def test_a_site_of_a_tenant_whose_file_was_never_good_is_told_what_is_wrong_with_it(layout: Layout) -> None:
    assert problem_of_a_site(read(layout)).code == "tenant-unknown"
    layout.tenant_file("alice").write_text("uid = ")
    tenants = read(layout)
    assert problem_of_a_site(tenants) == tenants.faults["alice"]
