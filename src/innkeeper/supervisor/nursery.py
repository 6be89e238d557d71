"""The zygotes of a node: of each runtime a shared one that is warm, and a bare one that has no packages.

A worker comes from the shared zygote when its app uses the runtime's packages, from the bare one when it has
others, and from the bare one as well while the shared one is away: slower, and no less correct. A zygote is
replaced, never changed: another one is warmed beside it and takes its place when it is ready.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from innkeeper.spec.runtime import RuntimeSpec
from innkeeper.supervisor.zygotes import Zygote

LIFETIME = 24 * 3600.0  # seconds after which a zygote is replaced: memory layouts are not to live for ever
_WARM_LIMIT = 300.0  # seconds that a successor may take to become ready


class Ground(NamedTuple):
    """What a worker is to be started from: a runtime's zygote, and an interpreter to be executed, if any."""

    runtime: str
    bare: bool = False
    interpreter: str = ""


class Pair:
    """The zygotes of one runtime, and those that are warmed to take their places."""

    def __init__(self, shared: Zygote, bare: Zygote) -> None:
        self.shared = shared
        self.bare = bare
        self.coming: dict[bool, Zygote] = {}  # by whether it is a bare one
        self.waiting: list[Callable[[bool], None]] = []  # who is to hear that nothing is coming any more

    def __iter__(self) -> Iterator[Zygote]:
        yield from (self.bare, self.shared)


Legacy = dict[str, tuple[socket.socket, dict[str, Any]]]
Make = Callable[[RuntimeSpec, bool, int, tuple[str, ...], Callable[[Zygote], None]], Zygote]
Wanted = Callable[[str], tuple[str, ...]]


