"""Visitors: as many as can be served (wrk), a steady trickle, and a crowd within a second."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

_SCRIPT = Path(__file__).with_name("load.lua")
_PATIENCE = 60  # seconds that a visitor waits for an answer
_WRK_PATIENCE = "60s"


class Outcome(NamedTuple):
    """What came of many requests: how many a second, how many failed, milliseconds by percentile ("p50" … "max")."""

    requests: int
    rate: float
    failed: int
    ms: dict[str, float]


def hammer(
    port: int,
    hosts: Sequence[str],
    seconds: float,
    *,
    connections: int,
    path: str = "/",
    close: bool = False,
    threads: int = 1,
) -> Outcome:
    """Ask the hosts at random over so many connections, each as soon as it was answered."""
    command = [
        "wrk",
        f"-t{threads}",
        f"-c{connections}",
        f"-d{seconds:g}s",
        "--timeout",
        _WRK_PATIENCE,
        "-s",
        str(_SCRIPT),
    ]
    command += [f"http://127.0.0.1:{port}", "--", path, "close" if close else "keep", *hosts]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    line = next((line for line in said.stdout.splitlines() if line.startswith("JSON ")), None)
    if line is None:
        raise SystemExit(f"bench: wrk says: {said.stdout}{said.stderr}")
    told = json.loads(line[5:])
    return Outcome(told["requests"], told["requests"] / told["seconds"], told["failed"], told["ms"])


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """Of milliseconds; at least two."""
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": max(times)}


class Trickle:
    """Requests at a steady rate from a process of its own, each on a new connection, while the `with` lasts.

    A request's time is counted from when it was due, so that one that is late delays those behind it. The
    visitor is no part of the machine, so the process goes before all others while it looks at the clock.
    """

    def __init__(self, port: int, hosts: Sequence[str], rate: float) -> None:
        self._command = [sys.executable, "-m", "benchmarks.load", str(port), str(rate), *hosts]
        self.outcome = Outcome(0, 0.0, 0, {})

    def __enter__(self) -> Trickle:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it has begun
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        told = json.loads(self._process.communicate(timeout=2 * _PATIENCE)[0])
        self.outcome = Outcome(len(told["ms"]), told["rate"], told["failed"], percentiles(told["ms"]))


async def _ask(port: int, host: str, due: float, found: list[float], failures: list[str]) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError) as error:
        failures.append(repr(error))
    else:
        if not answer.startswith(b"HTTP/1.1 200 "):
            failures.append(answer[:40].decode(errors="replace"))
    found.append((time.monotonic() - due) * 1000)


async def _crowd(port: int, hosts: Sequence[str], seconds: float) -> tuple[list[float], list[str]]:
    found: list[float] = []
    failures: list[str] = []
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number, host in enumerate(hosts):
            due = began + number * seconds / len(hosts)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(_ask(port, host, due, found, failures))
    return found, failures


def crowd(port: int, hosts: Sequence[str], seconds: float) -> tuple[Outcome, list[str]]:
    """One request to each host, all begun within `seconds`, whether or not others were answered; and failures."""
    began = time.monotonic()
    found, failures = asyncio.run(_crowd(port, hosts, seconds))
    rate = len(found) / (time.monotonic() - began)
    return Outcome(len(found), rate, len(failures), percentiles(found)), failures


async def _trickle(port: int, rate: float, hosts: Sequence[str]) -> dict[str, Any]:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    found: list[float] = []
    failures: list[str] = []
    print("begun", flush=True)
    began, number = time.monotonic(), 0
    async with asyncio.TaskGroup() as group:
        while not ended.is_set() or number < 2:
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(_ask(port, hosts[number % len(hosts)], due, found, failures))
            number += 1
    return {"ms": found, "failed": len(failures), "failures": failures[:5], "rate": rate}


def _main() -> None:
    port, rate, *hosts = sys.argv[1:]
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    print(json.dumps(asyncio.run(_trickle(int(port), float(rate), hosts))))


if __name__ == "__main__":
    _main()
