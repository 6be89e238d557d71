"""One node for all tests that leave it as they found it, and one of its own for each that does not."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from innkeeper.kernel import namespaces
from tests.node.harness import Node, running


def pytest_configure() -> None:
    """Have what is started here heed what a terminal signals; tests that run in the background do not themselves."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a node need root, nginx and namespaces; where one is missing they say so."""
    reason = _missing()
    if reason:
        for item in items:
            if "tests/node" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many attacks were tried, and how many got what they wanted."""
    tried = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if "test_attacks.py" in report.nodeid and report.when == "call"
    ]
    if tried:
        broke = sum(report.failed for report in tried)
        terminalreporter.write_line(f"attacks: {len(tried)} tried, {broke} broke what is promised")


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "a node needs root"
    if shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") is None:
        return "nginx is not installed"
    refused = namespaces.permitted()
    return f"this machine does not permit namespaces: {refused}" if refused else None


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """A node that all tests share: each takes domains of its own."""
    # Users of its own, so that the packet filter of no other node stops them: not of another test or run.
    first = 80_000 + os.getpid() % 1000 * 1000
    with running(settings=f"first_uid = {first}\nlast_uid = {first + 999}\n") as shared:
        yield shared


@pytest.fixture
def own_node() -> Iterator[Node]:
    """A node for a test that kills parts of it."""
    with running() as node:
        yield node
