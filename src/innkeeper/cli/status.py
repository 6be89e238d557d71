"""innkeeper status: the whole node at a glance."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from innkeeper.cli import folders
from innkeeper.cli.app import STATE_STYLES, context
from innkeeper.cli.printing import one_line, print_json, stdout, table, tell
from innkeeper.spec.node import Layout

HELP = "Show the running node and its sites."


def status(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    here = context(ctx)
    answer = here.ask({"do": "status"})
    if as_json:
        print_json(answer)
        return
    stdout.print(
        f"Innkeeper {answer['version']} · keeper {answer['keeper_pid']} · supervisor {answer['supervisor_pid']} · "
        f"isolation {answer['isolation']}"
    )
    if answer["isolation"] != "full":
        stdout.print("[bold yellow]Reduced isolation:[/] `innkeeper doctor` says why, and what to do.")
    stdout.print(sites_table(answer["sites"]))
    told = {problem["message"] for site in answer["sites"] for problem in site["problems"]}
    for site in answer["sites"]:
        print_problems(site["domain"], site["problems"])
    for tenant in answer["tenants"]:
        rest = [problem for problem in tenant["problems"] if problem["message"] not in told]
        print_problems(f"tenant {tenant['name']}", rest)
    _print_faults(here.layout)


def sites_table(sites: list[dict[str, Any]]) -> Table:
    """The sites as a table for people."""
    numbers = ("Wakes", "Cold start")
    shown = table("Site", "Tenant", "Kind", "State", "Pid", *numbers, right=numbers)
    for site in sites:
        started = site["cold_start_ms"]
        style = STATE_STYLES.get(site["state"], "")
        shown.add_row(
            one_line(site["domain"]),
            site["tenant"] or "–",
            site["kind"] or "–",
            f"[{style}]{site['state']}[/]" + (" [red]![/]" if site["problems"] else ""),
            str(site["pid"] or "–"),
            str(site["wakes"]),
            f"{started:g} ms" if started is not None else "–",
        )
    return shown


def print_problems(name: str, problems: list[dict[str, str]]) -> None:
    """What is wrong with a site or tenant, and what to do about it."""
    for problem in problems:
        stdout.print()
        tell(stdout, problem["message"], f"[red]{one_line(name)}[/] [bold]{problem['code']}[/]: ")
        tell(stdout, problem["hint"], "  → ")


def _print_faults(layout: Layout) -> None:
    """What is wrong with files that are not a site's, and files that nobody reads."""
    for folder in (folders.tenants(layout), folders.runtimes(layout)):
        if folder.faults:
            stdout.print()
        folders.print_faults(folder)
    folders.warn_of_misnamed(layout.sites, layout.tenants, layout.runtimes)
