"""Cold starts: each site asleep, asked once, one after the other; milliseconds from connect to first byte."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.systems.base import App, System

_PAUSE = 0.05  # seconds between two visitors
_REST = 10.0  # seconds after a system's start and the first round, in which it may see to itself


def make(system: System, count: int) -> list[App]:
    """So many sites of each kind that the system serves."""
    return [
        system.make(f"{kind.split()[0].lower()}{number}", kind)
        for kind in system.kinds
        for number in range(count)
    ]


def measure(system: System, sites: Sequence[App]) -> dict[str, list[float]]:
    """By kind. Everything has run once before, so the disk is not measured."""
    for app in sites:
        _ask(system, app)
    system.sleep()
    time.sleep(_REST)
    found: dict[str, list[float]] = {}
    for app in sorted(
        sites, key=lambda app: int("".join(filter(str.isdigit, app.name)))
    ):  # the kinds in turn
        time.sleep(_PAUSE)
        found.setdefault(app.kind, []).append(_ask(system, app))
    return found


def _ask(system: System, app: App) -> float:
    status, body, elapsed = system.ask(app)
    if status != 200:
        raise SystemExit(f"bench: {system.name}: {app.host} answered {status}: {body[:500]!r}")
    return elapsed
