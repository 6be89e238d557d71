"""Taking over from a supervisor that was killed: what the keeper holds, sorted and asked how it is doing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from innkeeper.supervisor.custody import Custody, Kept
from innkeeper.supervisor.worker import Worker

REPORT_TIME = 1.0  # seconds that workers have to say how they are


@dataclass
class Legacy:
    """What an earlier supervisor left: listening sockets, zygotes' channels, workers with their condition."""

    listeners: dict[str, tuple[socket.socket, dict[str, Any]]] = field(default_factory=dict)
    zygotes: dict[str, tuple[socket.socket, dict[str, Any]]] = field(default_factory=dict)
    workers: list[Kept] = field(default_factory=list)


def recover(custody: Custody) -> Legacy:
    """Fetch and sort what the keeper holds."""
    legacy = Legacy()
    for kept in custody.recover():
        kind, _, name = kept.name.partition(":")
        if kind == "site":
            legacy.listeners[name] = (socket.socket(fileno=kept.descriptors[0]), kept.note)
        elif kind == "zygote":
            legacy.zygotes[name] = (socket.socket(fileno=kept.descriptors[0]), kept.note)
        else:
            legacy.workers.append(kept)
    return legacy


class Roll:
    """The roll-call of adopted workers: each is asked to report, and then handed to its site."""

    def __init__(self, kept: list[Kept], custody: Custody, present: dict[int, Worker]) -> None:
        """Who is there is in `present` at once, by identity: it may be said to be forked at any moment."""
        self.workers: list[Worker] = []
        self._present = present
        self._custody = custody
        self._condition: dict[Worker, str] = {}
        self._unheard: list[tuple[Worker, str, dict[str, Any]]] = []
        self._complete = asyncio.Event()
        for entry in kept:
            identity = int(entry.name.partition(":")[2])
            channel = socket.socket(fileno=entry.descriptors[0])
            worker = Worker(identity, entry.note["domain"], channel, self._hear)
            worker.tenant, worker.group = entry.note["tenant"], entry.note["group"]
            worker.port, worker.python = entry.note["port"], entry.note["python"]
            worker.socket, worker.mark = entry.note.get("socket", ""), entry.note.get("mark", "")
            if len(entry.descriptors) > 1:
                worker.attach(entry.note["pid"], entry.descriptors[1])
            self.workers.append(worker)
            present[identity] = worker
        for worker in self.workers:
            worker.ask("report")

    async def call(self) -> dict[str, list[tuple[Worker, str]]]:
        """The workers by domain, each with its condition: "ready", "resting", "starting", "leaving"."""
        if self.workers:
            # Those that say nothing are taken to be starting. What they say later is heard by their sites; if it is
            # nothing, the load limit ends them.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._complete.wait(), REPORT_TIME)
        found: dict[str, list[tuple[Worker, str]]] = {}
        for worker in self.workers:
            condition = self._condition.get(worker, "starting")
            if condition != "gone":
                found.setdefault(worker.domain, []).append((worker, condition))
        return found

    def pass_on(self) -> None:
        """Have their sites, which they have by now, hear what else they said: most of it is said only once."""
        for worker, event, message in self._unheard:
            worker.repeat(event, message)

    def _hear(self, worker: Worker, event: str, message: dict[str, Any]) -> None:
        if event == "report":
            self._condition[worker] = condition_of(message)
        elif event == "loaded":
            self._condition[worker] = "ready"
        elif event in ("failed", "unfit"):  # its site will have to start another anyway
            self._condition[worker] = "leaving"
        elif event == "gone":
            self._condition[worker] = "gone"
            self._present.pop(worker.identity, None)
            self._custody.drop(worker.kept_name)
        elif event != "idle":  # that is said again, when it is known whether there is room to hibernate
            self._unheard.append((worker, event, message))
        if len(self._condition) == len(self.workers):
            self._complete.set()


def condition_of(report: dict[str, Any]) -> str:
    """How a worker is, by its report: "ready", "resting", "starting" or "leaving"."""
    if report.get("draining") or report.get("failed"):
        return "leaving"
    if not report.get("ready"):
        return "starting"
    return "resting" if report.get("resting") else "ready"


def close(listeners: dict[str, tuple[socket.socket, dict[str, Any]]], drop: Callable[[str], None]) -> None:
    """Let go of sockets that belong to no site any more."""
    for domain, (listener, _) in listeners.items():
        drop(f"site:{domain}")
        listener.close()


def highest_identity(kept: list[Kept]) -> int:
    """The largest worker number in use, so that new ones differ."""
    return max((int(entry.name.partition(":")[2]) for entry in kept), default=0)
