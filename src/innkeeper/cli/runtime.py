"""innkeeper runtime: the Pythons that apps run on, and their packages."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import tomlkit
import typer
from rich.table import Table

from innkeeper.cli import environments, folders
from innkeeper.cli.app import NODE_DOWN, Context, context, fail, names_in
from innkeeper.cli.environments import Base, BuildError
from innkeeper.cli.printing import one_line, print_json, say, stderr, stdout, table
from innkeeper.kernel import files
from innkeeper.spec import names
from innkeeper.spec.problem import SpecError
from innkeeper.spec.runtime import RuntimeSpec
from innkeeper.supervisor import runtimes
from innkeeper.supervisor.main import read_settings

app = typer.Typer(no_args_is_help=True)
_NAME = typer.Argument(metavar="NAME", autocompletion=names_in(lambda layout: layout.runtimes))
_JSON = typer.Option("--json", help="Print JSON for machines.")
_READY_LIMIT = 120.0  # seconds that a running node has for warming the new one
_SHOWN = 12  # modules of a list that are shown to people


def _all(here: Context) -> tuple[dict[str, RuntimeSpec], str]:
    """All runtimes, as the files say, and the default one."""
    try:
        settings = read_settings(here.layout)
    except SpecError as error:
        fail(error.problem.message, error.problem.hint)
    if not here.layout.runtimes.is_dir():
        found = runtimes.built_in()
        return found, runtimes.newest(found)
    # Faults are told by `list`.
    return runtimes.load(runtimes.lasting_folder(here.layout, lambda _: None), settings, lambda _: None)


def _known(here: Context, name: str) -> RuntimeSpec:
    found, _ = _all(here)
    if name not in found:
        fail(f"there is no runtime {name!r}", "`innkeeper runtime list` shows those there are.")
    return found[name]


def _sites(here: Context) -> dict[str, list[str]]:
    """The sites by the runtime that their file names; "" for those that name none."""
    found: dict[str, list[str]] = {}
    for domain, spec in sorted(folders.sites(here.layout).specs.items()):
        if spec.app is not None:
            found.setdefault(spec.app.runtime or "", []).append(domain)
    return found


@contextmanager
def _progress() -> Iterator[environments.Step]:
    """Tell of each step, and how long it took."""
    begun = time.monotonic()
    with stderr.status("") as status:

        def step(text: str) -> None:
            status.update(f"{one_line(text)} …")
            if not stderr.is_terminal:
                stderr.print(f"{one_line(text)} … ({time.monotonic() - begun:.0f} s)")

        try:
            yield step
        except BuildError as error:
            status.stop()
            fail(str(error), error.hint)


def _build(here: Context, name: str, base: Base, preload: list[str] | None) -> None:
    """Build an environment, and let the runtime's file lead to it."""
    file = here.layout.runtime_file(name)
    files.ensure_directory(file.parent, mode=0o755)
    with _progress() as step, files.locked(here.layout.environments):
        environment = environments.build(here.layout, name, base, step)
        text = tomlkit.parse(file.read_text("utf-8-sig")) if file.exists() else tomlkit.document()
        text["python"] = str(environment / "bin/python")
        if preload:
            text["preload"] = preload
        files.write_atomically(file, tomlkit.dumps(text))
        count = len(environments.distributions(environment))
        step("Waiting for the node to warm it")
        ready = _await_ready(here, name, str(environment / "bin/python"))
    say(f"Runtime {name} is ready: {count} packages in {environment}")
    say(ready)


def _await_ready(here: Context, name: str, python: str) -> str:
    end = time.monotonic() + _READY_LIMIT
    while time.monotonic() < end:
        answer = here.ask_if_up({"do": "runtimes"})
        if answer is None:
            return f"Sites have it later: {here.silence}."
        for one in answer["runtimes"]:
            if one["name"] == name and one["path"] == python and one["ready"]:
                return "Sites have it at their next start or reload."
        time.sleep(0.1)
    return "The node does not have it ready yet; its log tells why."


