"""The figures in README and docs: written into them from benchmarks/results, between two comments."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.charts import figure
from benchmarks.goals import MB, US, Figures
from benchmarks.tables import table

PAPERS = Path(__file__).parents[1]
_PLACES = {"measured": "README.md", "neighbours": "docs/explanation/threats.md"}
_KINDS = ("plain WSGI", "Flask", "Django")
_BLOCK = "<!-- {name}: written by scripts/bench --full -->\n"
_END = "<!-- end -->\n"


def texts(results: Path) -> dict[Path, str]:
    """The papers as they are to be: by path."""
    found = {}
    for name, place in _PLACES.items():
        path, begin = PAPERS / place, _BLOCK.format(name=name)
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(_END)}", re.S)
        block = begin + _OF[name](results) + _END
        found[path] = pattern.sub(lambda _, block=block: block, path.read_text())
    return found


def write(results: Path) -> None:
    """Have README and docs say what was measured."""
    for path, text in texts(results).items():
        if text != path.read_text():
            path.write_text(text)


def _measured(results: Path) -> str:
    starts, article, crowds = (_figures(results, part) for part in ("starts", "article", "crowds"))
    names = sorted(starts, key=lambda name: float(starts[name]["Flask"]["median"]))
    rows = []
    for name in names:
        cells = [figure(starts[name][kind]["median"]) for kind in _KINDS]
        cells.append(f"{article[name]['cold']['ms']['p99']:,.0f} ms")
        cells.append(f"{article[name]['memory'] / MB:.1f} MB")
        rows.append([f"**{cell}**" if name == US else cell for cell in (_called(name), *cells)])
    head = [
        "cold start, ms",
        *_KINDS,
        "200 sleeping apps asked at random: p99",
        "memory of an awake Flask site",
    ]
    most = max(crowds.values(), key=lambda of: int(of["sites"]))
    worst = max(of["ratio"] for of in _figures(results, "neighbours").values())
    ready, memory = figure(most["ready_s"]), most["memory"] / MB
    live = figure(most["adding"]["live_ms"])
    return "\n".join(table(head, rows)) + (
        f"\n\nWith {most['sites']:,} sleeping sites present the node is ready after {ready} seconds, its daemons "
        f"take\n{memory:.0f} MB, and one more site is live after {live} ms. What a quiet tenant notices while\n"
        f"another runs fork bombs, busy loops or fills the disk: at most {figure(worst)} times its p99.\n"
    )


def _called(name: str) -> str:
    return f"{name}, full sandbox" if name == US else name


def _neighbours(results: Path) -> str:
    rows = [[name, figure(of["ratio"])] for name, of in _figures(results, "neighbours").items()]
    walls = _figures(results, "walls")
    return (
        "\n".join(table(["attack", "p99 meanwhile over p99 alone"], rows)) + "\n\n"
        f"A cold start takes {figure(walls['walled_ms'])} ms within the walls and {figure(walls['bare_ms'])} ms "
        f"without; the throughput is {figure(walls['throughput_ratio'])} times that without.\n"
    )


def _figures(results: Path, part: str) -> Figures:
    found: Figures = json.loads((results / f"{part}.json").read_text())["figures"]
    return found


_OF = {"measured": _measured, "neighbours": _neighbours}
