"""innkeeper ca: the node's own certificate authority."""

from __future__ import annotations

import typer

from innkeeper.cli.app import fail

app = typer.Typer(no_args_is_help=True)


@app.command("path", help="Print where the certificate of the node's own CA is.")
def path() -> None:
    fail("this node has no certificate authority yet", "TLS comes with a later version of Innkeeper.")
