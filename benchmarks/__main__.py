"""Cold starts beside uWSGI's own and by environment, what learning brings and walls cost, what neighbours notice."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import apps, environments, execed, learning, neighbours, walls
from tests.node.harness import Node, running

KINDS = {"plain WSGI": 20.0, "Flask": 30.0, "Django": 60.0}  # and the most milliseconds that a start may take
TENANT = "bench"
PARTS = ("starts", "environments", "learning", "walls", "neighbours")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--sites", type=int, default=20, help="sites of each kind (default: 20)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each attack (default: 10)")
    parser.add_argument("--only", choices=PARTS, help="measure only this")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    runtime = next(iter(sorted(Path(sys.prefix, "runtimes").iterdir())))
    measured: dict[str, Any] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        if options.only in (None, "starts"):
            with running() as node:
                measured["starts"] = measure(node, runtime, options.sites, progress)
        if options.only in (None, "environments"):
            with running() as node:
                measured["environments"] = environments.measure(node, options.sites, progress)
        if options.only in (None, "learning"):
            with running() as node:
                measured["learning"] = learning.measure(node, 50, progress)
        if options.only in (None, "walls"):
            measured["walls"] = walls.measure(options.sites, progress)
        if options.only in (None, "neighbours"):
            with running(settings=neighbours.SETTINGS) as node:
                neighbours.prepare(node)
                measured["neighbours"] = neighbours.measure(node, options.seconds, progress)
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        show(measured, options.sites)
    return 0 if all(_holds(measured)) else 1


def _holds(measured: dict[str, Any]) -> Iterator[bool]:
    """Whether each figure keeps to its limit."""
    for kind, figures in measured.get("starts", {}).items():
        yield figures["innkeeper_ms"]["median"] <= KINDS[kind]
    for name, row in measured.get("environments", {}).items():
        yield environments.holds(name, row)
    if "learning" in measured:
        yield measured["learning"]["ratio"] > 1
    if cost := measured.get("walls"):
        yield cost["cold_start_ms"] <= walls.MOST_MS and cost["throughput_ratio"] >= walls.LEAST_RATIO
    for figures in measured.get("neighbours", {}).values():
        yield figures["ratio"] < neighbours.LIMIT and not figures["failed"] and bool(figures["problem"])


def measure(
    node: Node, runtime: Path, sites: int, progress: Progress
) -> dict[str, dict[str, dict[str, float]]]:
    """Each kind's figures: site by site, ours and the peer's in turn, so that drift hits both alike."""
    node.tenant(TENANT)
    ours: dict[str, list[float]] = {kind: [] for kind in KINDS}
    theirs: dict[str, list[float]] = {kind: [] for kind in KINDS}
    task = progress.add_task("cold starts", total=sites * len(KINDS))
    for number in range(sites):
        for kind in KINDS:
            folder = node.layout.tenant_home(TENANT) / f"{kind.split()[0].lower()}{number}"
            entry = apps.write(folder, kind, runtime / "bin/python")
            _give(folder, node.uid(TENANT))
            theirs[kind].append(execed.first_answer(runtime / "bin/pyuwsgi", folder, entry))
            ours[kind].append(_wake(node, folder.name, entry))
            progress.advance(task)
    return {kind: {"innkeeper_ms": _spread(ours[kind]), "exec_ms": _spread(theirs[kind])} for kind in KINDS}


def _wake(node: Node, name: str, entry: str) -> float:
    domain = f"{name}.localhost"
    directory = f"/home/{TENANT}/{name}"
    node.site(domain, f'tenant = "{TENANT}"\n[app]\nwsgi = "{entry}"\ndirectory = "{directory}"\n')
    node.await_route(domain)
    answer = node.get(domain)
    if answer.status != 200:
        raise SystemExit(f"bench: {domain} answered {answer.status}: {node.log(domain, 'error')}")
    return answer.seconds * 1000


def _give(folder: Path, uid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid)
        if path.name == "__pycache__":
            shutil.rmtree(path)


def _spread(values: list[float]) -> dict[str, float]:
    low, _, high = statistics.quantiles(values, n=4)
    return {"median": statistics.median(values), "q1": low, "q3": high}


def show(measured: dict[str, Any], sites: int) -> None:
    console = Console()
    if "starts" in measured:
        console.print(_starts_table(measured["starts"], sites))
    if "environments" in measured:
        console.print(environments.table(measured["environments"], sites))
    if "learning" in measured:
        console.print(learning.words(measured["learning"]))
    if cost := measured.get("walls"):
        console.print(
            f"\nWhat the walls cost: {cost['cold_start_ms']:+.1f} ms of a cold start "
            f"({cost['walled_ms']:.1f} ms with, {cost['bare_ms']:.1f} without; at most {walls.MOST_MS:g}), "
            f"{cost['throughput_ratio']:.2f} of the throughput ({cost['walled_rate']:.0f} requests/s with, "
            f"{cost['bare_rate']:.0f} without; at least {walls.LEAST_RATIO:g})\n"
        )
    if "neighbours" in measured:
        console.print(_neighbours_table(measured["neighbours"]))


def _starts_table(measured: dict[str, dict[str, dict[str, float]]], sites: int) -> Table:
    table = Table(title=f"Cold start, connect to first byte: median (quartiles) of {sites} sites", box=None)
    table.add_column("App")
    for heading in ("Innkeeper, sandboxed", "exec of uWSGI, no sandbox", "Ratio", "At most"):
        table.add_column(heading, justify="right")
    for kind, figures in measured.items():
        ours, theirs = figures["innkeeper_ms"], figures["exec_ms"]
        table.add_row(
            kind,
            _words(ours),
            _words(theirs),
            f"{theirs['median'] / ours['median']:.1f}×",
            f"{KINDS[kind]:g} ms {'✓' if ours['median'] <= KINDS[kind] else '✗'}",
        )
    return table


def _neighbours_table(measured: dict[str, dict[str, Any]]) -> Table:
    title = f"A quiet tenant's p99, alone and while another one attacks (less than {neighbours.LIMIT:g}×)"
    table = Table(title=title, box=None)
    table.add_column("Attack")
    for heading in ("Alone", "Meanwhile", "Ratio", "Failed"):
        table.add_column(heading, justify="right")
    table.add_column("What the attacker is told", overflow="fold")
    for name, figures in measured.items():
        table.add_row(
            name,
            f"{figures['alone_p99_ms']:.2f} ms",
            f"{figures['attacked_p99_ms']:.2f} ms",
            f"{figures['ratio']:.2f} {'✓' if figures['ratio'] < neighbours.LIMIT else '✗'}",
            str(figures["failed"]),
            figures["problem"].partition(". Last")[0].replace("[", r"\[") or "✗ nothing",
        )
    return table


def _words(spread: dict[str, float]) -> str:
    return f"{spread['median']:.1f} ms ({spread['q1']:.1f}–{spread['q3']:.1f})"


if __name__ == "__main__":
    sys.exit(main())
