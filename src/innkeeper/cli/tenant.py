"""innkeeper tenant: the owners of sites."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from innkeeper.cli import file, folders, terminal
from innkeeper.cli.app import Context, context, end_like, fail, names_in, refusals
from innkeeper.cli.printing import one_line, print_json, say, stdout, table
from innkeeper.control import client
from innkeeper.edge import logs
from innkeeper.kernel import files, processes, quota
from innkeeper.spec import names
from innkeeper.spec.node import Layout, NodeSettings
from innkeeper.spec.problem import SpecError
from innkeeper.spec.tenant import TenantSpec, render_tenant
from innkeeper.spec.values import bytes_of
from innkeeper.supervisor.main import edge_gid, read_settings

app = typer.Typer(no_args_is_help=True)
app.add_typer(file.app, name="file", help="A tenant's files: list, read, write, move, delete.")
_NAME = typer.Argument(metavar="NAME", autocompletion=names_in(lambda layout: layout.tenants))


def _sites(layout: Layout) -> dict[str, list[str]]:
    """The sites by their tenant."""
    found: dict[str, list[str]] = {}
    for domain, spec in sorted(folders.wanted_sites(layout).items()):
        found.setdefault(spec.tenant, []).append(domain)
    return found


@app.command("add", epilog="Example: innkeeper tenant add alice")
def add(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Add a tenant: a Unix user id of its own, a home, a /var/www and a /tmp. Works with the node up or down."""
    here = context(ctx)
    try:
        name = names.tenant_name(name)
        settings = read_settings(here.layout)
    except ValueError as error:
        fail(f"{name!r} can't be a tenant's name: {error}")
    except SpecError as error:
        fail(error.problem.message, error.problem.hint)
    with files.locked(here.layout.tenants):  # or two that are added at once would be one user
        existing = folders.tenants(here.layout)
        if name in existing.specs or name in existing.faults:
            fail(f"there is a tenant {name} already", "`innkeeper tenant list` shows all.")
        uid = _choose_uid(here.layout, settings, name, existing.specs.values())
        if uid is None:
            fail(
                "all user ids of this node are taken",
                "Widen `first_uid` … `last_uid` in innkeeper.toml, or delete what nobody needs any more in "
                f"{here.layout.removed}.",
            )
        make(here.layout, settings, name, uid)
    say(f"Tenant {name} added: user id {uid}, home {here.layout.tenant_home(name)}")


def _choose_uid(layout: Layout, settings: NodeSettings, name: str, known: Iterable[TenantSpec]) -> int | None:
    """The user id for a new tenant: that of the home it has already, or one that nobody has.

    A removed tenant has its own for as long as a process of its runs or its files are set aside.
    """
    owners = _owners(layout.tenants_data)
    own = owners.pop(name, None)
    taken = {*owners.values(), *(tenant.uid for tenant in known)}
    uids = range(settings.first_uid, settings.last_uid + 1)
    if own in uids and own not in taken:
        return own
    taken |= {*_owners(layout.removed).values(), *processes.users()}
    return next((uid for uid in uids if uid not in taken), None)


def _owners(directory: Path) -> dict[str, int]:
    """The user of each home there is: also of a tenant whose file is broken just now, or was deleted by hand."""
    return {home.parent.name: home.lstat().st_uid for home in directory.glob("*/home")}


def make(layout: Layout, settings: NodeSettings, name: str, uid: int) -> None:
    """Make a tenant's directories, and last the file by which the node knows it; all of it, or nothing."""
    is_new = not layout.tenant_data(name).exists()
    try:
        _make_directories(layout, settings, name, uid)
        files.write_atomically(layout.tenant_file(name), render_tenant(TenantSpec(name=name, uid=uid)))
    except BaseException:
        if is_new:
            shutil.rmtree(layout.tenant_data(name), ignore_errors=True)
        raise


def _make_directories(layout: Layout, settings: NodeSettings, name: str, uid: int) -> None:
    try:
        gid = edge_gid(settings)
    except KeyError:
        fail(
            f"there is no group {settings.nginx_user!r}, which nginx is to run as",
            "Create the user and group, or name others as `nginx_user` in innkeeper.toml.",
        )
    files.ensure_directory(layout.tenants, mode=0o755)
    files.ensure_directory(layout.tenants_data, mode=0o711)
    kept = quota.find(layout.tenants_data)
    if kept is not None and not layout.tenant_data(name).exists():
        kept.make(layout.tenant_data(name))
    files.ensure_directory(layout.tenant_data(name), mode=0o711)
    if kept is not None:
        _bound(kept, layout, name, uid, settings)
    files.ensure_directory(layout.tenant_home(name), mode=0o710, uid=uid, gid=gid)
    files.ensure_directory(layout.tenant_www(name), mode=0o710, uid=uid, gid=gid)
    files.ensure_directory(layout.tenant_tmp(name), mode=0o710, uid=uid, gid=gid)


