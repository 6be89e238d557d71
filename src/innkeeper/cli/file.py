"""innkeeper tenant file: a tenant's files, reached through the tenant's sandbox and never as root."""

from __future__ import annotations

import json
import tempfile
import time
from typing import Annotated, Any

import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from innkeeper.cli.app import context, names_in, print_json, stdout

app = typer.Typer(no_args_is_help=True)
_NAME = typer.Argument(metavar="NAME", autocompletion=names_in(lambda layout: layout.tenants))
_PATH = typer.Argument(metavar="PATH", help="As the tenant sees it: /home/NAME/…, /var/www/…, /tmp/….")


def _do(ctx: typer.Context, tenant: str, task: dict[str, Any], output: int = 1) -> int:
    request = {"do": "run", "tenant": tenant, "task": task}
    return int(context(ctx).ask(request, descriptors=[0, output, 2], timeout=None)["status"])


@app.command("list", epilog="Example: innkeeper tenant file list alice /var/www")
def list_files(
    ctx: typer.Context,
    name: Annotated[str, _NAME],
    path: Annotated[str, _PATH],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """List a directory."""
    with tempfile.TemporaryFile() as answer:
        status = _do(ctx, name, {"do": "list", "path": path}, answer.fileno())
        answer.seek(0)
        entries = [_entry(line) for line in answer.read().splitlines()]
    if status:
        raise typer.Exit(status)
    if as_json:
        print_json(entries)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Name", overflow="fold")
    table.add_column("Size", justify="right")
    table.add_column("Mode", justify="right")
    table.add_column("Modified (UTC)")
    for entry in entries:
        size = decimal(entry["size"]) if entry["kind"] == "file" else "–"
        mark = {"directory": "/", "link": "@"}.get(entry["kind"], "")
        modified = time.strftime("%Y-%m-%d %H:%M", time.gmtime(entry["modified"]))
        table.add_row(escape(entry["name"]) + mark, size, entry["mode"], modified)
    stdout.print(table)


def _entry(line: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    return found


@app.command("read", epilog="Example: innkeeper tenant file read alice /var/www/app.py > app.py")
def read(ctx: typer.Context, name: Annotated[str, _NAME], path: Annotated[str, _PATH]) -> None:
    """Print a file."""
    raise typer.Exit(_do(ctx, name, {"do": "read", "path": path}))


@app.command("write", epilog="Example: innkeeper tenant file write alice /var/www/app.py < app.py")
def write(
    ctx: typer.Context,
    name: Annotated[str, _NAME],
    path: Annotated[str, _PATH],
    parents: Annotated[
        bool, typer.Option(help="Make the directories above it, where they are missing.")
    ] = False,
) -> None:
    """Write a file from standard input; it is there whole, or not at all."""
    raise typer.Exit(_do(ctx, name, {"do": "write", "path": path, "parents": parents}))


@app.command("move", epilog="Example: innkeeper tenant file move alice /tmp/app.py /var/www/app.py")
def move(
    ctx: typer.Context,
    name: Annotated[str, _NAME],
    path: Annotated[str, _PATH],
    to: Annotated[str, typer.Argument(metavar="TO")],
    replace: Annotated[bool, typer.Option(help="Take the place of a file that is there.")] = False,
) -> None:
    """Move or rename a file or directory."""
    raise typer.Exit(_do(ctx, name, {"do": "move", "path": path, "to": to, "replace": replace}))


@app.command("delete", epilog="Example: innkeeper tenant file delete alice /home/alice/old --all")
def delete(
    ctx: typer.Context,
    name: Annotated[str, _NAME],
    path: Annotated[str, _PATH],
    everything: Annotated[
        bool, typer.Option("--all", help="Of a directory: with all that is in it.")
    ] = False,
) -> None:
    """Delete a file, or a directory."""
    raise typer.Exit(_do(ctx, name, {"do": "delete", "path": path, "all": everything}))


@app.command("mkdir", epilog="Example: innkeeper tenant file mkdir alice /home/alice/blog")
def make_directory(ctx: typer.Context, name: Annotated[str, _NAME], path: Annotated[str, _PATH]) -> None:
    """Make a directory, and those above it."""
    raise typer.Exit(_do(ctx, name, {"do": "make-directory", "path": path}))
