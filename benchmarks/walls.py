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
_ROUNDS = 4
_SECONDS = 1


def measure(sites: int, pairs: int, progress: Progress) -> dict[str, float]:
    """Medians of cold starts (ms) and of requests a second, with walls and without; difference and ratio.

    Nodes of one kind differ among themselves by as much as a sixth, so there are several `pairs` of them.
    """
    task = progress.add_task("walls", total=pairs)
    starts: dict[str, list[float]] = {"walled": [], "bare": []}
    rates: dict[str, list[float]] = {"walled": [], "bare": []}
    for _ in range(pairs):
        with running() as walled, running(prefix=BARE) as bare:
            nodes = {"walled": walled, "bare": bare}
            for number in range(sites):
                for kind in nodes if number % 2 else reversed(nodes):
                    nodes[kind].app(f"site{number}.localhost", tenant="bench")
                    starts[kind].append(nodes[kind].get(f"site{number}.localhost").seconds * 1000)
            for number in range(_ROUNDS):
                for kind in nodes if number % 2 else reversed(nodes):
                    rates[kind].append(_rate(nodes[kind]))
        progress.advance(task)
    ms = {kind: statistics.median(found) for kind, found in starts.items()}
    rate = {kind: statistics.median(found) for kind, found in rates.items()}
    return {
        "walled_ms": ms["walled"],
        "bare_ms": ms["bare"],
        "cold_start_ms": ms["walled"] - ms["bare"],
        "walled_rate": rate["walled"],
        "bare_rate": rate["bare"],
        "throughput_ratio": rate["walled"] / rate["bare"],
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