@app.command(
    "add",
    epilog="Example: innkeeper runtime add science --python /usr/bin/python3.11 --requirements science.txt",
)
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    requirements: Annotated[
        Path,
        typer.Option(help="The packages, as pip reads them.", exists=True, dir_okay=False, resolve_path=True),
    ],
    python: Annotated[
        str, typer.Option(help="A Python, 3.9 or newer.", metavar="PYTHON")
    ] = "/usr/bin/python3",
    preload: Annotated[
        list[str] | None,
        typer.Option(help="A module to import beforehand; may be given again.", metavar="MODULE"),
    ] = None,
) -> None:
    """Build a runtime: a Python with uWSGI, uvicorn and the packages asked for. Works with the node up or down."""
    here = context(ctx)
    try:
        name = names.runtime_name(name)
        modules = [names.module(module) for module in preload or ()]
    except ValueError as error:
        fail(str(error))
    if name in _all(here)[0] or here.layout.runtime_file(name).exists():
        fail(f"there is a runtime {name} already", f"`innkeeper runtime rebuild {name}` builds it anew.")
    found = shutil.which(python)
    if found is None:
        fail(
            f"there is no Python {python!r}",
            "Name one that is installed, as in --python /usr/bin/python3.11.",
        )
    _build(here, name, Base(found, str(requirements)), modules)


@app.command("rebuild", epilog="Example: innkeeper runtime rebuild science --requirements newer.txt")
def rebuild(
    ctx: typer.Context,
    name: Annotated[str, _NAME],
    requirements: Annotated[
        Path | None,
        typer.Option(
            help="The packages; by default those it was built with.",
            exists=True,
            dir_okay=False,
            resolve_path=True,
        ),
    ] = None,
    python: Annotated[
        str | None, typer.Option(help="The Python; by default the one it was built with.", metavar="PYTHON")
    ] = None,
) -> None:
    """Build a runtime anew beside the old one, and switch over. Sites follow at their next start or reload."""
    here = context(ctx)
    base = environments.base_of(Path(_known(here, name).python).parents[1])
    if base is None:
        fail(
            f"{name} was not built by `innkeeper runtime add`",
            "What built it can build it anew; scripts/setup builds the runtime that came with Innkeeper.",
        )
    found = shutil.which(python) if python else base.python
    if found is None:
        fail(
            f"there is no Python {python!r}",
            "Name one that is installed, as in --python /usr/bin/python3.11.",
        )
    _build(here, name, Base(found, str(requirements or base.requirements)), None)


@app.command("rm", epilog="Example: innkeeper runtime rm science")
def remove(ctx: typer.Context, name: Annotated[str, _NAME]) -> None:
    """Remove a runtime that no site uses."""
    here = context(ctx)
    spec, (_, default) = _known(here, name), _all(here)
    if not here.layout.runtime_file(name).exists():
        fail(f"{name} came with Innkeeper and stays", "Other runtimes can be added beside it.")
    sites = _sites(here)
    users = sites.get(name, []) + (sites.get("", []) if name == default else [])
    if users:
        fail(
            f"{len(users)} site{'s use' if len(users) > 1 else ' uses'} {name}: {', '.join(users[:5])}",
            "Name another `runtime` in their files, or another `default_runtime` in innkeeper.toml.",
        )
    here.layout.runtime_file(name).unlink()
    environment = Path(spec.python).parents[1]
    here.ask_if_up({"do": "runtimes"})
    if (
        here.silence == NODE_DOWN and environment.parent == here.layout.environments
    ):  # else workers may stand on it
        shutil.rmtree(environment, ignore_errors=True)
    say(f"Runtime {name} removed")


