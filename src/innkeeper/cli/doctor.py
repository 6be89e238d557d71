"""innkeeper doctor: what this machine has, what is missing, what that costs, and the command that mends it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from innkeeper.cli.app import context, fail
from innkeeper.cli.printing import one_line, print_json, stdout, table, tell
from innkeeper.supervisor import facilities
from innkeeper.supervisor.facilities import Facility

HELP = "Look at this machine: what a node needs, what is missing, and what to do about it."
EPILOG = "Example: innkeeper doctor. Its exit status is 0 when tenants can be isolated fully here, else 1."


def doctor(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    layout = context(ctx, makes_root=True).layout
    if os.geteuid() != 0:
        fail("the doctor tries things out that only root may do", "Run it with sudo.", 2)
    found = facilities.all_of(layout)
    full = all(facility.ok for facility in found if facility.wall)
    if as_json:
        isolation = "full" if full else "reduced"
        print_json({"isolation": isolation, "facilities": [facility._asdict() for facility in found]})
    else:
        _show(found, full=full)
    raise typer.Exit(0 if full and all(facility.ok or not _is_needed(facility) for facility in found) else 1)


def _is_needed(facility: Facility) -> bool:
    return facility.name in ("nginx", "runtimes")


def _show(found: list[Facility], *, full: bool) -> None:
    shown = table("Facility", "", "Found here")
    for facility in found:
        mark = "[green]✓[/]" if facility.ok else "[red]✗[/]" if facility.wall else "[yellow]–[/]"
        shown.add_row(facility.name, mark, one_line(facility.found))
    stdout.print(shown)
    for facility in found:
        if not facility.ok:
            style = "red" if facility.wall else "yellow"
            stdout.print()
            tell(stdout, f"{facility.cost}.", f"[{style}]{facility.name}[/]: ")
            tell(stdout, facility.remedy, "  → ")
    if full:
        stdout.print("\nTenants can be isolated fully on this machine.")
    else:
        stdout.print(
            '\n[bold yellow]Isolation is reduced here;[/] with isolation = "full" a node does not start.'
        )
