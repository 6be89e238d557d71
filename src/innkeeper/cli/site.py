"""innkeeper site: list, look into, reload, switch on and off, read logs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import tomlkit
import typer
from rich.markup import escape

from innkeeper.cli import folders
from innkeeper.cli.app import Context, context, fail, names_in
from innkeeper.cli.following import Followed
from innkeeper.cli.printing import Outlet, print_json, say, stdout
from innkeeper.cli.status import print_problems, sites_table
from innkeeper.kernel import files
from innkeeper.spec import limits, names
from innkeeper.spec.problem import Problem, SpecError
from innkeeper.spec.site import SiteSpec, parse_site
from innkeeper.supervisor.registry import SUFFIX, read

app = typer.Typer(no_args_is_help=True)


def _normal(domain: str) -> str:
    """The domain as its file is named: lower case, punycode. What is no domain may still be a misnamed file."""
    try:
        return names.domain(domain)
    except ValueError as error:
        if not domain or domain.startswith(".") or "/" in domain or len(os.fsencode(domain)) > _LONGEST_NAME:
            fail(f"{domain!r} is no domain: {error}", "`innkeeper site list` shows the sites there are.")
        return domain


_DOMAIN = typer.Argument(
    metavar="DOMAIN", callback=_normal, autocompletion=names_in(lambda layout: layout.sites)
)
_LOGS = ("access", "error", "server")
_LONGEST_NAME = limits.MAX_SEGMENT - len(SUFFIX)
_FOLLOW_STEP = 0.2
_NOT_LOADED = ("load-", "virtualenv-", "start-", "sandbox-")  # how the codes of a reload's failure begin


def _parse(name: str, text: str, file: str) -> SiteSpec:
    return parse_site(name, text, file=file)


def _text(path: Path) -> str:
    return path.read_text("utf-8-sig")


def _from_file(here: Context, domain: str) -> tuple[SiteSpec | None, Problem | None]:
    """What the site's file says, whether or not the node is up."""
    path = here.layout.site_file(domain)
    if not os.path.lexists(path):  # a link that leads nowhere is told as the file that can't be read
        _miss(here, domain)
    try:
        return read(path, _parse), None
    except SpecError as error:
        return None, error.problem


def _miss(here: Context, domain: str) -> NoReturn:
    """There is no file of this site: tell what may be meant."""
    for path in folders.misnamed(here.layout.sites):
        if path.stem.lower() == domain:
            fail(
                f"there is no site {domain!r}, because {path} is not read",
                f"Rename it to {domain}{SUFFIX}, in small letters.",
            )
    for name, fault in folders.sites(here.layout).faults.items():
        if name.lower() == domain:
            fail(fault.message, fault.hint)
    for name, spec in folders.sites(here.layout).specs.items():
        if domain in spec.aliases:
            fail(f"{domain} is an alias of the site {name}", f"Name the site: {name}")
    fail(f"there is no site {domain!r}", "`innkeeper site list` shows those there are.")


def _offline(domain: str, spec: SiteSpec | None, problem: Problem | None) -> dict[str, Any]:
    """A site's report when no node is up."""
    return {
        "domain": domain,
        "tenant": spec.tenant if spec else None,
        "kind": (spec.app.kind if spec.app else "static") if spec else None,
        "state": "failed" if spec is None else "asleep" if spec.enabled else "disabled",
        "pid": None,
        "wakes": 0,
        "cold_start_ms": None,
        "hibernating": False,
        "problems": [msgspec.to_builtins(problem)] if problem else [],
    }


