"""innkeeper: the command itself, its common options and its commands."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import innkeeper
from innkeeper.cli import ca, doctor, runtime, site, status, tenant, up
from innkeeper.cli.app import Context
from innkeeper.cli.printing import stderr, tell
from innkeeper.spec.node import Layout

app = typer.Typer(
    name="innkeeper",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: innkeeper --root /srv/node up --http 0.0.0.0:80",
)

_OTHERWISE = "Look at what is there, with `ls -ld`, and run the command again when it is as it should be."
_NEXT_STEPS = {
    errno.EPERM: "Not even root may do this here: look at `lsattr -d`, and at how the file system is mounted.",
    errno.EACCES: "Not even root may do this here: look at `lsattr -d`, and at how the file system is mounted.",
    errno.EROFS: "The file system is mounted to be read only: mount it anew, or choose another --root.",
    errno.ENOSPC: "Free some space (`df -h` and `df -i` tell where there is none), and run the command again.",
    errno.EDQUOT: "A quota is used up: raise it or delete something, and run the command again.",
    errno.EFBIG: "A limit of file sizes is in force: look at `ulimit -f`.",
    errno.EMFILE: "Too many files are open: look at `ulimit -n`.",
    errno.ENFILE: "Too many files are open on this machine: look at /proc/sys/fs/file-nr.",
    errno.ENOMEM: "The machine has no memory left: end something, and run the command again.",
    errno.EBADF: "Standard input is closed: give the command one, such as a file, a pipe or </dev/null.",
    errno.EIO: "The disk fails: look at `dmesg`.",
}


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
    os.umask(0o022)  # nginx and tenants get through the directories that are made, here and by the supervisor
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
    _open_what_is_closed()
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # a terminal or a pipe that is not of UTF-8 has all of it all the same
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except OSError as error:
        tell(stderr, _plain(error), "[bold red]innkeeper:[/] ")
        tell(stderr, _next_step(error), "  → ")
        sys.exit(1)


def _open_what_is_closed() -> None:
    """A stream that we were started without: what is written to it is lost, to read from it is an error.

    Its descriptor would else be that of the next file, which is no more what anybody meant.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_WRONLY), True)  # the lowest that is free is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115


def _plain(error: OSError) -> str:
    """What the machine refused, and where."""
    where = ", ".join(os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None)
    what = error.strerror or str(error) or type(error).__name__
    return f"{where}: {what}" if where else what


def _next_step(error: OSError) -> str:
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return "Run the command as root or with sudo."
    return _NEXT_STEPS.get(error.errno or 0, _OTHERWISE)
