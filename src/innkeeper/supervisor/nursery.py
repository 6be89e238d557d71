"""The zygotes of a node: of each runtime a shared one that is warm, and a bare one that has no packages.

A worker comes from the shared zygote when its app uses the runtime's packages, from the bare one when it has
others, and from the bare one as well while the shared one is away: slower, and no less correct.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from innkeeper.spec.runtime import RuntimeSpec
from innkeeper.supervisor.zygotes import Zygote


class Ground(NamedTuple):
    """What a worker is to be started from: a runtime's zygote, and an interpreter to be executed, if any."""

    runtime: str
    bare: bool = False
    interpreter: str = ""


class Pair:
    """The zygotes of one runtime."""

    def __init__(self, shared: Zygote, bare: Zygote) -> None:
        self.shared = shared
        self.bare = bare

    def __iter__(self) -> Iterator[Zygote]:
        yield from (self.bare, self.shared)


class Nursery:
    """All zygotes, by runtime. `make` makes one of a runtime, shared or bare."""

    def __init__(self, make: Callable[[RuntimeSpec, bool], Zygote], drop: Callable[[str], None]) -> None:
        self._make = make
        self._drop = drop  # tells the keeper to let go of a channel
        self.default = ""
        self.pairs: dict[str, Pair] = {}

    def open(
        self,
        specs: dict[str, RuntimeSpec],
        default: str,
        legacy: dict[str, tuple[socket.socket, dict[str, Any]]],
    ) -> None:
        """Start the zygotes of all runtimes, or go on with those that an earlier supervisor started."""
        self.default = default
        for spec in specs.values():
            self.pairs[spec.name] = Pair(self._make(spec, False), self._make(spec, True))
        ours = {zygote.kept_name: zygote for pair in self.pairs.values() for zygote in pair}
        for name, (channel, note) in legacy.items():
            zygote = ours.get(f"zygote:{name}")
            if zygote is None:
                channel.close()
                self._drop(f"zygote:{name}")
            else:
                zygote.adopt(channel, note)
        for zygote in ours.values():
            zygote.start()

    def has(self, runtime: str) -> bool:
        return runtime in self.pairs

    def zygote(self, ground: Ground) -> Zygote:
        """The zygote to order a worker from. KeyError for a runtime that is not there."""
        pair = self.pairs[ground.runtime]
        if ground.bare or (pair.bare.ready and not pair.shared.ready):
            return pair.bare
        return pair.shared

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
        for pair in self.pairs.values():
            for zygote in pair:
                zygote.stop()

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
