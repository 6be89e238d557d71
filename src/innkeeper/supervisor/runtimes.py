"""The runtimes of a node: those that its files name, and the one that came with Innkeeper."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from innkeeper.spec.node import Layout, NodeSettings
from innkeeper.spec.runtime import RuntimeSpec, parse_runtime
from innkeeper.supervisor.registry import Folder, LastGood, LastingFolder


def _age(name: str) -> list[int | str]:
    """What to sort runtimes by, so that python3.9 comes before python3.11."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def newest(found: dict[str, RuntimeSpec]) -> str:
    """The name of the newest of them by its name; "" when there is none."""
    return max(found, key=_age, default="")


def built_in() -> dict[str, RuntimeSpec]:
    """The runtimes beside our own environment: <environment>/runtimes/NAME/bin/python."""
    found: dict[str, RuntimeSpec] = {}
    for python in sorted(Path(sys.prefix, "runtimes").glob("*/bin/python")):
        name = python.parents[1].name
        found[name] = RuntimeSpec(name=name, python=str(python))
    return found


def _parse(name: str, text: str, file: str) -> RuntimeSpec:
    return parse_runtime(name, text, file=file)


def folder(layout: Layout) -> Folder[RuntimeSpec]:
    """The files of the runtimes that were added, as they are; not read yet."""
    return Folder[RuntimeSpec](layout.runtimes, _parse)


def lasting_folder(layout: Layout, log: Callable[[str], None]) -> Folder[RuntimeSpec]:
    """The same, in which the last good version of a broken file stays in force."""
    return LastingFolder[RuntimeSpec](
        layout.runtimes, _parse, LastGood(layout.last_good_runtimes, RuntimeSpec, log)
    )


def load(
    added: Folder[RuntimeSpec], settings: NodeSettings, log: Callable[[str], None]
) -> tuple[dict[str, RuntimeSpec], str]:
    """All runtimes by name, and the name of the default one ("" when there is none).

    `added`, a lasting folder, is read anew.
    """
    own = built_in()
    added.load()
    for fault in added.faults.values():
        log(f"{fault.message} {fault.hint}")
    found = {**own, **added.specs}
    # Ours as long as there is one: a runtime that is added is not to take over the sites that name none.
    default = settings.default_runtime or newest(own or found)
    if not found:
        log(
            "there is no runtime, so no app can be served; run scripts/setup, or add one to etc/innkeeper/runtimes"
        )
    return found, default
