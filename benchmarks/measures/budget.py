"""A thousand sites on a node that has memory for a few hundred: who gives way, and how they come back."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import load
from benchmarks.measures.article import memory
from benchmarks.systems.base import App, Unavailable
from benchmarks.systems.innkeeper import Innkeeper

SITES, BUDGET = 1000, "2g"
SETTINGS = f'memory = "{BUDGET}"\n'
_LOOK = 20  # sites between two looks at the memory
_PAUSE = 0.05
_ZRAM = Path("/sys/block/zram0")


def evicting(node: Innkeeper) -> dict[str, Any]:
    """Wake Flask sites one after the other, and the first ones again; most_memory: bytes (PSS)."""
    sites = [node.make(f"many{number}", "Flask") for number in range(SITES)]
    node.start(sites)
    times, failures, most = [], [], 0
    for number, app in enumerate([*sites, *sites[: SITES // 10]]):
        status, body, elapsed = node.ask(app)
        times.append(elapsed)
        if status != 200 or body != b"flask":
            failures.append(f"{app.host}: {status} {body[:200]!r}")
        if number % _LOOK == 0:
            most = max(most, memory(node))
    awake = sum(site["state"] == "serving" for site in node.sites())
    return {
        "sites": SITES,
        "asked": len(times),
        "failed": len(failures),
        "failures": failures[:5],
        "ms": load.percentiles(times),
        "most_memory": most,
        "awake_at_last": awake,
    }


@contextlib.contextmanager
def swap(size: str = "1G") -> Iterator[None]:
    """Swap space in compressed memory. Unavailable where the machine has swap space, or no zram."""
    if len(Path("/proc/swaps").read_text().splitlines()) > 1:
        yield
        return
    try:
        (_ZRAM / "disksize").write_text(size)
        subprocess.run(["mkswap", "/dev/zram0"], check=True, capture_output=True)
        subprocess.run(["swapon", "/dev/zram0"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"no swap space can be made: {error}") from error
    try:
        yield
    finally:
        subprocess.run(["swapoff", "/dev/zram0"], check=True)
        (_ZRAM / "reset").write_text("1")


def hibernating(node: Innkeeper, kind: str) -> dict[str, Any]:
    """The same with swap space: sites that had to give way answer from there, or are started (milliseconds)."""
    sites = [node.make(f"many{number}", kind) for number in range(SITES // 2)]
    node.start(sites)
    failures: list[str] = []
    started = [_answer(node, app, failures) for app in sites]
    time.sleep(5)  # until those that have just been told to have given way
    told = {site["domain"]: site for site in node.sites()}
    asleep = [app for app in sites if told[app.host]["hibernating"]][: SITES // 10]
    thawed = [_answer(node, app, failures) for app in asleep]
    return {
        "kind": kind,
        "hibernated": sum(site["hibernating"] for site in told.values()),
        "failed": len(failures),
        "failures": failures[:5],
        "started_ms": load.percentiles(started),
        "thawed_ms": load.percentiles(thawed) if len(thawed) > 1 else {},
        "ratio": median(started) / median(thawed) if thawed else 0.0,
    }


def _answer(node: Innkeeper, app: App, failures: list[str]) -> float:
    time.sleep(_PAUSE)
    status, body, elapsed = node.ask(app)
    if status != 200:
        failures.append(f"{app.host}: {status} {body[:200]!r}")
    return elapsed
