"""Thousands of sites on one node: its start, its memory, one more site, and hundreds that wake within a second."""

from __future__ import annotations

import time
from typing import Any

from benchmarks import load
from benchmarks.measures import changes, starts
from benchmarks.systems.innkeeper import Innkeeper

AWAKE = 5  # sites that are awake, and watched
STORM = 500


def measure(node: Innkeeper, present: int, adds: int) -> dict[str, Any]:
    """A node with `present` sleeping sites: seconds until it is ready, memory of its daemons, and an added site."""
    node.crowd(present)
    watched = [node.make(f"watched{number}", "plain WSGI") for number in range(AWAKE)]
    node.start(watched)
    found: dict[str, Any] = {"sites": present, "ready_s": node.ready_after}
    time.sleep(2)
    status = node.status()
    found["memory"] = sum(resident(status[f"{name}_pid"]) for name in ("keeper", "supervisor"))
    found["adding"] = changes.adding(
        node, watched, lambda number: node.make(f"added{number}", "plain WSGI"), adds
    )
    return found


def first_asked(node: Innkeeper, present: int, count: int) -> list[float]:
    """Milliseconds of the cold starts of some plain apps while so many others sleep."""
    node.crowd(present)
    sites = [node.make(f"few{number}", "plain WSGI") for number in range(count)]
    node.start(sites)
    return starts.measure(node, sites)["plain WSGI"]


def storm(node: Innkeeper, kind: str = "Flask") -> dict[str, Any]:
    """Ask 500 sleeping sites within a second; and what visitors of sites that are awake notice.

    They have been awake before, as those that sleep have been: what a first start leaves behind is there.
    """
    sites = [node.make(f"storm{number}", kind) for number in range(STORM)]
    watched = [node.make(f"watched{number}", "plain WSGI") for number in range(AWAKE)]
    node.start([*sites, *watched])
    for app in sites:
        node.ask(app)
    node.sleep()
    time.sleep(2)
    hosts = [app.host for app in watched]
    for app in watched:
        node.ask(app)
    quiet = _watch(node, hosts, 3.0)
    with load.Trickle(node.port, hosts, changes.RATE) as trickle:
        outcome, failures = load.crowd(node.port, [app.host for app in sites], 1.0)
    return {
        "sites": STORM,
        "answered": outcome.requests - outcome.failed,
        "failures": failures[:5],
        "ms": outcome.ms,
        "quiet_p99_ms": quiet.ms["p99"],
        "meanwhile_p99_ms": trickle.outcome.ms["p99"],
        "ratio": trickle.outcome.ms["p99"] / quiet.ms["p99"],
        "failed_elsewhere": trickle.outcome.failed,
    }


def _watch(node: Innkeeper, hosts: list[str], seconds: float) -> load.Outcome:
    with load.Trickle(node.port, hosts, changes.RATE) as trickle:
        time.sleep(seconds)
    return trickle.outcome


def resident(pid: int) -> int:
    """Bytes of the process in memory, shared pages included."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) * 1024
