"""The parts of the benchmark: which systems each is measured on, how often, and what it gives."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress

from benchmarks import apps, environments, learning, neighbours, walls
from benchmarks.measures import article, budget, changes, crowds, floor, starts, warm
from benchmarks.systems.apache import Fcgid, ModWsgi, Passenger
from benchmarks.systems.base import App, System, Unavailable
from benchmarks.systems.emperor import EmperorOnDemand, EmperorUpFront
from benchmarks.systems.gunicorn import GunicornBare, SocketActivated, UvicornBare
from benchmarks.systems.handwritten import Handwritten
from benchmarks.systems.innkeeper import Innkeeper
from tests.node.harness import running

Kind = type[System]
WAKING: tuple[Kind, ...] = (Innkeeper, EmperorOnDemand, Fcgid, Passenger, SocketActivated)
ALL: tuple[Kind, ...] = (*WAKING, EmperorUpFront, ModWsgi, Handwritten)
FEW: tuple[Kind, ...] = (Innkeeper, EmperorOnDemand)


class Size(NamedTuple):
    """How much is measured: of everything, or what fits into five minutes."""

    full: bool
    rounds: int
    sites: int  # of each kind, in each round of cold starts
    seconds: float  # of each load
    settled: float  # seconds after the last visitor at which memory is looked at


FULL = Size(True, 2, 20, 20.0, 15.0)
QUICK = Size(False, 1, 10, 6.0, 7.0)


@contextlib.contextmanager
def placed(kind: Callable[[Path], System]) -> Iterator[System]:
    """A system in a directory of its own; stopped at the end."""
    place = Path(tempfile.mkdtemp(prefix="ikb", dir="/tmp"))
    place.chmod(0o755)
    system = kind(place)
    try:
        yield system
    finally:
        system.stop()
        shutil.rmtree(place, ignore_errors=True)


class Bench:
    """Runs parts, and says which of the peers could not be had."""

    def __init__(self, size: Size, progress: Progress) -> None:
        self.size = size
        self.progress = progress
        self.missing: dict[str, str] = {}

    def _each(
        self, kinds: Sequence[Kind], about: str, measure: Callable[[System], None], rounds: int = 1
    ) -> None:
        """Measure one system after the other, turned in each round; what is not to be had is passed over."""
        task = self.progress.add_task(about, total=rounds * len(kinds))
        for number in range(rounds):
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                self.progress.update(task, description=f"{about}: {kind.name}")
                if kind.name not in self.missing:
                    try:
                        with placed(kind) as system:
                            measure(system)
                    except Unavailable as error:
                        self.missing[kind.name] = str(error)
                self.progress.advance(task)

    # ── beside peers ─────────────────────────────────────────────────────────────────────────────────────

    def starts(self) -> dict[str, Any]:
        """By system and kind of app: median and quartiles of cold starts in milliseconds."""
        found: dict[str, dict[str, list[float]]] = {}

        def measure(system: System) -> None:
            sites = starts.make(system, self.size.sites)
            system.start(sites)
            for kind, times in starts.measure(system, sites).items():
                found.setdefault(system.name, {}).setdefault(kind, []).extend(times)

        self._each(WAKING if self.size.full else FEW, "cold starts", measure, self.size.rounds)
        return {name: {kind: spread(times) for kind, times in kinds.items()} for name, kinds in found.items()}

    def many(self) -> dict[str, Any]:
        """By system and number of sites that are present: cold starts of a plain WSGI app."""
        found: dict[str, dict[str, Any]] = {}
        for present in (100, 8000) if self.size.full else (100, 1000):

            def measure(system: System, present: int = present) -> None:
                few = [system.make(f"few{number}", "plain WSGI") for number in range(self.size.sites)]
                if isinstance(system, Innkeeper):
                    system.crowd(present)
                    system.start(few)
                else:
                    system.start([*few, *_crowd(few[0], present - len(few))])
                times = starts.measure(system, few)["plain WSGI"]
                found.setdefault(system.name, {})[str(present)] = spread(times)

            self._each(FEW, f"cold starts among {present}", measure)
        return found

    def article(self) -> dict[str, Any]:
        """By system: the percentiles of the article's table, cold and warm; memory per awake site in bytes."""
        found: dict[str, list[dict[str, Any]]] = {}

        def measure(system: System) -> None:
            sites = article.make(system)
            system.start(sites)
            measured = article.measure(system, sites, self.size.seconds, self.size.settled)
            found.setdefault(system.name, []).append({"wakes": system.wakes, **measured})

        kinds = (
            (*WAKING, ModWsgi) if self.size.full else FEW
        )  # those by hand are no other than in warm requests
        self._each(kinds, "the article's experiment", measure)
        return {name: _middle(measured) for name, measured in found.items()}

    def floor(self) -> dict[str, Any]:
        """By number of visitors: the article's percentiles of a process that serves them in turn."""
        return floor.measure(self.size.seconds / 2)

    def warm(self) -> dict[str, Any]:
        """By way of asking and system: rate, latency, and Innkeeper's rate over the system's."""
        kinds = (
            Innkeeper,
            Handwritten,
            *((EmperorUpFront, ModWsgi, Fcgid, Passenger) if self.size.full else ()),
        )
        bare = (GunicornBare, UvicornBare) if self.size.full else ()
        # Shorter runs tell most of wrk's first second, in which the scheduler has yet to learn how busy it is.
        rounds, seconds = (5, 4.0) if self.size.full else (3, 2.0)
        return {
            "Flask": self._warm((*kinds, *bare[:1]), "Flask", seconds, rounds),
            **({"FastAPI": self._warm((Innkeeper, *bare[1:]), "FastAPI", seconds, rounds)} if bare else {}),
        }

    def _warm(self, kinds: Sequence[Kind], app: str, seconds: float, rounds: int) -> dict[str, Any]:
        with contextlib.ExitStack() as stack:
            up: list[tuple[System, App]] = []
            for kind in kinds:
                system = stack.enter_context(placed(kind))
                site = system.make("warm0", app)
                try:
                    system.start([site])
                except Unavailable as error:
                    self.missing[system.name] = str(error)
                    continue
                if system.ask(site)[0] != 200:
                    raise SystemExit(f"bench: {system.name} does not answer: {system.ask(site)}")
                up.append((system, site))
            task = self.progress.add_task(f"warm requests, {app}", total=None)
            measured = warm.measure(up, seconds, rounds)
            self.progress.remove_task(task)
        return measured

    def changing(self) -> dict[str, Any]:
        """By system: adding sites with ten present, and reloading one, as others notice it."""
        found = {}

        def measure(system: System) -> None:
            sites = [system.make(f"site{number}", "Flask") for number in range(10)]
            system.start(sites)
            added = changes.adding(system, sites[:5], lambda number: system.make(f"new{number}", "Flask"), 5)
            found[system.name] = {"adding": added, "reloading": changes.reloading(system, sites[0], 10)}

        self._each(ALL if self.size.full else (Innkeeper, Handwritten), "adding and reloading", measure)
        return found

    # ── Innkeeper alone ──────────────────────────────────────────────────────────────────────────────────

    def memory(self) -> dict[str, Any]:
        """Bytes (PSS) of an awake site, by kind."""
        found = {}
        for kind in ("plain WSGI", "Flask", "Django") if self.size.full else ("Flask",):
            with self._node() as node:
                sites = [
                    node.make(f"user{number}", kind)
                    for number in range(article.SITES if self.size.full else 50)
                ]
                node.start(sites)
                for app in sites:
                    node.ask(app)
                time.sleep(self.size.settled)
                found[kind] = article.memory(node) / len(sites)
        return found

    def crowds(self) -> dict[str, Any]:
        """By number of sleeping sites: start, memory, and one more."""
        found = {}
        for present in (10, 1000, 10_000) if self.size.full else (10, 1000):
            task = self.progress.add_task(f"{present} sleeping sites", total=None)
            with self._node() as node:
                found[str(present)] = crowds.measure(node, present, 10 if self.size.full else 5)
            self.progress.remove_task(task)
        return found

    def storm(self) -> dict[str, Any]:
        """The storm whose p99 is the middle one of several."""
        storms = []
        for _ in range(5 if self.size.full else 1):
            with self._node() as node:
                storms.append(crowds.storm(node))
        storms.sort(key=lambda of: float(of["ms"]["p99"]))
        least, most = storms[0], storms[-1]
        rounds = {"least_p99_ms": least["ms"]["p99"], "most_p99_ms": most["ms"]["p99"]}
        return {**storms[len(storms) // 2], "answered": min(of["answered"] for of in storms), **rounds}

    def budget(self) -> dict[str, Any]:
        with self._node(f"hibernate = false\n{budget.SETTINGS}") as node:
            return budget.evicting(node)

    def hibernation(self) -> dict[str, Any]:
        try:
            with budget.swap(), self._node(f"hibernate = true\n{budget.SETTINGS}") as node:
                return budget.hibernating(node, apps.GROWN)
        except Unavailable as error:
            self.missing["swap"] = str(error)
            return {}

    @contextlib.contextmanager
    def _node(self, settings: str = "hibernate = false\n") -> Iterator[Innkeeper]:
        with placed(lambda place: Innkeeper(place, settings)) as node:
            assert isinstance(node, Innkeeper)
            yield node

    def environments(self) -> dict[str, Any]:
        with running() as node:
            return environments.measure(node, 10 if self.size.full else 5, self.progress)

    def learning(self) -> dict[str, Any]:
        with running() as node:
            return learning.measure(node, 50, self.progress)

    def walls(self) -> dict[str, Any]:
        return walls.measure(5, 7 if self.size.full else 3, self.progress)

    def neighbours(self) -> dict[str, Any]:
        seconds, rounds = (10.0, 3) if self.size.full else (5.0, 1)
        found = []
        for _ in range(rounds):
            with running(settings=neighbours.SETTINGS) as node:
                neighbours.prepare(node)
                found.append(neighbours.measure(node, seconds, self.progress))
        return neighbours.middle(found)


def spread(times: Sequence[float]) -> dict[str, float]:
    """Median and quartiles, and how many there are."""
    low, middle, high = statistics.quantiles(times, n=4)
    return {"median": middle, "q1": low, "q3": high, "n": len(times)}


def _crowd(like: App, count: int) -> list[App]:
    """Sites that nobody asks for, all of one app's folder."""
    return [App(f"crowd{number}", like.kind, like.folder, like.entry) for number in range(count)]


def _middle(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The round whose p99 from asleep on is the middle one; failures of all."""
    ordered = sorted(rounds, key=lambda measured: float(measured["cold"]["ms"]["p99"]))
    return {
        **ordered[len(ordered) // 2],
        "failed": sum(each[when]["failed"] for each in rounds for when in ("cold", "warm", "queue")),
        "rounds_p99_ms": [each["cold"]["ms"]["p99"] for each in rounds],
        **{
            f"{when}_ratio": statistics.median(
                each[when]["ms"]["p99"] / each[when]["ms"]["p50"] for each in rounds
            )
            for when in ("warm", "queue")
        },
    }
