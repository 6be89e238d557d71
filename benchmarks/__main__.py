"""Innkeeper beside everything that a host would use instead, each started here, in the same run."""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks import papers, report
from benchmarks.goals import goals
from benchmarks.parts import FULL, QUICK, Bench

# In this order; what a quick run leaves out takes longer than its five minutes allow.
PARTS = {
    "starts": True,
    "many": False,
    "article": True,
    "floor": True,
    "warm": True,
    "changing": False,
    "memory": True,
    "crowds": True,
    "storm": True,
    "budget": False,
    "hibernation": False,
    "environments": False,
    "learning": False,
    "walls": True,
    "neighbours": False,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, epilog=f"Parts: {', '.join(PARTS)}."
    )
    parser.add_argument("--full", action="store_true", help="every system and every part: more than an hour")
    parser.add_argument("--only", metavar="PART,…", help="measure only these parts")
    options = parser.parse_args()
    names = (
        options.only.split(",")
        if options.only
        else [name for name, quick in PARTS.items() if quick or options.full]
    )
    if unknown := sorted(set(names) - set(PARTS)):
        parser.error(f"there is no part {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    folder = report.RESULTS if options.full else report.RESULTS / "quick"
    command = " ".join(["scripts/bench", *sys.argv[1:]])
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    well = True
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for name in names:
            began = time.monotonic()
            bench = Bench(FULL if options.full else QUICK, progress)
            figures = getattr(bench, name)()
            report.keep(folder, name, figures, bench.missing, command)
            if options.full:
                papers.write(folder)
            for goal in goals(name, figures):
                well &= goal.ok
                bound = "at least" if goal.least else "at most"
                progress.console.print(
                    f"[{'green' if goal.ok else 'red'}]{'✓' if goal.ok else '✗'}[/] {goal.name}: "
                    f"{report.figure(goal.value)} {goal.unit} ({bound} {report.figure(goal.limit)})",
                    highlight=False,
                )
            progress.console.print(
                f"  {name}: {time.monotonic() - began:.0f} s", style="dim", highlight=False
            )
            for task in progress.task_ids:
                progress.remove_task(task)
    Console().print(Markdown(report.page(folder)))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
