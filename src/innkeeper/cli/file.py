"""innkeeper tenant file: a tenant's files, reached through the tenant's sandbox and never as root."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from typing import Annotated, Any

import typer
from rich.filesize import decimal

from innkeeper.cli.app import context, end_like, fail, names_in
from innkeeper.cli.printing import Outlet, one_line, print_json, stdout, table

app = typer.Typer(no_args_is_help=True)
_CHUNK = 65536


def _full(path: str) -> str:
    if not path.startswith("/"):
        fail(f"{path!r} does not begin with /", "Name it in full, as the tenant sees it: /home/NAME/…")
    return path


_NAME = typer.Argument(metavar="NAME", autocompletion=names_in(lambda layout: layout.tenants))
_PATH = typer.Argument(
    metavar="PATH", callback=_full, help="As the tenant sees it: /home/NAME/…, /var/www/…, /tmp/…."
)


def _do(ctx: typer.Context, tenant: str, task: dict[str, Any], output: int = 1) -> None:
    """Have a task done, whose data go to the descriptor `output`; ends the command when it fails."""
    request = {"do": "run", "tenant": tenant, "task": task}
    with tempfile.TemporaryFile() as words:
        answer = context(ctx).ask(request, descriptors=[0, output, words.fileno()], timeout=None)
        words.seek(0)
        said = words.read().decode(errors="surrogateescape").strip()
    if answer["status"] and said:
        fail(said, status=int(answer["status"]))
    if answer["status"]:
        end_like(answer)


@app.command("list", epilog="Example: innkeeper tenant file list alice /var/www")
def list_files(
    ctx: typer.Context,
    name: Annotated[str, _NAME],
    path: Annotated[str, _PATH],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """List a directory."""
    with tempfile.TemporaryFile() as answer:
        _do(ctx, name, {"do": "list", "path": path}, answer.fileno())
        answer.seek(0)
        entries = [_entry(line) for line in answer.read().splitlines()]
    if as_json:
        print_json(entries)
        return
    shown = table("Name", "Size", "Mode", "Modified (UTC)", right=("Size", "Mode"))
    for entry in entries:
        size = decimal(entry["size"]) if entry["kind"] == "file" else "–"
        mark = {"directory": "/", "link": "@"}.get(entry["kind"], "")
        modified = time.strftime("%Y-%m-%d %H:%M", time.gmtime(entry["modified"]))
        shown.add_row(one_line(entry["name"]) + mark, size, entry["mode"], modified)
    stdout.print(shown)


def _entry(line: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    return found


@app.command("read", epilog="Example: innkeeper tenant file read alice /var/www/app.py > app.py")
def read(ctx: typer.Context, name: Annotated[str, _NAME], path: Annotated[str, _PATH]) -> None:
    """Print a file."""
    task = {"do": "read", "path": path}
    if not sys.stdout.isatty():
        _do(ctx, name, task)
        return
    source, sink = os.pipe()
    showing = threading.Thread(target=_show, args=(source,))
    showing.start()
    try:
        _do(ctx, name, task, sink)
    finally:
        os.close(sink)
        showing.join()


def _show(source: int) -> None:
    """What comes through a pipe, until its end, for a terminal."""
    outlet = Outlet()
    with open(source, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            outlet.write(chunk)


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
    _do(ctx, name, {"do": "write", "path": path, "parents": parents})


@app.command("move", epilog="Example: innkeeper tenant file move alice /tmp/app.py /var/www/app.py")
def move(
    ctx: typer.Context,
    name: Annotated[str, _NAME],
    path: Annotated[str, _PATH],
    to: Annotated[str, typer.Argument(metavar="TO")],
    replace: Annotated[bool, typer.Option(help="Take the place of a file that is there.")] = False,
) -> None:
    """Move or rename a file or directory."""
    _do(ctx, name, {"do": "move", "path": path, "to": to, "replace": replace})


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
    _do(ctx, name, {"do": "delete", "path": path, "all": everything})


@app.command("mkdir", epilog="Example: innkeeper tenant file mkdir alice /home/alice/blog")
def make_directory(ctx: typer.Context, name: Annotated[str, _NAME], path: Annotated[str, _PATH]) -> None:
    """Make a directory, and those above it."""
    _do(ctx, name, {"do": "make-directory", "path": path})
