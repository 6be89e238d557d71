"""What the walls cost: the same node with the full sandbox and with none that needs CAP_SYS_ADMIN, in turn."""

from __future__ import annotations

import re
import statistics
import subprocess

from rich.progress import Progress

from tests.node.harness import Node, running

MOST_MS = 5.0
LEAST_RATIO = 0.97
BARE = (
    "setpriv",
    "--bounding-set",
    "-sys_admin",
    "--inh-caps",
    "-sys_admin",
)  # no namespaces, so no own root
_ROUNDS = 5
_SECONDS = 2


def measure(sites: int, progress: Progress) -> dict[str, float]:
    """Medians of cold starts (ms) and of requests a second, with walls and without; difference and ratio."""
    task = progress.add_task("walls", total=sites + _ROUNDS)
    with running() as walled, running(prefix=BARE) as bare:
        starts: dict[Node, list[float]] = {walled: [], bare: []}
        rates: dict[Node, list[float]] = {walled: [], bare: []}
        for number in range(sites):
            for node in (walled, bare) if number % 2 else (bare, walled):
                node.app(f"site{number}.localhost", tenant="bench")
                starts[node].append(node.get(f"site{number}.localhost").seconds * 1000)
            progress.advance(task)
        for number in range(_ROUNDS):
            for node in (walled, bare) if number % 2 else (bare, walled):
                rates[node].append(_rate(node))
            progress.advance(task)
    with_walls, without = statistics.median(starts[walled]), statistics.median(starts[bare])
    return {
        "walled_ms": with_walls,
        "bare_ms": without,
        "cold_start_ms": with_walls - without,
        "walled_rate": statistics.median(rates[walled]),
        "bare_rate": statistics.median(rates[bare]),
        "throughput_ratio": statistics.median(rates[walled]) / statistics.median(rates[bare]),
    }


def _rate(node: Node) -> float:
    """Requests a second that one site answers."""
    url, host = f"http://127.0.0.1:{node.port}/", "Host: site0.localhost"
    command = ["wrk", "-t1", "-c8", f"-d{_SECONDS}s", "-H", host, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    if found is None or "Non-2xx" in said:
        raise SystemExit(f"bench: wrk says: {said}")
    return float(found[1])
