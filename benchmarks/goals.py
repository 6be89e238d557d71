"""What the figures are held to: benchmarks/results/summary.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks import environments, neighbours, walls
from benchmarks.measures.article import CONNECTIONS, QUEUE
from benchmarks.measures.budget import BUDGET
from innkeeper.spec.values import bytes_of

US, EMPEROR = "Innkeeper", "uWSGI Emperor, on demand"
BY_HAND = "nginx + uWSGI, by hand"
MB = 1e6
Figures = dict[str, Any]


class Goal(NamedTuple):
    """One figure and its limit; `least`: the figure may not be less, else it may not be more."""

    name: str
    value: float
    limit: float
    unit: str
    least: bool = False

    @property
    def ok(self) -> bool:
        return self.value >= self.limit if self.least else self.value <= self.limit


def goals(part: str, figures: Figures) -> list[Goal]:
    """The goals that a part's figures speak of; none where it was measured on too few systems."""
    found = _OF.get(part)
    return list(found(figures)) if found and figures else []


def _starts(figures: Figures) -> Iterator[Goal]:
    ours = figures[US]
    for kind, limit in (("Flask", 5.0), ("Django", 5.0)):
        peers = [of[kind]["median"] for name, of in figures.items() if name != US and kind in of]
        yield Goal(
            f"cold start, {kind}: fastest peer over ours", min(peers) / ours[kind]["median"], limit, "×", True
        )


def _many(figures: Figures) -> Iterator[Goal]:
    for present, ours in figures[US].items():
        if theirs := figures.get(EMPEROR, {}).get(present):
            ratio = theirs["median"] / ours["median"]
            yield Goal(
                f"cold start, plain WSGI among {present} sites: Emperor over ours", ratio, 1.0, "×", True
            )


def _article(figures: Figures) -> Iterator[Goal]:
    ours = figures[US]
    waking = [of["cold"]["ms"]["p99"] for name, of in figures.items() if name != US and of["wakes"]]
    if waking:
        ratio = min(waking) / ours["cold"]["ms"]["p99"]
        yield Goal("the article's experiment: best on-demand peer's p99 over ours", ratio, 5.0, "×", True)
    for visitors, ratio in ((CONNECTIONS, ours["warm_ratio"]), (QUEUE, ours["queue_ratio"])):
        yield Goal(f"the article's experiment, awake, {visitors} visitors: p99 over p50", ratio, 2.0, "×")
    yield Goal("the article's experiment: failed requests", ours["failed"], 0, "requests")


def _warm(figures: Figures) -> Iterator[Goal]:
    for way, systems in figures["Flask"].items():
        if BY_HAND in systems:
            limit = 1.0 if way.startswith("static") else 0.97
            yield Goal(
                f"warm requests, {way}: ours over hand-written", systems[BY_HAND]["ratio"], limit, "×", True
            )

    failed = sum(systems[US]["failed"] for kind in figures.values() for systems in kind.values())
    yield Goal("warm requests: failed", failed, 0, "requests")


def _memory(figures: Figures) -> Iterator[Goal]:
    yield Goal("memory of an awake Flask site", figures["Flask"] / MB, 9.0, "MB")


def _crowds(figures: Figures) -> Iterator[Goal]:
    for present, of in figures.items():
        yield Goal(f"a site more among {present}: live after", of["adding"]["live_ms"], 200.0, "ms")
        yield Goal(
            f"a site more among {present}: failed requests to others", of["adding"]["failed"], 0, "requests"
        )
        delay = of["adding"]["p99_ms"] - of["adding"]["quiet_p99_ms"]
        yield Goal(f"a site more among {present}: p99 of others, over quiet", delay, 10.0, "ms")
        if present == "10000":
            yield Goal(
                "memory of keeper and supervisor, 10000 sleeping sites", of["memory"] / MB, 100.0, "MB"
            )


def _storm(figures: Figures) -> Iterator[Goal]:
    yield Goal(
        "500 sites asked within a second: answered", figures["answered"], figures["sites"], "sites", True
    )
    yield Goal("500 sites asked within a second: p99", figures["ms"]["p99"] / 1000, 5.0, "s")
    yield Goal("500 sites asked within a second: p99 of awake sites over quiet", figures["ratio"], 3.0, "×")
    yield Goal(
        "500 sites asked within a second: failed elsewhere", figures["failed_elsewhere"], 0, "requests"
    )


def _budget(figures: Figures) -> Iterator[Goal]:
    yield Goal("1000 sites in 2 GB: failed requests", figures["failed"], 0, "requests")
    yield Goal(
        "1000 sites in 2 GB: most memory in use", figures["most_memory"] / MB, bytes_of(BUDGET) / MB, "MB"
    )


def _hibernation(figures: Figures) -> Iterator[Goal]:
    yield Goal("hibernation: failed requests", figures["failed"], 0, "requests")
    yield Goal("hibernation: started over thawed", figures["ratio"], 3.0, "×", True)


def _environments(figures: Figures) -> Iterator[Goal]:
    for name, row in figures.items():
        yield Goal(f"first start, {name}", row["cold_start_ms"], environments.limit(name, row), "ms")


def _learning(figures: Figures) -> Iterator[Goal]:
    yield Goal("learning: configured over learned", figures["ratio"], 1.0, "×", True)


def _walls(figures: Figures) -> Iterator[Goal]:
    yield Goal("walls: milliseconds of a cold start", figures["cold_start_ms"], walls.MOST_MS, "ms")
    yield Goal(
        "walls: throughput with over without", figures["throughput_ratio"], walls.LEAST_RATIO, "×", True
    )


def _neighbours(figures: Figures) -> Iterator[Goal]:
    for name, of in figures.items():
        yield Goal(f"neighbour of a {name}: p99 over p99 alone", of["ratio"], neighbours.LIMIT, "×")
        yield Goal(f"neighbour of a {name}: failed requests", of["failed"], 0, "requests")


_OF = {
    "starts": _starts,
    "many": _many,
    "article": _article,
    "warm": _warm,
    "memory": _memory,
    "crowds": _crowds,
    "storm": _storm,
    "budget": _budget,
    "hibernation": _hibernation,
    "environments": _environments,
    "learning": _learning,
    "walls": _walls,
    "neighbours": _neighbours,
}