@app.command("list")
def list_sites(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """List all sites, with what the running node says of them."""
    here = context(ctx)
    answer = here.ask_if_up({"do": "status"})
    if answer is not None:
        sites = answer["sites"]
    else:
        folder = folders.sites(here.layout)
        found = sorted({*folder.specs, *folder.faults})
        sites = [_offline(name, folder.specs.get(name), folder.faults.get(name)) for name in found]
    if as_json:
        print_json(sites)
        return
    stdout.print(sites_table(sites))
    if answer is None:
        say(f"({here.silence}; this is what the files say)")
    folders.warn_of_misnamed(here.layout.sites)


@app.command("show", epilog="Example: innkeeper site show blog.example.org")
def show(
    ctx: typer.Context,
    domain: Annotated[str, _DOMAIN],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Show one site: what its file says, what it is doing and what is wrong. Works with the node up or down."""
    here = context(ctx)
    spec, problem = _from_file(here, domain)
    report = here.ask_if_up({"do": "site", "domain": domain})
    found = report or _offline(domain, spec, problem)
    found["spec"] = msgspec.to_builtins(spec) if spec else None
    if as_json:
        print_json(found)
        return
    stdout.print(sites_table([found]))
    if report is None:
        say(f"({here.silence}; this is what the file says)")
    say(f"\nFile   {here.layout.site_file(domain)}")
    say(f"Logs   {here.layout.log_dir(domain)}")
    if spec is not None:
        stdout.print(f"\n{escape(_text(here.layout.site_file(domain)).rstrip())}", style="dim")
    print_problems(found["domain"], found["problems"])


@app.command("reload", epilog="Example: innkeeper site reload blog.example.org")
def reload(ctx: typer.Context, domain: Annotated[str, _DOMAIN]) -> None:
    """Load the site's code anew, with no request lost; the old code goes on serving if the new does not load."""
    here = context(ctx)
    _from_file(here, domain)
    found = here.ask({"do": "reload", "domain": domain})
    deadline = time.monotonic() + 30.0
    while found["state"] in ("starting", "reloading") and time.monotonic() < deadline:
        time.sleep(0.05)
        found = here.ask({"do": "site", "domain": domain})
    print_problems(found["domain"], found["problems"])
    if any(problem["code"].startswith(_NOT_LOADED) for problem in found["problems"]):
        raise typer.Exit(1)
    say(
        f"{domain}: {'asleep, loads the new code when it wakes' if found['state'] == 'asleep' else found['state']}"
    )


@app.command("enable")
def enable(ctx: typer.Context, domain: Annotated[str, _DOMAIN]) -> None:
    """Switch a site on again."""
    _switch(context(ctx), domain, enabled=True)


@app.command("disable")
def disable(ctx: typer.Context, domain: Annotated[str, _DOMAIN]) -> None:
    """Switch a site off: visitors see a page that says so, nothing wakes it."""
    _switch(context(ctx), domain, enabled=False)


def _switch(here: Context, domain: str, *, enabled: bool) -> None:
    """Change `enabled` in the site's file, leaving the rest of it, with its comments, as it is."""
    _, problem = _from_file(here, domain)
    if problem is not None:
        fail(problem.message, problem.hint)
    path = here.layout.site_file(domain)
    document = tomlkit.parse(_text(path))
    if bool(document.get("enabled", True)) != enabled:
        if "enabled" in document:
            document["enabled"] = enabled
        else:
            text = tomlkit.dumps(document)
            document = tomlkit.parse(f"enabled = {str(enabled).lower()}\n{text}")
        files.rewrite(path, tomlkit.dumps(document))
    say(f"{domain} is switched {'on' if enabled else 'off'}")


@app.command("logs", epilog="Example: innkeeper site logs blog.example.org --follow")
def logs(
    ctx: typer.Context,
    domain: Annotated[str, _DOMAIN],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added.")] = False,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="access, error or server; may be given more than once.", autocompletion=lambda: list(_LOGS)
        ),
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="How many of the last lines of each.")
    ] = 20,
) -> None:
    """Print the site's logs: access (requests), error (stderr and tracebacks), server (stdout and uWSGI)."""
    here = context(ctx)
    _from_file(here, domain)
    kinds = kind or list(_LOGS)
    if unknown := [name for name in kinds if name not in _LOGS]:
        fail(f"there is no {unknown[0]!r} log", f"A site has the logs {', '.join(_LOGS)}.")
    followed = {name: (Followed(here.layout.log_dir(domain) / f"{name}.log"), Outlet()) for name in kinds}
    for name, (log, outlet) in followed.items():
        tail = log.last(lines)
        if len(followed) > 1 and tail:
            stdout.print(f"[bold]── {name}.log[/]")
        outlet.write(tail if follow or not tail or tail.endswith(b"\n") else tail + b"\n")
    try:
        while follow:
            time.sleep(_FOLLOW_STEP)
            for log, outlet in followed.values():
                if added := log.added():
                    outlet.write(added)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    finally:
        for log, _ in followed.values():
            log.close()
