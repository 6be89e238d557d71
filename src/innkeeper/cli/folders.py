"""What the files of a node say, whether or not it is up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from innkeeper.cli.printing import say, stderr, stdout, tell
from innkeeper.spec.node import Layout
from innkeeper.spec.runtime import RuntimeSpec, parse_runtime
from innkeeper.spec.site import SiteSpec, parse_site
from innkeeper.spec.tenant import TenantSpec, parse_tenant
from innkeeper.supervisor.registry import SUFFIX, Folder, LastGood, Spec


def sites(layout: Layout) -> Folder[SiteSpec]:
    return _loaded(Folder(layout.sites, lambda name, text, file: parse_site(name, text, file=file)))


def wanted_sites(layout: Layout) -> dict[str, SiteSpec]:
    """What is to be served: of a file that is broken, the last good version."""
    folder = sites(layout)
    last_good = LastGood(layout.last_good, SiteSpec, say)
    recalled = {domain: spec for domain in folder.faults if (spec := last_good.recall(domain))}
    return folder.specs | recalled


def tenants(layout: Layout) -> Folder[TenantSpec]:
    return _loaded(Folder(layout.tenants, lambda name, text, file: parse_tenant(name, text, file=file)))


def runtimes(layout: Layout) -> Folder[RuntimeSpec]:
    return _loaded(Folder(layout.runtimes, lambda name, text, file: parse_runtime(name, text, file=file)))


def _loaded(folder: Folder[Spec]) -> Folder[Spec]:
    if folder.directory.is_dir():
        folder.load()
    return folder


def print_faults(folder: Folder[Any]) -> None:
    """What is wrong with files of a folder, and what to do about it."""
    for _, fault in sorted(folder.faults.items()):
        tell(stdout, fault.message, "[red]✗[/] ")
        tell(stdout, fault.hint, "  → ")


def misnamed(directory: Path) -> list[Path]:
    """The files that nobody reads because their names end in .TOML or the like."""
    if not directory.is_dir():
        return []
    return sorted(
        path for path in directory.iterdir() if path.suffix.lower() == SUFFIX and path.suffix != SUFFIX
    )


def warn_of_misnamed(*directories: Path) -> None:
    for directory in directories:
        for path in misnamed(directory):
            tell(stderr, f"{path} is not read", "[yellow]innkeeper:[/] ")
            tell(stderr, f"Rename it to {path.with_suffix(SUFFIX).name}, in small letters.", "  → ")
