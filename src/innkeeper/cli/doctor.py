"""innkeeper doctor: what this machine has, what is missing, what that costs, and the command that mends it."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from innkeeper.cli.app import context, fail, print_json, stdout
from innkeeper.supervisor import facilities
from innkeeper.supervisor.facilities import Facility

HELP = "Look at this machine: what a node needs, what is missing, and what to do about it."
EPILOG = "Example: innkeeper doctor. Its exit status is 0 when tenants can be isolated fully here, else 1."


def doctor(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    layout = context(ctx).layout
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
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("Facility", "", "Found here"):
        table.add_column(heading, overflow="fold")
    for facility in found:
        mark = "[green]✓[/]" if facility.ok else "[red]✗[/]" if facility.wall else "[yellow]–[/]"
        table.add_row(facility.name, mark, escape(facility.found))
    stdout.print(table)
    for facility in found:
        if not facility.ok:
            style = "red" if facility.wall else "yellow"
            stdout.print(f"\n[{style}]{facility.name}[/]: {escape(facility.cost)}.")
            stdout.print(f"  → {escape(facility.remedy)}")
    if full:
        stdout.print("\nTenants can be isolated fully on this machine.")
    else:
        stdout.print(
            '\n[bold yellow]Isolation is reduced here;[/] with isolation = "full" a node does not start.'
        )
