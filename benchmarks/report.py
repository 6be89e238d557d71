"""What is kept of a run in benchmarks/results: figures (JSON), tables (Markdown), charts (SVG), and the summary."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import innkeeper
from benchmarks import charts
from benchmarks.charts import figure
from benchmarks.goals import MB, US, Figures, goals
from benchmarks.systems.base import PYTHON
from benchmarks.tables import KINDS, TABLES, table

RESULTS = Path(__file__).with_name("results")


def keep(folder: Path, part: str, figures: Figures, missing: dict[str, str], command: str) -> None:
    """Write one part's figures, and all that is made of them."""
    folder.mkdir(parents=True, exist_ok=True)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    told = {
        "measured_at": now,
        "command": command,
        "machine": machine(),
        "missing": missing,
        "figures": figures,
    }
    _write(folder / f"{part}.json", json.dumps(told, indent=1) + "\n")
    summary = _read(folder / "summary.json")
    for name in [name for name, row in summary.items() if row["part"] == part]:
        del summary[name]
    for goal in goals(part, figures):
        summary[goal.name] = {
            "value": round(goal.value, 4),
            "limit": goal.limit,
            "ok": goal.ok,
            "unit": goal.unit,
            "bound": "at least" if goal.least else "at most",
            "part": part,
            "measured_at": now,
        }
    _write(folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    for name, chart in _charts(part, figures):
        _write(folder / f"{name}.svg", chart)
    _write(folder / "README.md", page(folder))


def machine() -> dict[str, str]:
    """What was measured, and on what."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = {
        "cpu": f"{os.cpu_count()} × {cpu[1] if cpu else platform.machine()}",
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release().partition("-")[0],
        "innkeeper": innkeeper.__version__,
        "commit": _said(["git", "rev-parse", "--short", "HEAD"], "(.*)"),
    }
    for name, command, pattern in (
        ("python", [str(PYTHON), "--version"], "Python (.*)"),
        ("nginx", ["/usr/sbin/nginx", "-v"], "nginx/(.*)"),
        ("uwsgi", [str(PYTHON.parent / "pyuwsgi"), "--version"], "(.*)"),
        ("apache", ["/usr/sbin/apache2", "-v"], r"Apache/(\S+)"),
        ("passenger", ["passenger-config", "--version"], r"Passenger\D*(\S+)"),
    ):
        if version := _said(command, pattern):
            found[name] = version
    return found


def page(folder: Path) -> str:
    """All that was measured, as Markdown."""
    parts = [
        "# What was measured\n",
        "Written by `scripts/bench --full`; each part says when. Times are medians.\n",
    ]
    for part, (title, rows_of) in TABLES.items():
        told = _read(folder / f"{part}.json")
        if not told or not told["figures"]:
            continue
        about = told["machine"]
        versions = ", ".join(f"{key} {value}" for key, value in about.items() if key not in ("cpu", "memory"))
        parts.append(f"## {title}\n")
        parts += [f"![{title}]({name}.svg)\n" for name, _ in _charts(part, told["figures"])]
        parts.append("\n".join(rows_of(told["figures"])) + "\n")
        parts.append(f"{told['measured_at']}, {about['cpu']}, {about['memory']}; {versions}.\n")
        parts += [f"Not to be had: {name} ({reason}).\n" for name, reason in told["missing"].items()]
    rows = [
        [
            name,
            figure(row["value"]),
            f"{row['bound']} {figure(row['limit'])}",
            row["unit"],
            "✓" if row["ok"] else "✗",
        ]
        for name, row in _read(folder / "summary.json").items()
    ]
    parts.append("## What the figures are held to\n")
    parts.append("\n".join(table(["figure", "value", "limit", "unit", ""], rows)) + "\n")
    return "\n".join(parts)


# ── charts ───────────────────────────────────────────────────────────────────────────────────────────────────


def _charts(part: str, figures: Figures) -> list[tuple[str, str]]:
    if part == "starts":
        found = []
        for kind in KINDS[:3]:
            values = {name: of[kind]["median"] for name, of in figures.items() if kind in of}
            found.append(
                (f"starts-{kind.split()[0].lower()}", charts.bars(f"Cold start, {kind}", values, "ms", US))
            )
        return found
    if part == "article":
        p99 = {name: of["cold"]["ms"]["p99"] for name, of in figures.items() if of["wakes"]}
        memory = {name: of["memory"] / MB for name, of in figures.items()}
        return [
            ("article", charts.bars("200 sleeping apps asked at random: p99", p99, "ms", US)),
            ("article-memory", charts.bars("Memory of an awake Flask site", memory, "MB", US)),
        ]
    return []


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}")
    beside.write_text(text)
    beside.rename(path)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _said(command: list[str], pattern: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1].strip() if found else ""
