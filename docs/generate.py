"""Writes the reference pages from the declarations that the files and commands themselves are checked by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import typer.main

from innkeeper.cli.main import app
from innkeeper.spec.node import NodeSettings
from innkeeper.spec.reference import Row, describe
from innkeeper.spec.runtime import RuntimeSpec
from innkeeper.spec.site import SiteSpec
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor.states import TRANSITIONS, State

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
FILES: dict[str, tuple[str, str, type[msgspec.Struct]]] = {
    "site": (
        "Site files",
        "`etc/innkeeper/sites/DOMAIN.toml`: one site; the file's name is its domain.",
        SiteSpec,
    ),
    "tenant": ("Tenant files", "`etc/innkeeper/tenants/NAME.toml`: one tenant.", TenantSpec),
    "runtime": (
        "Runtime files",
        "`etc/innkeeper/runtimes/NAME.toml`: a Python and what it preloads.",
        RuntimeSpec,
    ),
    "node": ("Node settings", "`etc/innkeeper/innkeeper.toml`: the node itself; optional.", NodeSettings),
}


def write(folder: Path) -> None:
    """Write all generated pages into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, about, wanted) in FILES.items():
        _put(folder / f"{name}.md", f"# {title}\n\n{about}\n\n{_tables(describe(wanted))}")
    _put(folder / "commands.md", _commands())
    _put(folder / "states.md", _states())
    for path in sorted(RESULTS.glob("*.svg")):
        _put(folder / path.name, path.read_text())
    _put(folder / "bench.md", (RESULTS / "README.md").read_text())


def _put(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _tables(rows: list[Row]) -> str:
    parts = []
    for heading in dict.fromkeys(row.table for row in rows):
        title = f"## `{heading}`" if heading else "## At the top"
        lines = [title, "", "| key | type | default | allowed | what it is for |", "|---|---|---|---|---|"]
        for row in (row for row in rows if row.table == heading):
            default = f"`{row.default}`" if row.default not in ("", "required") else row.default
            lines.append(
                f"| `{row.key}` | {row.type} | {default} | {_cell(row.allowed)} | {_cell(row.help)} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _commands() -> str:
    parts = ["# Commands\n\nEvery command takes `--help`. `--root DIR` stands before the command.\n"]
    parts += _command(typer.main.get_command(app), "innkeeper", None)
    return "\n".join(parts)


def _command(command: Any, path: str, parent: Any) -> list[str]:
    """The section of one command and those of the commands below it."""
    context = command.context_class(command, info_name=path.rsplit(maxsplit=1)[-1], parent=parent)
    text = f"## {path}\n\n{_plain(command.help or '')}\n"
    usage = " ".join(command.collect_usage_pieces(context))
    text += f"\n```text\n{path} {usage}\n```\n"
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            rows.append(f"- `{record[0].strip()}`: {_plain(record[1]).strip() or 'see above'}")
    text += ("\n" + "\n".join(rows) + "\n") if rows else ""
    if command.epilog:
        text += f"\n{command.epilog.replace('Example: ', 'Example: `')}`\n"
    found = [text]
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        found += _command(inner, f"{path} {name}", context)
    return found


def _plain(text: str) -> str:
    return text.replace("[bold]", "**").replace("[/]", "**").replace("[", "(").replace("]", ")")


def _states() -> str:
    lines = ["# States of a site\n", "| state | what can happen | what follows |", "|---|---|---|"]
    for state in State:
        for (before, event), following in TRANSITIONS.items():
            if before is state:
                lines.append(f"| `{state.value}` | {event.value} | `{following.value}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write(Path(__file__).parent / "reference" / "generated")
