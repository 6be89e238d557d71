"""innkeeper: the command itself, its common options and its commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import innkeeper
from innkeeper.cli import ca, doctor, runtime, site, status, tenant, up
from innkeeper.cli.app import Context
from innkeeper.spec.node import Layout

app = typer.Typer(
    name="innkeeper",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: innkeeper --root /srv/node up --http 0.0.0.0:80",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"innkeeper {innkeeper.__version__}")
        raise typer.Exit


@app.callback()
def common(
    ctx: typer.Context,
    root: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Prefix of all the node's files, as in DESTDIR.", envvar="INNKEEPER_ROOT"
        ),
    ] = Path("/"),
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end."),
    ] = False,
) -> None:
    """Host many people's Python web apps on one machine: asleep until a visitor comes, walled off, never lost."""
    ctx.obj = Context(Layout(root.absolute()))


app.command("up", help=up.HELP, epilog=up.EPILOG)(up.up)
app.command("doctor", help=doctor.HELP, epilog=doctor.EPILOG)(doctor.doctor)
app.command("status", help=status.HELP)(status.status)
app.add_typer(site.app, name="site", help="The sites: list, look into, reload, switch on and off, read logs.")
app.add_typer(tenant.app, name="tenant", help="The tenants: add, remove, list, run a command as one.")
app.add_typer(runtime.app, name="runtime", help="The runtimes: build, rebuild, remove, list, look into.")
app.add_typer(ca.app, name="ca", help="The node's own certificate authority.")


def main() -> None:
    """The console script."""
    app()
