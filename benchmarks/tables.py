"""The tables of a run, as Markdown: one for each part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.charts import figure
from benchmarks.goals import MB, Figures
from benchmarks.measures.article import CONNECTIONS, QUEUE

KINDS = ("plain WSGI", "Flask", "Django", "FastAPI")
_SHARES = ("p50", "p66", "p75", "p80", "p90", "p95", "p98", "p99", "max")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _starts(figures: Figures) -> list[str]:
    rows = [
        [
            name,
            *(
                f"{of[kind]['median']:.1f} ({of[kind]['q1']:.1f}–{of[kind]['q3']:.1f})" if kind in of else ""
                for kind in KINDS
            ),
        ]
        for name, of in figures.items()
    ]
    return table(["milliseconds (quartiles)", *KINDS], rows)


def _many(figures: Figures) -> list[str]:
    present = list(dict.fromkeys(key for of in figures.values() for key in of))
    rows = [
        [name, *(f"{of[key]['median']:.1f}" if key in of else "" for key in present)]
        for name, of in figures.items()
    ]
    return table(["milliseconds, with so many sites present", *present], rows)


def _article(figures: Figures) -> list[str]:
    lines = []
    phases = {
        "cold": f"from asleep on, {CONNECTIONS} visitors",
        "warm": f"all awake, {CONNECTIONS} visitors",
        "queue": f"all awake, {QUEUE} visitors",
    }
    for when, title in phases.items():
        if any(when not in of for of in figures.values()):  # of an earlier bench
            continue
        rows = [
            [
                name if of["wakes"] else f"{name} (never asleep)",
                *(
                    f"{of[when]['ms'][share]:.0f}"
                    if of[when]["ms"][share] >= 100
                    else f"{of[when]['ms'][share]:.1f}"
                    for share in _SHARES
                ),
                f"{of[when]['ms']['p99'] / of[when]['ms']['p50']:.1f}",
                str(of[when]["failed"]),
            ]
            for name, of in figures.items()
        ]
        lines += [*table([f"{title}: milliseconds", *_SHARES, "p99/p50", "failed"], rows), ""]
    return lines + _memory({name: of["memory"] for name, of in figures.items()})


def _warm(figures: Figures) -> list[str]:
    lines = []
    for app, ways in figures.items():
        for way, systems in ways.items():
            rows = [
                [
                    name,
                    f"{of['rate']:,.0f}",
                    f"{of['p50_ms']:.2f}",
                    f"{of['p99_ms']:.2f}",
                    str(of["failed"]),
                    f"{of['ratio']:.2f} ({of['ratio_low']:.2f}–{of['ratio_high']:.2f})",
                ]
                for name, of in systems.items()
            ]
            lines += [
                *table(
                    [
                        f"{app}: {way}",
                        "requests/s",
                        "p50 ms",
                        "p99 ms",
                        "failed",
                        "Innkeeper's rate over this",
                    ],
                    rows,
                ),
                "",
            ]
    return lines


def _changing(figures: Figures) -> list[str]:
    rows = [
        [
            name,
            figure(of["adding"]["live_ms"]),
            str(of["adding"]["failed"]),
            figure(of["adding"]["max_ms"]),
            str(of["reloading"]["failed"]),
            figure(of["reloading"]["p99_ms"]),
            figure(of["reloading"]["max_ms"]),
        ]
        for name, of in figures.items()
    ]
    return table(
        [
            "with 10 sites",
            "new site live, ms",
            "failed at others",
            "slowest at others, ms",
            "ten reloads: failed",
            "p99 ms",
            "slowest ms",
        ],
        rows,
    )


def _memory(figures: Figures) -> list[str]:
    return table(
        ["memory of an awake site", "MB (PSS)"],
        [[name, f"{value / MB:.1f}"] for name, value in figures.items()],
    )


def _crowds(figures: Figures) -> list[str]:
    rows = [
        [
            key,
            f"{of['ready_s']:.1f}",
            f"{of['memory'] / MB:.0f}",
            figure(of["adding"]["live_ms"]),
            str(of["adding"]["failed"]),
            figure(of["adding"]["quiet_p99_ms"]),
            figure(of["adding"]["p99_ms"]),
        ]
        for key, of in figures.items()
    ]
    return table(
        [
            "sleeping sites",
            "ready after, s",
            "keeper and supervisor, MB",
            "one more is live after, ms",
            "failed at others",
            "p99 of others before, ms",
            "meanwhile, ms",
        ],
        rows,
    )


def _pairs(figures: Figures) -> list[str]:
    rows = [[key.replace("_", " "), _said(value)] for key, value in figures.items()]
    return table(["", "figure"], (row for row in rows if row[1]))


def _said(value: Any) -> str:
    """One figure, or several with their names; "" for what is no figure."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(each)}" for name, each in value.items() if _said(each))
    if isinstance(value, int | float):
        return figure(value)
    return value.partition(". Last")[0].replace("|", "/") if isinstance(value, str) else ""


def _rows(figures: Figures) -> list[str]:
    """A row for each entry, a column for each of its figures."""
    columns = list(dict.fromkeys(key for of in figures.values() for key in of))
    rows = [[name, *(_said(of.get(key)) for key in columns)] for name, of in figures.items()]
    return table(["", *(column.replace("_", " ") for column in columns)], rows)


TABLES = {
    "starts": ("Cold starts", _starts),
    "many": ("Cold starts of a plain WSGI app among many sites", _many),
    "article": ("The article's experiment: 200 apps, asked at random", _article),
    "floor": ("The tail of this machine itself: one process that serves visitors in turn", _rows),
    "warm": ("Warm requests", _warm),
    "changing": ("Adding and reloading sites", _changing),
    "memory": ("Memory of awake sites", _memory),
    "crowds": ("Thousands of sleeping sites", _crowds),
    "storm": ("500 sites asked within a second", _pairs),
    "budget": ("A thousand sites in 2 GB", _pairs),
    "hibernation": ("Sites with much code of their own in 2 GB, and 1 GB of swap space", _pairs),
    "environments": ("First starts, by where the packages are from", _rows),
    "learning": ("What learning is worth", _pairs),
    "walls": ("What the walls cost", _pairs),
    "neighbours": ("A quiet tenant beside one that attacks", _rows),
}
