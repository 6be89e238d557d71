"""Cold starts through a whole node, in the full sandbox, beside the same apps started by exec of uWSGI."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import apps, execed
from tests.node.harness import Node, running

KINDS = {"plain WSGI": 20.0, "Flask": 30.0, "Django": 60.0}  # and the most milliseconds that a start may take
TENANT = "bench"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--sites", type=int, default=20, help="sites of each kind (default: 20)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    runtime = next(iter(sorted(Path(sys.prefix, "runtimes").iterdir())))
    with running() as node:
        measured = measure(node, runtime, options.sites)
    if options.json:
        print(json.dumps(measured, indent=2))
        return 0
    show(measured, options.sites)
    return (
        0
        if all(figures["innkeeper_ms"]["median"] <= KINDS[kind] for kind, figures in measured.items())
        else 1
    )


def measure(node: Node, runtime: Path, sites: int) -> dict[str, dict[str, dict[str, float]]]:
    """Each kind's figures: site by site, ours and the peer's in turn, so that drift hits both alike."""
    node.tenant(TENANT)
    ours: dict[str, list[float]] = {kind: [] for kind in KINDS}
    theirs: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with Progress(console=Console(stderr=True), transient=True) as progress:
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


def show(measured: dict[str, dict[str, dict[str, float]]], sites: int) -> None:
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
    Console().print(table)


def _words(spread: dict[str, float]) -> str:
    return f"{spread['median']:.1f} ms ({spread['q1']:.1f}–{spread['q3']:.1f})"


if __name__ == "__main__":
    sys.exit(main())
