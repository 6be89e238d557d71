"""What all commands share: the root they work on, and how they speak to people and to machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console

from innkeeper.control import client
from innkeeper.spec.node import Layout

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)

STATE_STYLES = {
    "serving": "green",
    "reloading": "green",
    "starting": "yellow",
    "draining": "yellow",
    "asleep": "dim",
    "disabled": "dim",
    "failed": "red",
}


@dataclass
class Context:
    """What the options before the command say."""

    layout: Layout

    def ask(self, request: dict[str, Any], **options: Any) -> dict[str, Any]:
        """The running node's answer; ends the command with a next step when there is none."""
        with refusals(self):
            return client.ask(self.layout.control_socket, request, **options)
        raise AssertionError("unreachable")

    def ask_if_up(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The running node's answer, or None when no node is up."""
        try:
            return client.ask(self.layout.control_socket, request)
        except client.NodeDown:
            return None
        except client.Refusal:
            return None


def context(ctx: typer.Context) -> Context:
    found = ctx.obj
    assert isinstance(found, Context)
    return found


@contextmanager
def refusals(context: Context) -> Iterator[None]:
    """Turn what a node can't or won't do into one sentence and a next step."""
    root = context.layout.root
    try:
        yield
    except client.NodeDown:
        fail(
            f"no node is up at {root}",
            f"Start one with `innkeeper --root {root} up`, or name the right root with --root.",
        )
    except client.Refusal as refusal:
        fail(str(refusal))
    except PermissionError:
        fail("only root may speak to the node", "Run the command as root or with sudo.")
    except TimeoutError:
        fail("the node did not answer in time", "Look at its log; it may be overloaded.")


def fail(message: str, hint: str = "", status: int = 1) -> NoReturn:
    """End the command: what is wrong, and what to do next."""
    stderr.print(f"[bold red]innkeeper:[/] {_plain(message)}")
    if hint:
        stderr.print(f"  → {_plain(hint)}")
    raise typer.Exit(status)


def say(message: str) -> None:
    stdout.print(_plain(message))


def print_json(value: object) -> None:
    """Machine-readable output: one JSON document."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _plain(text: str) -> str:
    """Square brackets of ours are text, not Rich's mark-up."""
    return text.replace("[", r"\[")


Complete = Callable[[typer.Context, str], list[str]]


def names_in(choose: Callable[[Layout], Path]) -> Complete:
    """Shell completion by the names of the files in one of the node's directories."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        root = (ctx.find_root().params or {}).get("root") or Path("/")
        try:
            found = sorted(path.stem for path in choose(Layout(Path(root))).glob("*.toml"))
        except OSError:
            return []
        return [name for name in found if name.startswith(incomplete)]

    return complete