def _bound(kept: quota.Quota, layout: Layout, name: str, uid: int, settings: NodeSettings) -> None:
    """Have the file system hold the tenant to its limits from the first file on."""
    limits = settings.tenant_limits
    try:
        kept.bound(layout.tenant_data(name), uid, bytes_of(limits.disk), limits.files)
    except OSError as error:
        say(f"{kept.name} could not be set for {name}: {error}; what its files take is measured instead")


@app.command("rm", epilog="Example: innkeeper tenant rm alice")
def remove(
    ctx: typer.Context,
    name: Annotated[str, _NAME],
    purge: Annotated[
        bool, typer.Option(help="Delete the tenant's files and logs at once, instead of setting them aside.")
    ] = False,
) -> None:
    """Remove a tenant that has no sites. Its files and logs are set aside in var/lib/innkeeper/removed.

    While they are there, or a process of the tenant's still runs, nobody else gets its user id.
    """
    here = context(ctx)
    existing = folders.tenants(here.layout)
    if name not in existing.specs and name not in existing.faults:
        fail(f"there is no tenant {name!r}", "`innkeeper tenant list` shows all.")
    if sites := {*_sites(here.layout).get(name, ()), *_served(here, name)}:
        fail(
            f"{name} has sites: {', '.join(sorted(sites))}",
            f"Delete their files in {here.layout.sites} first.",
        )
    here.layout.tenant_file(name).unlink()
    data, home = here.layout.tenant_data(name), here.layout.tenant_home(name)
    uid = home.lstat().st_uid if home.is_dir() else 0
    aside = here.layout.removed / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}"
    if data.is_dir() and purge:
        shutil.rmtree(data)
    elif data.is_dir():
        files.ensure_directory(aside.parent, mode=0o700)
        data.rename(aside)
    if uid:  # whoever has this user id one day may not read its logs
        logs.part_with(here.layout, uid, None if purge else aside / "logs")
    if aside.is_dir():
        say(f"Tenant {name} removed; its files are in {aside}")
        return
    say(f"Tenant {name} removed")


def _served(here: Context, name: str) -> list[str]:
    """The sites that the running node serves as the tenant's, whatever their files say by now."""
    answer = here.ask_if_up({"do": "status"}) or {"sites": []}
    mine = [site["domain"] for site in answer["sites"] if site["tenant"] == name]
    return [domain for domain in mine if os.path.lexists(here.layout.site_file(domain))]


@app.command("list")
def list_tenants(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """List the tenants."""
    here = context(ctx)
    folder = folders.tenants(here.layout)
    if as_json:
        print_json([{"name": spec.name, "uid": spec.uid} for _, spec in sorted(folder.specs.items())])
        return
    shown, sites = table("Tenant", "User id", "Sites", "Home"), _sites(here.layout)
    for name, spec in sorted(folder.specs.items()):
        home = one_line(str(here.layout.tenant_home(name)))
        shown.add_row(name, str(spec.uid), ", ".join(sites.get(name, ())) or "–", home)
    stdout.print(shown)
    folders.print_faults(folder)
    folders.warn_of_misnamed(here.layout.tenants)


@app.command(
    "run",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: innkeeper tenant run alice -- python -m pip list",
)
def run(
    ctx: typer.Context,
    name: Annotated[str, _NAME],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND…")],
    timeout: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="End it after so long, with status 124; 0 = never."),
    ] = 0,
) -> None:
    """Run a command in a tenant's sandbox, as the tenant; its output comes as it is made. The node must be up."""
    request = {"do": "run", "tenant": name, "arguments": command, "timeout": timeout}
    answer = context(ctx).ask(request, descriptors=[0, 1, 2], timeout=None)
    end_like(answer)


@app.command("shell", epilog="Example: innkeeper tenant shell alice")
def shell(ctx: typer.Context, name: Annotated[str, _NAME]) -> None:
    """Open a shell in a tenant's sandbox, as the tenant, with a terminal of its own. The node must be up."""
    here = context(ctx)
    request: dict[str, Any] = {"do": "run", "tenant": name, "arguments": ["/bin/bash", "-l"]}
    if not sys.stdin.isatty():
        end_like(here.ask(request, descriptors=[0, 1, 2], timeout=None))
    request["environment"] = {"TERM": os.environ.get("TERM", "dumb"), "PS1": r"\u:\w\$ "}
    request["terminal"] = True
    with refusals(here):
        end_like(
            terminal.relay(lambda ends: client.ask(here.layout.control_socket, request, ends, timeout=None))
        )
