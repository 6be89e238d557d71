"""What learning is worth: the cold starts of a mix of sites before and after the node has learned from them."""

from __future__ import annotations

import json
import statistics
from typing import Any

from rich.progress import Progress

from benchmarks import apps
from tests.node.harness import Node

TENANT = "bench"


def measure(node: Node, sites: int, progress: Progress) -> dict[str, Any]:
    """Medians of cold starts in milliseconds with the configured list and with the learned one, and the ratio."""
    node.tenant(TENANT)
    kinds = list(apps.MIX)
    domains = {f"mix{number}.localhost": kinds[number % len(kinds)] for number in range(sites)}
    task = progress.add_task("learning", total=3 * sites)
    for domain, kind in domains.items():
        entry = f"/home/{TENANT}/{domain}.py"
        node.put(TENANT, entry, apps.MIX[kind])
        node.site(domain, f'tenant = "{TENANT}"\n[app]\nwsgi = "{entry}"\n')
        node.await_route(domain)
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
    found = {}
    for domain in domains:
        node.cli("site", "enable", domain)
        node.await_state(domain, "asleep", "serving")
        answer = node.get(domain)
        if answer.status != 200:
            raise SystemExit(f"bench: {domain} answered {answer.status}: {node.log(domain, 'error')}")
        found[domain] = answer.seconds * 1000
        node.cli("site", "disable", domain)
        node.await_state(domain, "disabled")
        progress.advance(task)
    return found
