"""What others notice when a site is added or reloaded: time until it is live, failed and delayed requests."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.load import Outcome, Trickle
from benchmarks.systems.base import App, System

RATE = 100.0  # requests a second to the sites that are there already
_QUIET = 3.0  # seconds that are looked at with nothing changing
_LIMIT = 60.0


def adding(system: System, watched: Sequence[App], make: Callable[[int], App], count: int) -> dict[str, Any]:
    """Add `count` sites one after the other; until each is live (ms), and what visitors of others notice."""
    quiet = _quiet(system, watched)
    new = [make(number) for number in range(count)]
    times = []
    with Trickle(system.port, [app.host for app in watched], RATE) as trickle:
        for app in new:
            began = time.monotonic()
            system.add(app)
            while not system.answers(app):
                if time.monotonic() - began > _LIMIT:
                    raise SystemExit(f"bench: {system.name}: {app.host} is not live within {_LIMIT:.0f} s")
                time.sleep(0.002)
            times.append((time.monotonic() - began) * 1000)
            time.sleep(0.2)
    return {"live_ms": statistics.median(times), "slowest_ms": max(times), **_noticed(quiet, trickle.outcome)}


def reloading(system: System, app: App, count: int) -> dict[str, Any]:
    """Reload one site again and again; what its own visitors notice."""
    quiet = _quiet(system, [app])
    with Trickle(system.port, [app.host], RATE) as trickle:
        for _ in range(count):
            system.reload(app)
            time.sleep(system.reload_pause)
    return {"reloads": count, **_noticed(quiet, trickle.outcome)}


def _quiet(system: System, watched: Sequence[App]) -> Outcome:
    for app in watched:
        system.ask(app)
    with Trickle(system.port, [app.host for app in watched], RATE) as trickle:
        time.sleep(_QUIET)
    return trickle.outcome


def _noticed(quiet: Outcome, meanwhile: Outcome) -> dict[str, float]:
    return {
        "requests": meanwhile.requests,
        "failed": meanwhile.failed,
        "quiet_p99_ms": quiet.ms["p99"],
        "quiet_max_ms": quiet.ms["max"],
        "p99_ms": meanwhile.ms["p99"],
        "max_ms": meanwhile.ms["max"],
    }
