"""Memory that a worker gives back when it has a quiet second; and nobody is turned away meanwhile."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from benchmarks import apps
from innkeeper.kernel import sharing
from tests.node.harness import Node, await_true, descendants

BUSY = """
import threading, time
from flask import Flask
application = Flask(__name__)
threading.Thread(target=lambda: time.sleep(600), daemon=True).start()

@application.get("/")
def front():
    return "flask"
"""


def copied(node: Node, domain: str) -> int:
    """Bytes of memory that the sandbox's processes have for themselves, or share with their zygote as copies."""
    found = 0
    for pid in descendants(node.show(domain)["pid"]):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        found += next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) * 1024
    return found


@pytest.mark.skipif(sharing._pages is None, reason="kernel/pages.c is not compiled here")
def test_a_quiet_worker_gives_memory_back_and_serves_on(node: Node) -> None:
    node.app("quiet-memory.test", apps.FLASK, app="threads = 4")
    assert node.get("quiet-memory.test").text == "flask"
    before = copied(node, "quiet-memory.test")
    await_true(lambda: copied(node, "quiet-memory.test") < before - 1_500_000, 15, step=0.2)
    for _ in range(20):
        assert node.get("quiet-memory.test").text == "flask"


def test_an_app_with_threads_of_its_own_is_left_alone_and_serves(node: Node) -> None:
    node.app("threaded-memory.test", BUSY, app="threads = 2")
    for _ in range(3):
        assert node.get("threaded-memory.test").text == "flask"
        time.sleep(1.5)


def test_visitors_who_come_just_then_are_served(node: Node) -> None:
    domains = [f"tidy{number}.test" for number in range(12)]
    for domain in domains:
        node.app(domain, apps.FLASK, app="threads = 3")
    failures: list[str] = []

    def visit(domain: str) -> None:
        chance = random.Random(domain)
        for _ in range(3):
            for wait in (0.0, 0.98 + chance.random() * 0.06, 0.001, 0.002, 0.004):
                time.sleep(wait)
                answer = node.get(domain)
                if answer.text != "flask" or answer.seconds > 5:
                    failures.append(
                        f"{domain}: {answer.status} {answer.text[:200]} after {answer.seconds:.1f} s"
                    )
            node.cli("site", "reload", domain)

    visitors = [threading.Thread(target=visit, args=(domain,)) for domain in domains]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert not failures
