"""What a quiet tenant's visitors notice while another one attacks the machine: p99 alone, and under each attack."""

from __future__ import annotations

import http.client
import os
import statistics
import threading
import time
from typing import Any, NamedTuple

from rich.progress import Progress

from tests.node.harness import Node

RATE = 100.0  # requests a second of the quiet tenant's visitors
LIMIT = 2.0  # times the p99 alone
_SETTLE = 1.0
QUIET, HOG = "quiet.localhost", "hog.localhost"

HOG_APP = """
import os, socket, sys, threading, time
LASTS = 600.0

def spin():
    end = time.monotonic() + LASTS
    while time.monotonic() < end: pass

def busy():
    for _ in range(8):
        if os.fork() == 0: spin(); os._exit(0)

def fork_bomb():
    if os.fork() == 0:
        end = time.monotonic() + LASTS
        while time.monotonic() < end:
            try: os.fork()
            except OSError: pass
        os._exit(0)

def memory():
    kept = []
    for _ in range(4):
        if os.fork() == 0:
            while True: kept.append(bytearray(os.urandom(1 << 20)))

def disk():
    if os.fork() == 0:
        end, number = time.monotonic() + LASTS, 0
        while time.monotonic() < end:
            number += 1
            try:
                with open(f"/home/hog/{number}", "wb", buffering=0) as file:
                    for _ in range(64): file.write(bytes(1 << 20))
                    os.fsync(file.fileno())
            except OSError: time.sleep(0.01)
        os._exit(0)

def log():
    for _ in range(2):
        if os.fork() == 0:
            end = time.monotonic() + LASTS
            while time.monotonic() < end: print("x" * 10_000)
            os._exit(0)

def descriptors():
    for _ in range(10):
        if os.fork() == 0:
            kept = []
            try:
                while True: kept.append(socket.socketpair())
            except OSError: time.sleep(LASTS)
            os._exit(0)
    globals()["kept"] = kept = []
    try:
        while True: kept.append(open("/dev/null"))
    except OSError: pass

def application(environ, start_response):
    what = environ["PATH_INFO"].strip("/")
    if what: globals()[what]()
    start_response("200 OK", [])
    return [b"hog"]
"""
ATTACKS = {
    "fork bomb": ("fork_bomb", "too-many-tasks"),
    "memory hog": ("memory", "out-of-memory"),
    "busy loops": ("busy", "cpu-budget"),
    "disk filler": ("disk", "disk-full"),
    "log flood": ("log", "log-flood"),
    "descriptor hog": ("descriptors", "too-many-files"),
}
SETTINGS = '[tenant_limits]\ncpu_seconds = 5\ndisk = "300m"\n'


Figures = dict[str, dict[str, Any]]  # by attack


class Latency(NamedTuple):
    """Milliseconds of the requests of one measurement."""

    p50: float
    p99: float
    failed: int


def prepare(node: Node) -> None:
    """The quiet site and the hog, both awake."""
    node.app(QUIET, tenant="quiet", answer="alive", app="idle = 0")
    node.app(HOG, HOG_APP, tenant="hog", app="idle = 0\ntimeout = 60")
    for domain in (QUIET, HOG):
        node.get(domain)


def measure(node: Node, seconds: float, progress: Progress) -> Figures:
    """For each attack: p99 alone (before and after), p99 meanwhile, their ratio, and the Problem that came of it."""
    found: Figures = {}
    for name, (action, code) in progress.track(ATTACKS.items(), description="attacks"):
        before = watch(node, seconds / 2)
        _attack(node, action)
        time.sleep(_SETTLE)
        meanwhile = watch(node, seconds)
        problem = _problem(node, code)
        _calm(node)
        after = watch(node, seconds / 2)
        alone = statistics.mean((before.p99, after.p99))
        found[name] = {
            "alone_p99_ms": alone,
            "attacked_p99_ms": meanwhile.p99,
            "attacked_p50_ms": meanwhile.p50,
            "ratio": meanwhile.p99 / alone,
            "failed": meanwhile.failed,
            "problem": problem,
        }
    return found


def middle(rounds: list[Figures]) -> Figures:
    """Of each attack the round with the middle ratio, with the ratios and failures of all.

    A p99 is made by ten requests, and the machine has pauses of its own.
    """
    found: Figures = {}
    for name in ATTACKS:
        ordered = sorted((each[name] for each in rounds), key=lambda of: float(of["ratio"]))
        found[name] = {
            **ordered[len(ordered) // 2],
            "failed": sum(of["failed"] for of in ordered),
            "ratios": [each[name]["ratio"] for each in rounds],
        }
    return found


def watch(node: Node, seconds: float) -> Latency:
    """Ask the quiet site at a steady rate over one connection; what is late is so for those behind it, too.

    The visitor is no part of the machine, so this process goes before all others while it looks at the clock.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        return _watch(node, seconds)
    finally:
        os.sched_setscheduler(0, *before)


def _watch(node: Node, seconds: float) -> Latency:
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=30)
    times, failed = [], 0
    begin = time.perf_counter()
    for number in range(int(seconds * RATE)):
        due = begin + number / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        try:
            connection.request("GET", "/", headers={"Host": QUIET})
            answer = connection.getresponse()
            failed += answer.read() != b"alive"
        except OSError:
            failed += 1
            connection.close()
        times.append((time.perf_counter() - due) * 1000)
    connection.close()
    cuts = statistics.quantiles(times, n=100)
    return Latency(cuts[49], cuts[98], failed)


def _attack(node: Node, action: str) -> None:
    def ask() -> None:
        try:
            node.get(HOG, f"/{action}", timeout=10)
        except OSError:  # the attacker may well have killed its own site
            return

    threading.Thread(target=ask, daemon=True).start()


def _problem(node: Node, code: str) -> str:
    """The message of the Problem, once the supervisor has looked."""
    for _ in range(100):
        for problem in node.show(HOG)["problems"]:
            if problem["code"] == code:
                return str(problem["message"])
        time.sleep(0.1)
    return ""


def _calm(node: Node) -> None:
    """End the attack: the site is switched off and on again, its files deleted."""
    node.cli("site", "disable", HOG)
    node.await_state(HOG, "disabled")
    deadline = time.monotonic() + 60
    while any(tenant["name"] == "hog" and tenant["tasks"] for tenant in node.status()["tenants"]):
        if time.monotonic() > deadline:
            raise SystemExit("bench: the attack did not end")
        time.sleep(0.2)
    node.cli("tenant", "run", "hog", "--", "sh", "-c", "rm -f /home/hog/[0-9]*")
    node.cli("site", "enable", HOG)
    for _ in range(100):
        if node.get(HOG).status == 200:
            return
        time.sleep(0.5)
    raise SystemExit(f"bench: the attacker's site does not come back: {node.show(HOG)}")
