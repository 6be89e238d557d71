"""The article's experiment: 200 people's apps, asked at random; and the same once more when all are awake.

The article's median of 580 ms tells that hundreds of visitors waited at a time; so when all are awake, the
visitors are as many as before, and once more as many as make a queue on a machine of this size.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks import load
from benchmarks.systems.base import App, System

SITES = 200
CONNECTIONS = 20
QUEUE = 100  # connections that make one


def make(system: System) -> list[App]:
    return [system.make(f"user{number}", "Flask") for number in range(min(SITES, system.most_sites))]


def measure(system: System, sites: list[App], seconds: float, settled: float) -> dict[str, Any]:
    """Percentiles and failures from all asleep on ("cold"), when all are awake ("warm"), and in a queue ("queue").

    Memory is looked at `settled` seconds after the last visitor.
    """
    hosts = [app.host for app in sites]
    if system.wakes:
        for app in sites:  # their files have been read, as those of yesterday's visitors had been
            system.ask(app)
        system.sleep()
    cold = load.hammer(system.port, hosts, seconds, connections=CONNECTIONS)
    for app in sites:
        system.ask(app)
    time.sleep(1)
    warm = load.hammer(system.port, hosts, seconds / 2, connections=CONNECTIONS)
    queue = load.hammer(system.port, hosts, seconds / 2, connections=QUEUE)
    time.sleep(settled)
    found = {
        name: {"ms": of.ms, "failed": of.failed, "rate": of.rate}
        for name, of in (("cold", cold), ("warm", warm), ("queue", queue))
    }
    return {"sites": len(sites), **found, "memory": memory(system) / len(sites)}


def memory(system: System) -> int:
    """Bytes of memory (PSS: what is shared is counted once) of the processes that run the apps."""
    return sum(_pss(pid) for pid in system.workers())


def _pss(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
    except (OSError, StopIteration):
        return 0
