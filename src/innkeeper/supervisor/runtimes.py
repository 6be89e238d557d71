"""The runtimes of a node: those that its files name, and the one that came with Innkeeper."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from innkeeper.spec.node import Layout, NodeSettings
from innkeeper.spec.runtime import RuntimeSpec, parse_runtime
from innkeeper.supervisor.registry import Folder


def _age(name: str) -> list[int | str]:
    """What to sort runtimes by, so that python3.9 comes before python3.11."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def built_in() -> dict[str, RuntimeSpec]:
    """The runtimes beside our own environment: <environment>/runtimes/NAME/bin/python."""
    found: dict[str, RuntimeSpec] = {}
    for python in sorted(Path(sys.prefix, "runtimes").glob("*/bin/python")):
        name = python.parents[1].name
        found[name] = RuntimeSpec(name=name, python=str(python))
    return found


def folder(layout: Layout) -> Folder[RuntimeSpec]:
    """The files of the runtimes that were added, not read yet."""
    return Folder[RuntimeSpec](layout.runtimes, lambda name, text, file: parse_runtime(name, text, file=file))


def load(
    added: Folder[RuntimeSpec], settings: NodeSettings, log: Callable[[str], None]
) -> tuple[dict[str, RuntimeSpec], str]:
    """All runtimes by name, and the name of the default one ("" when there is none).

    `added` is read anew. Of a file that is broken meanwhile the runtime stays what it was.
    """
    own = built_in()
    added.load()
    for fault in added.faults.values():
        log(f"{fault.message} {fault.hint}")
    found = {**own, **added.specs}
    # Ours as long as there is one: a runtime that is added is not to take over the sites that name none.
    default = settings.default_runtime or max(own or found, key=_age, default="")
    if not found:
        log(
            "there is no runtime, so no app can be served; run scripts/setup, or add one to etc/innkeeper/runtimes"
        )
    return found, default
