"""Logs: whose they are when a domain passes on, and what becomes of them when somebody moves or deletes them."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator

import pytest

from innkeeper.edge import logs
from tests.node.harness import Node, await_true, running

NOISY = """
import glob, sys
def application(environ, start_response):
    print("stdout of {0}", flush=True)
    print("stderr of {0}", file=sys.stderr, flush=True)
    start_response("200 OK", [])
    found = ""
    for path in sorted(glob.glob("/var/log/*")):
        try:
            found += open(path).read()
        except OSError as error:
            found += str(error)
    return [found.encode()]
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """One of their own: these tests wait until no site is left, and until nobody has a user id any more."""
    with running(settings="first_uid = 27000\nlast_uid = 27999\n") as own:
        yield own


@pytest.fixture
def domain(node: Node) -> Iterator[str]:
    """One of its own for each test: nginx goes on writing to a log for some seconds after it was moved."""
    name = f"{uuid.uuid4().hex}.test"
    yield name
    node.layout.site_file(name).unlink(missing_ok=True)
    node.await_gone()
    for tenant in ("first-owner", "second-owner"):
        node.cli("tenant", "rm", tenant, "--purge", check=False)
    shutil.rmtree(node.layout.removed, ignore_errors=True)


def serve(node: Node, tenant: str, domain: str) -> None:
    node.app(domain, NOISY.replace("{0}", tenant), tenant=tenant)
    await_true(lambda: f"stdout of {tenant}" in node.get(domain, f"/?asked-{tenant}").text, 10)


def test_the_next_tenant_of_a_domain_does_not_read_the_logs_of_the_former(node: Node, domain: str) -> None:
    serve(node, "first-owner", domain)
    assert "asked-first-owner" in await_true(lambda: node.log(domain, "access"), 5)
    serve(node, "second-owner", domain)
    read = await_true(
        lambda: (found := node.get(domain).text).count("stderr of second-owner") > 1 and found, 5
    )
    assert "first-owner" not in read
    former = list(node.layout.former_logs.iterdir())
    assert any("asked-first-owner" in (path / "access.log").read_text() for path in former)
    assert node.layout.former_logs.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kept", ["nothing", "logs"])
def test_whoever_gets_the_user_id_of_a_tenant_that_is_gone_does_not_read_its_logs(
    node: Node, domain: str, kept: str
) -> None:
    serve(node, "first-owner", domain)
    uid = node.uid("first-owner")
    node.remove(domain)
    node.await_gone()
    node.cli("tenant", "rm", "first-owner", *(["--purge"] if kept == "nothing" else []))
    assert not node.layout.log_dir(domain).exists()
    aside = [path.read_text() for path in node.layout.removed.glob("first-owner-*/logs/*/access.log")]
    assert any("asked-first-owner" in text for text in aside) is (kept == "logs")
    for home in node.layout.removed.glob("first-owner-*/home"):  # or nobody would get the user id
        shutil.rmtree(home)
    serve(node, "second-owner", domain)
    assert node.uid("second-owner") == uid
    assert "first-owner" not in node.get(domain).text


def test_a_deleted_directory_of_logs_is_made_anew_at_the_next_start(node: Node, domain: str) -> None:
    serve(node, "first-owner", domain)
    node.touch(domain, NOISY.replace("{0}", "first-owner"), tenant="first-owner")
    node.site(domain, node.layout.site_file(domain).read_text() + "idle = 1\n")
    node.get(domain)
    node.await_state(domain, "asleep")
    shutil.rmtree(node.layout.log_dir(domain))
    await_true(lambda: "stdout of first-owner" in node.get(domain).text, 5)
    assert not node.show(domain)["problems"]


def test_logs_of_sites_that_are_no_more_are_deleted_when_they_are_old(node: Node, domain: str) -> None:
    serve(node, "first-owner", domain)
    await_true(lambda: node.log(domain, "access"), 5)
    logs.sweep(node.layout, {domain}, days=0)
    assert node.log(domain, "access")
    logs.sweep(node.layout, set(), days=30)
    assert node.log(domain, "access")
    logs.sweep(node.layout, set(), days=-1)
    assert not node.layout.log_dir(domain).exists()
    assert node.layout.node_logs.exists()