class Nursery:
    """All zygotes, by runtime."""

    def __init__(
        self, make: Make, wanted: Wanted, drop: Callable[[str], None], log: Callable[[str], None]
    ) -> None:
        """`make` makes a zygote, `wanted` tells what a runtime's is to preload, `drop` lets the keeper forget."""
        self._make = make
        self._wanted = wanted
        self._drop = drop
        self._log = log
        self._generation = 0
        self.default = ""
        self.pairs: dict[str, Pair] = {}

    def open(self, specs: dict[str, RuntimeSpec], default: str, legacy: Legacy) -> None:
        """Start the zygotes of all runtimes, or go on with those that an earlier supervisor started."""
        self.default = default
        self._generation = max((_generation(name) for name in legacy), default=0)
        for spec in specs.values():
            self.pairs[spec.name] = Pair(self._new(spec, False), self._new(spec, True))
        for name in sorted(legacy, key=_generation, reverse=True):
            channel, note = legacy[name]
            zygote = self._heir(name, note)
            if zygote is None:
                channel.close()
                self._drop(f"zygote:{name}")
            else:
                zygote.generation = _generation(name)
                zygote.adopt(channel, note)
        for zygote in self._all():
            zygote.start()

    def follow(self, specs: dict[str, RuntimeSpec], default: str) -> None:
        """The runtimes' files have changed: replace, add and end zygotes."""
        self.default = default
        for name in set(self.pairs) - set(specs):
            pair = self.pairs.pop(name)
            for zygote in (*pair, *pair.coming.values()):
                zygote.stop()
            pair.coming.clear()
            self._tell(pair, False)
        for spec in specs.values():
            pair_of = self.pairs.get(spec.name)
            if pair_of is None:
                pair = self.pairs[spec.name] = Pair(self._new(spec, False), self._new(spec, True))
                for zygote in pair:
                    zygote.start()
            elif pair_of.shared.runtime != spec:
                self.renew(spec.name, spec=spec, bare=pair_of.shared.runtime.python != spec.python)

    def renew(
        self,
        name: str,
        *,
        spec: RuntimeSpec | None = None,
        bare: bool = True,
        on_done: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """Warm a runtime's next zygotes, and put them in the place of the present ones as each is ready."""
        pair = self.pairs[name]
        pair.waiting.append(on_done)
        for is_bare in (True, False) if bare else (False,):
            if (before := pair.coming.pop(is_bare, None)) is not None:
                before.stop()
            coming = pair.coming[is_bare] = self._new(spec or pair.shared.runtime, is_bare)
            coming.start()
            asyncio.get_running_loop().call_later(_WARM_LIMIT, self._give_up, coming)

    def look(self) -> None:
        """Replace what is old, or what is not warm with what its sites import by now."""
        for name, pair in self.pairs.items():
            if pair.coming or not pair.shared.ready:
                continue
            if time.monotonic() - pair.shared.started > LIFETIME:
                self.renew(name)
            elif set(self._wanted(name)) - set(pair.shared.wanted):
                self.renew(name, bare=False)

    def has(self, runtime: str) -> bool:
        return runtime in self.pairs

    def zygote(self, ground: Ground) -> Zygote:
        """The zygote to order a worker from. KeyError for a runtime that is not there."""
        pair = self.pairs[ground.runtime]
        if ground.bare or (pair.bare.ready and not pair.shared.ready):
            return pair.bare
        return pair.shared

    def withdraw(self, identity: int) -> None:
        """Forget an order that waits for a zygote, if it does."""
        for zygote in self._all():
            zygote.withdraw(identity)

    def is_decided_by(self, runtime: str, variables: Iterable[str]) -> bool:
        """Whether one of the environment's variables decides what the runtime's preloaded modules are like."""
        return not self.pairs[runtime].shared.reads.isdisjoint(variables)

    def ground_of(self, version: str, python: str) -> Ground:
        """Where to start an app whose virtualenv is of another Python: forked if we have that, else executed."""
        for name, pair in self.pairs.items():
            if pair.bare.python == version:
                return Ground(name, bare=True)
        return Ground(self.default, bare=True, interpreter=python)

    @property
    def is_ready(self) -> bool:
        return all(zygote.ready for pair in self.pairs.values() for zygote in pair)

    def stop(self) -> None:
        for zygote in self._all():
            zygote.stop()

    def places(self) -> set[str]:
        """The Pythons that zygotes stand on."""
        return {zygote.runtime.python for zygote in self._all()}

    def report(self) -> list[dict[str, Any]]:
        """What `status` tells of each runtime."""
        return [
            {
                "name": name,
                "ready": pair.shared.ready,
                "python": pair.shared.python,
                "left_out": pair.shared.left_out,
            }
            for name, pair in sorted(self.pairs.items())
        ]

    def report_one(self, name: str) -> dict[str, Any]:
        """All that is known of one runtime; `memory` is what its preloaded modules take, in bytes."""
        shared, bare = self.pairs[name].shared, self.pairs[name].bare
        return {
            "name": name,
            "ready": shared.ready,
            "python": shared.python,
            "path": shared.runtime.python,
            "pids": [zygote.pid for zygote in (shared, bare) if zygote.ready],
            "age": round(time.monotonic() - shared.started),
            "preloaded": shared.preloaded,
            "left_out": shared.left_out,
            "memory": shared.memory,
            "reads": sorted(shared.reads),
        }

    # ── one takes the place of another ───────────────────────────────────────────────────────────────────

    def _new(self, spec: RuntimeSpec, bare: bool) -> Zygote:
        self._generation += 1
        wanted = () if bare else self._wanted(spec.name)
        return self._make(spec, bare, self._generation, wanted, self._on_ready)

    def _on_ready(self, zygote: Zygote) -> None:
        pair = self.pairs.get(zygote.runtime.name)
        if pair is None or pair.coming.get(zygote.bare) is not zygote:
            return
        del pair.coming[zygote.bare]
        before = pair.bare if zygote.bare else pair.shared
        if zygote.bare:
            pair.bare = zygote
        else:
            pair.shared = zygote
        before.give_way(zygote)
        if not zygote.bare:
            self._log(
                f"runtime {zygote.runtime.name}: a new zygote, {len(zygote.preloaded)} modules preloaded"
            )
        self._tell(pair, True)

    def _give_up(self, zygote: Zygote) -> None:
        pair = self.pairs.get(zygote.runtime.name)
        if pair is not None and pair.coming.get(zygote.bare) is zygote:
            del pair.coming[zygote.bare]
            zygote.stop()
            self._log(
                f"runtime {zygote.runtime.name}: the new zygote does not become ready; the old one stays"
            )
            self._tell(pair, False)

    def _tell(self, pair: Pair, well: bool) -> None:
        if not pair.coming:
            waiting, pair.waiting = pair.waiting, []
            for on_done in waiting:
                on_done(well)

    def _heir(self, name: str, note: dict[str, Any]) -> Zygote | None:
        """Which of our zygotes a kept one, by its name there, is to be; the latest that is ready is taken."""
        runtime, kind, _ = name.rsplit(":", 2)
        pair = self.pairs.get(runtime)
        if pair is None or not note["ready"] or note["of"] != pair.shared.runtime.python:
            return None
        zygote = pair.bare if kind == "bare" else pair.shared
        return None if zygote.ready else zygote

    def _all(self) -> list[Zygote]:
        return [zygote for pair in self.pairs.values() for zygote in (*pair, *pair.coming.values())]


def _generation(kept: str) -> int:
    return int(kept.rpartition(":")[2])
