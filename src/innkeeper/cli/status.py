"""innkeeper status: the whole node at a glance."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from innkeeper.cli.app import STATE_STYLES, context, print_json, stdout

HELP = "Show the running node and its sites."


def status(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    answer = context(ctx).ask({"do": "status"})
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


def sites_table(sites: list[dict[str, Any]]) -> Table:
    """The sites as a table for people."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("Site", "Tenant", "Kind", "State", "Pid"):
        table.add_column(heading, overflow="fold")
    for heading in ("Wakes", "Cold start"):
        table.add_column(heading, justify="right")
    for site in sites:
        started = site["cold_start_ms"]
        style = STATE_STYLES.get(site["state"], "")
        table.add_row(
            site["domain"],
            site["tenant"] or "–",
            site["kind"] or "–",
            f"[{style}]{site['state']}[/]" + (" [red]![/]" if site["problems"] else ""),
            str(site["pid"] or "–"),
            str(site["wakes"]),
            f"{started:g} ms" if started is not None else "–",
        )
    return table


def print_problems(name: str, problems: list[dict[str, str]]) -> None:
    """What is wrong with a site or tenant, and what to do about it."""
    for problem in problems:
        stdout.print(f"\n[red]{name}[/] [bold]{problem['code']}[/]: {escape(problem['message'])}")
        stdout.print(f"  → {escape(problem['hint'])}")
