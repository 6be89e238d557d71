"""The layout's paths, the node's settings, tenants, runtimes, and the tables for the docs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from innkeeper.spec import names
from innkeeper.spec.node import Layout, NodeSettings, parse_node
from innkeeper.spec.problem import SpecError
from innkeeper.spec.reference import Row, describe
from innkeeper.spec.runtime import RuntimeSpec, parse_runtime
from innkeeper.spec.site import SiteSpec
from innkeeper.spec.tenant import TenantSpec, parse_tenant, render_tenant

LAYOUT = Layout(Path("/r"))


def test_the_paths_of_a_node() -> None:
    found = {
        "settings_file": LAYOUT.settings_file,
        "tenant_file": LAYOUT.tenant_file("alice"),
        "runtime_file": LAYOUT.runtime_file("python3.11"),
        "site_file": LAYOUT.site_file("a.org"),
        "tenant_home": LAYOUT.tenant_home("alice"),
        "tenant_www": LAYOUT.tenant_www("alice"),
        "tenant_tmp": LAYOUT.tenant_tmp("alice"),
        "removed": LAYOUT.removed,
        "last_good": LAYOUT.last_good,
        "last_good_tenants": LAYOUT.last_good_tenants,
        "last_good_runtimes": LAYOUT.last_good_runtimes,
        "node_logs": LAYOUT.node_logs,
        "control_socket": LAYOUT.control_socket,
        "lock": LAYOUT.lock,
        "nginx_conf": LAYOUT.nginx_conf,
        "nginx_pid": LAYOUT.nginx_pid,
        "pages": LAYOUT.pages,
        "stage": LAYOUT.stage,
        "live": LAYOUT.live("a.org"),
        "trees": LAYOUT.trees,
        "route": LAYOUT.route("www.a.org"),
    }
    assert {name: str(path) for name, path in found.items()} == {
        "settings_file": "/r/etc/innkeeper/innkeeper.toml",
        "tenant_file": "/r/etc/innkeeper/tenants/alice.toml",
        "runtime_file": "/r/etc/innkeeper/runtimes/python3.11.toml",
        "site_file": "/r/etc/innkeeper/sites/a.org.toml",
        "tenant_home": "/r/var/lib/innkeeper/tenants/alice/home",
        "tenant_www": "/r/var/lib/innkeeper/tenants/alice/www",
        "tenant_tmp": "/r/var/lib/innkeeper/tenants/alice/tmp",
        "removed": "/r/var/lib/innkeeper/removed",
        "last_good": "/r/var/lib/innkeeper/last-good",
        "last_good_tenants": "/r/var/lib/innkeeper/last-good-tenants",
        "last_good_runtimes": "/r/var/lib/innkeeper/last-good-runtimes",
        "node_logs": "/r/var/log/innkeeper/.node",
        "control_socket": "/r/run/innkeeper/control.sock",
        "lock": "/r/run/innkeeper/keeper.lock",
        "nginx_conf": "/r/run/innkeeper/nginx.conf",
        "nginx_pid": "/r/run/innkeeper/nginx.pid",
        "pages": "/r/run/innkeeper/pages",
        "stage": "/r/run/innkeeper/stage",
        "live": "/r/run/innkeeper/live/a.org",
        "trees": "/r/run/innkeeper/trees",
        "route": "/r/run/innkeeper/sites/www.a.org",
    }


def test_the_root_of_a_real_node() -> None:
    assert Layout(Path("/")).run == Path("/run/innkeeper")
    assert Layout(Path("/")) == Layout(Path("/"))


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "a\0", ".node"])
def test_a_name_is_one_segment_of_a_path(name: str) -> None:
    for method in (LAYOUT.site_file, LAYOUT.tenant_home, LAYOUT.log_dir, LAYOUT.live, LAYOUT.route):
        with pytest.raises(ValueError, match="one file"):
            method(name)


@pytest.mark.parametrize(
    ("seen", "lies"),
    [
        ("/home/alice", "home"),
        ("/home/alice/blog/static", "home/blog/static"),
        ("/var/www", "www"),
        ("/var/www/a", "www/a"),
        ("/tmp/a", "tmp/a"),
    ],
)
def test_where_a_tenants_path_lies_on_the_host(seen: str, lies: str) -> None:
    assert LAYOUT.on_host("alice", seen) == LAYOUT.tenant_data("alice") / lies


@pytest.mark.parametrize("path", ["/", "/etc", "/home/bob", "/home/alicex", "/var/wwwx", "x", "/tmp/../etc"])
def test_other_paths_are_nowhere_on_the_host(path: str) -> None:
    with pytest.raises(ValueError, match="none of the places"):
        LAYOUT.on_host("alice", path)


def test_every_tenant_place_has_its_place_on_the_host() -> None:
    for place in names.tenant_places("alice"):
        assert LAYOUT.on_host("alice", place).parent == LAYOUT.tenant_data("alice")


def test_settings_have_defaults() -> None:
    assert parse_node("", file="x") == NodeSettings()
    assert NodeSettings().isolation == "best"
    assert (NodeSettings().first_uid, NodeSettings().last_uid) == (20_000, 59_999)


def test_settings() -> None:
    text = """
        isolation = "full"
        first_uid = 70000
        last_uid = 80000
        starts = 4
        max_body = "1G"
        nginx_user = "nginx"
        nginx_workers = 3
        default_runtime = "python3.12"
        timeout = 60
        idle = 0
    """
    assert parse_node(text, file="x") == NodeSettings(
        isolation="full",
        first_uid=70_000,
        last_uid=80_000,
        starts=4,
        max_body="1g",
        nginx_user="nginx",
        nginx_workers=3,
        default_runtime="python3.12",
        timeout=60,
        idle=0,
    )


@pytest.mark.parametrize(
    "text",
    [
        "first_uid = 60000",
        "first_uid = 0",
        "last_uid = 70000",
        "starts = -1",
        'max_body = "100 MB"',
        'nginx_user = "root"',
        "nginx_workers = -1",
        'nginx_user = "www-data; x"',
        "isolation = true",
        "isolation = []",
    ],
)
def test_bad_settings(text: str) -> None:
    with pytest.raises(SpecError, match=text.partition(" ")[0]):
        parse_node(text, file="x")


def test_a_tenant() -> None:
    spec = parse_tenant("alice", "uid = 20001\n", file="alice.toml")
    assert spec == TenantSpec(name="alice", uid=20_001)
    assert render_tenant(spec) == "uid = 20001\n"


def test_a_runtime() -> None:
    text = 'python = "/opt/django/bin/python3"\npreload = ["django.http", "flask"]\n'
    assert parse_runtime("python3.11-django", text, file="x") == RuntimeSpec(
        name="python3.11-django", python="/opt/django/bin/python3", preload=("django.http", "flask")
    )


def test_the_table_of_keys() -> None:
    rows = {(row.table, row.key): row for row in describe(SiteSpec)}
    assert ("", "domain") not in rows
    assert rows["", "tenant"].default == "required"
    assert rows["[app]", "processes"] == Row(
        "[app]", "processes", "whole number", "1", "1 to 64", "processes that answer requests"
    )
    assert rows["[[static]]", "url"].type == "text"
    assert rows["[https]", "force"].default == "false"


@pytest.mark.parametrize("wanted", [SiteSpec, TenantSpec, RuntimeSpec, NodeSettings])
def test_every_key_has_help(wanted: type[msgspec.Struct]) -> None:
    for row in describe(wanted):
        assert row.help and row.type, row
        assert row.allowed or row.type in ("true or false", "table", "list"), row