@app.command("list")
def list_runtimes(ctx: typer.Context, as_json: Annotated[bool, _JSON] = False) -> None:
    """List the runtimes. Works with the node up or down."""
    here = context(ctx)
    told = _report(here)
    if as_json:
        print_json(told["runtimes"])
        return
    numbers = ("Preloaded", "Memory", "Sites")
    shown = table("Runtime", "Python", "State", *numbers, right=numbers)
    for one in told["runtimes"]:
        shown.add_row(
            one["name"] + (" (default)" if one["name"] == told["default"] else ""),
            one["python"] or "–",
            {True: "[green]warm[/]", False: "[yellow]starting[/]"}.get(one["ready"], "–"),
            str(len(one["preloaded"])) if one["ready"] else "–",
            f"{one['memory'] / 1e6:.0f} MB" if one["ready"] else "–",
            str(len(one["sites"])),
        )
    stdout.print(shown)
    if here.silence:
        say(f"({here.silence}; this is what the files say)")
    folders.print_faults(folders.runtimes(here.layout))
    folders.warn_of_misnamed(here.layout.runtimes)


def _report(here: Context) -> dict[str, Any]:
    """What the running node tells of its runtimes, or what the files say."""
    answer = here.ask_if_up({"do": "runtimes"})
    if answer is not None:
        return answer
    (found, default), sites = _all(here), _sites(here)
    return {
        "default": default,
        "runtimes": [
            {
                "name": name,
                "ready": None,
                "python": "",
                "path": spec.python,
                "pids": [],
                "age": 0,
                "preloaded": [],
                "learned": [],
                "left_out": {},
                "memory": 0,
                "reads": [],
                "sites": sites.get(name, []) + (sites.get("", []) if name == default else []),
            }
            for name, spec in sorted(found.items())
        ],
    }


@app.command("show", epilog="Example: innkeeper runtime show python3.11")
def show(ctx: typer.Context, name: Annotated[str, _NAME], as_json: Annotated[bool, _JSON] = False) -> None:
    """Show a runtime: its packages, what is preloaded, what is not and why, the memory it takes, its sites."""
    here = context(ctx)
    one = next((each for each in _report(here)["runtimes"] if each["name"] == name), None)
    if one is None:
        fail(f"there is no runtime {name!r}", "`innkeeper runtime list` shows those there are.")
    one["packages"] = environments.distributions(Path(one["path"]).parents[1])
    if as_json:
        print_json(one)
        return
    lines = {
        "Python": f"{one['python'] or '–'}, {one['path']}",
        "Zygotes": ", ".join(map(str, one["pids"])) or "none",
        "Packages": ", ".join(f"{package} {version}" for package, version in one["packages"].items()),
        "Preloaded": f"{len(one['preloaded'])} modules, {one['memory'] / 1e6:.0f} MB, shared by all workers",
        "Learned": _some(one["learned"]),
        "Sites": _some(one["sites"]),
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for label, text in lines.items():
        grid.add_row(label, one_line(text))
    stdout.print(grid)
    if one["left_out"]:
        say("Not preloaded")
        left_out = table("Module", "Because")
        for module, reason in sorted(one["left_out"].items()):
            left_out.add_row(one_line(module), one_line(reason))
        stdout.print(left_out)


def _some(found: list[str]) -> str:
    shown = ", ".join(found[:_SHOWN])
    return (
        f"{shown} and {len(found) - _SHOWN} more (all with --json)"
        if len(found) > _SHOWN
        else shown or "none"
    )


@app.command("warm", epilog="Example: innkeeper runtime warm python3.11")
def warm(ctx: typer.Context, name: Annotated[str, _NAME], as_json: Annotated[bool, _JSON] = False) -> None:
    """Replace a runtime's zygotes at once, with what its sites were found to import. The node must be up."""
    here = context(ctx)
    with stderr.status("Warming the next zygotes …"):
        told = here.ask({"do": "warm", "runtime": name}, timeout=None)
    if as_json:
        print_json(told)
        return
    say(f"Runtime {name}: {len(told['preloaded'])} modules preloaded, {told['memory'] / 1e6:.0f} MB")
