"""The upkeep of the runtimes: following their files, learning what to preload, clearing away what was replaced."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from innkeeper.spec.runtime import RuntimeSpec
from innkeeper.supervisor import runtimes
from innkeeper.supervisor.control import Reply
from innkeeper.supervisor.node import Node
from innkeeper.supervisor.nursery import Legacy, Nursery
from innkeeper.supervisor.preload import PRELOAD
from innkeeper.supervisor.services import Services

SOON = 10.0  # seconds after the start until the first look
INTERVAL = 300.0  # seconds between looks at what was learned, and at what is not needed any more


class Upkeep:
    """Keeps zygotes and environments in step with the runtimes' files and with what sites import."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._learning = services.learning
        self._nursery: Nursery = services.nursery
        self._folder = runtimes.lasting_folder(services.layout, services.log)

    def open(self, legacy: Legacy) -> None:
        """Have the zygotes of all runtimes started or taken over."""
        self._nursery.open(*self._load(), legacy)
        asyncio.get_running_loop().call_later(SOON, self._look)

    def follow(self, _: set[str] | None = None) -> None:
        """A runtime's file was written or deleted."""
        specs, default = self._load()
        self._nursery.follow(specs, default)
        self._learning.keep_only({*specs, *self._folder.faults})

    def _load(self) -> tuple[dict[str, RuntimeSpec], str]:
        return runtimes.load(self._folder, self._services.settings, self._services.log)

    def _look(self) -> None:
        asyncio.get_running_loop().call_later(INTERVAL, self._look)
        self._learning.save()
        self._nursery.look()
        asyncio.get_running_loop().run_in_executor(
            None, _sweep, self._services.layout.environments, self._in_use
        )

    def close(self) -> None:
        self._learning.save()

    # ── environments that were replaced ──────────────────────────────────────────────────────────────────

    def _in_use(self) -> set[str] | None:
        """The Pythons that a runtime names, or that a zygote or a worker stands on.

        None where a runtime's file can't be read: it may name any. In a thread, so the files are read apart.
        """
        workers = list(self._services.workers.values())
        folder = runtimes.folder(self._services.layout)
        folder.load()
        if folder.faults:
            return None
        named = {spec.python for spec in folder.specs.values()}
        return named | {worker.python for worker in workers} | self._nursery.places()

    # ── what is asked ────────────────────────────────────────────────────────────────────────────────────

    def warm(self, name: str, reply: Reply) -> None:
        """Warm a zygote with what was learned by now; the answer comes when it has taken its place."""
        if not self._nursery.has(name):
            reply.refuse(f"there is no runtime {name!r}; `innkeeper runtime list` shows those there are")
            return
        self._learning.save()

        def on_done(well: bool) -> None:
            if well:
                reply.send(self._nursery.report_one(name))
            elif self._nursery.has(name):
                reply.refuse(f"the new zygote of {name} did not become ready; the one before goes on")
            else:
                reply.refuse(f"the runtime {name} was removed meanwhile")

        self._nursery.renew(name, on_done=on_done)

    def report(self, node: Node) -> dict[str, Any]:
        """All runtimes in full: {"default", "runtimes": [{"name", "python", "preloaded", "sites", …}]}."""
        sites: dict[str, list[str]] = {}
        for domain, spec in sorted(node.published.items()):
            if spec.app is not None:
                sites.setdefault(spec.app.runtime or self._nursery.default, []).append(domain)
        found = []
        for name in sorted(self._nursery.pairs):
            learned = set(self._learning.wanted(name)) - set(PRELOAD)
            one = self._nursery.report_one(name)
            one["learned"] = [module for module in one["preloaded"] if module in learned]
            found.append({**one, "sites": sites.get(name, [])})
        return {"default": self._nursery.default, "runtimes": found}


def _sweep(directory: Path, in_use: Callable[[], set[str] | None]) -> None:
    """Delete the environments in `directory` that are not in use any more, if it can be told which those are."""
    if not directory.is_dir():
        return
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        used = in_use()
        if used is None:
            return
        for environment in directory.iterdir():
            if environment.is_dir() and str(environment / "bin/python") not in used:
                shutil.rmtree(environment, ignore_errors=True)
    except BlockingIOError:
        return  # one is being built
    finally:
        os.close(lock)
