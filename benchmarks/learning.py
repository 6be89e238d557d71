"""What learning is worth: the cold starts of a mix of sites before and after the node has learned from them."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable
from typing import Any

from rich.progress import Progress

from benchmarks import apps
from innkeeper.control import client
from tests.node.harness import Node

TENANT = "bench"
_LIMIT = 60.0  # seconds until all are switched
_PAUSE = 0.05  # seconds between two visitors


def measure(node: Node, sites: int, progress: Progress) -> dict[str, Any]:
    """Medians of cold starts in milliseconds with the configured list and with the learned one, and the ratio."""
    node.tenant(TENANT)
    kinds = list(apps.MIX)
    domains = {f"mix{number}.localhost": kinds[number % len(kinds)] for number in range(sites)}
    task = progress.add_task("learning", total=3 * sites)
    for domain, kind in domains.items():
        node.put(TENANT, _entry(domain), apps.MIX[kind])
    _wake_all(node, domains, progress, task)  # for the disk's sake, and for learning
    configured = _wake_all(node, domains, progress, task)
    runtime = node.status()["runtimes"][0]["name"]
    told = json.loads(node.cli("runtime", "warm", runtime, "--json", timeout=300).stdout)
    learned = _wake_all(node, domains, progress, task)
    before, after = statistics.median(configured.values()), statistics.median(learned.values())
    return {
        "sites": sites,
        "configured_ms": before,
        "learned_ms": after,
        "ratio": before / after,
        "preloaded": len(told["preloaded"]),
        "memory": told["memory"],
        "left_out": told["left_out"],
        "kinds": {
            kind: [
                statistics.median(found[each] for each, its in domains.items() if its == kind)
                for found in (configured, learned)
            ]
            for kind in kinds
        },
    }


def _wake_all(node: Node, domains: dict[str, str], progress: Progress, task: Any) -> dict[str, float]:
    """Milliseconds of a cold start of each, one after the other; all are off when it begins and when it ends."""
    _switch(node, domains, on=True)
    found = {}
    for domain in domains:
        time.sleep(_PAUSE)
        answer = node.get(domain)
        if answer.status != 200:
            raise SystemExit(f"bench: {domain} answered {answer.status}: {node.log(domain, 'error')}")
        found[domain] = answer.seconds * 1000
        progress.advance(task)
    _switch(node, domains, on=False)
    return found


def _switch(node: Node, domains: Iterable[str], *, on: bool) -> None:
    """Switch all sites on or off: by their files, as an operator would."""
    for domain in domains:
        text = f'tenant = "{TENANT}"\nenabled = {str(on).lower()}\n[app]\nwsgi = "{_entry(domain)}"\n'
        node.site(domain, text)
    wanted, end = "asleep" if on else "disabled", time.monotonic() + _LIMIT
    while {site["state"] for site in client.ask(node.layout.control_socket, {"do": "status"})["sites"]} != {
        wanted
    }:
        if time.monotonic() > end:
            raise SystemExit(
                f"bench: not all sites are {wanted} within {_LIMIT:.0f} s: {node.status()['sites']}"
            )
        time.sleep(0.05)


def _entry(domain: str) -> str:
    return f"/home/{TENANT}/{domain}.py"
