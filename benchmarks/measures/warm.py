"""Warm requests through systems that are up at the same time, in turn, so that drift hits all alike."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import load
from benchmarks.systems.base import App, System

CONNECTIONS = 16
THREADS = 2  # of the visitors: for a small file over a new connection one needs longer than nginx


class Way(NamedTuple):
    """How the site is asked."""

    path: str
    close: bool


WAYS = {
    "dynamic": Way("/", False),
    "dynamic, a connection each": Way("/", True),
    "static, 1 kB": Way("/static/small.txt", False),
    "static, 1 MB": Way("/static/large.bin", False),
    "static, 1 kB, a connection each": Way("/static/small.txt", True),
}


def measure(
    systems: Sequence[tuple[System, App]], seconds: float, rounds: int
) -> dict[str, dict[str, dict[str, float]]]:
    """By way and system: requests a second, milliseconds (p50, p99) and failures.

    The rate of the first system over that of each is "ratio", the median over the rounds.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, way in WAYS.items():
        outcomes: list[list[load.Outcome]] = [[] for _ in systems]
        for number in range(rounds):
            order = list(range(len(systems)))
            for index in order if number % 2 else reversed(order):
                system, app = systems[index]
                if way.path == "/" or system.serves_static:
                    outcomes[index].append(
                        load.hammer(
                            system.port,
                            [app.host],
                            seconds,
                            connections=CONNECTIONS,
                            path=way.path,
                            close=way.close,
                            threads=THREADS,
                        )
                    )
        found[name] = {
            system.name: _figures(outcomes[0], of)
            for (system, _), of in zip(systems, outcomes, strict=True)
            if of
        }
    return found


def _figures(first: list[load.Outcome], of: list[load.Outcome]) -> dict[str, float]:
    ratios = [ours.rate / theirs.rate for ours, theirs in zip(first, of, strict=True)]
    return {
        "rate": statistics.median(each.rate for each in of),
        "p50_ms": statistics.median(each.ms["p50"] for each in of),
        "p99_ms": statistics.median(each.ms["p99"] for each in of),
        "failed": sum(each.failed for each in of),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }
