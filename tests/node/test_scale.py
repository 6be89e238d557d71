"""Thousands of sleeping sites cost next to nothing."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.node.harness import PLAIN, Answer, Node, await_true

SITES = 5_000


@pytest.mark.alone
def test_five_thousand_sites() -> None:
    node = Node()
    try:
        node.start()
        node.tenant("alice")
        node.stop()
        for number in range(SITES):
            node.layout.site_file(f"s{number}.test").write_text(
                'tenant = "alice"\n[app]\nwsgi = "/var/www/app.py"\n'
            )
        node.put("alice", "/var/www/app.py", PLAIN.replace("{answer}", "one of many"))
        with ThreadPoolExecutor() as pool:
            first = pool.submit(_first_answer, node, f"s{SITES - 1}.test")
            node.start()
        assert first.result().text == "one of many"  # and no page that says that there is no such site
        assert node.get("s0.test").text == node.get(f"s{SITES - 1}.test").text == "one of many"
        status = node.status()
        assert len(status["sites"]) == SITES
        assert _resident(status["keeper_pid"]) + _resident(status["supervisor_pid"]) < 200e6

        began = time.monotonic()
        node.site("one-more.test", 'tenant = "alice"\n[app]\nwsgi = "/var/www/app.py"\n')
        await_true(lambda: node.get("one-more.test").status == 200, 5, step=0.005)
        assert time.monotonic() - began < 0.3

        pids, before, began = node.pids(), _cpu(node.pids()), time.monotonic()
        time.sleep(5)
        used = _cpu(pids) - before
        assert used / (time.monotonic() - began) < 0.01, f"{used} s of CPU in 5 s of nothing"

        began = time.monotonic()
        node.remove("one-more.test")
        await_true(lambda: node.get("one-more.test").status == 404, 5, step=0.005)
        assert time.monotonic() - began < 0.3
    finally:
        node.close()


def _first_answer(node: Node, domain: str) -> Answer:
    """What a visitor gets who asks from the moment on in which somebody listens."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return node.get(domain)


def _resident(pid: int) -> float:
    """Bytes of the process in memory, shared pages included."""
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return int(line.split()[1]) * 1024


def _cpu(pids: set[int]) -> float:
    """Seconds of CPU that the processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100
