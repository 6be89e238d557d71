"""What all commands share: the root they work on, the node they ask, and how they end when something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer

from innkeeper.cli.printing import stderr, tell
from innkeeper.control import client
from innkeeper.spec import names
from innkeeper.spec.node import Layout

STATE_STYLES = {
    "serving": "green",
    "reloading": "green",
    "starting": "yellow",
    "draining": "yellow",
    "asleep": "dim",
    "disabled": "dim",
    "failed": "red",
}
NODE_DOWN = "no node is up here"


@dataclass
class Context:
    """What the options before the command say."""

    layout: Layout
    silence: str = ""  # why `ask_if_up` had no answer

    def ask(self, request: dict[str, Any], **options: Any) -> dict[str, Any]:
        """The running node's answer; ends the command with a next step when there is none."""
        with refusals(self):
            return client.ask(self.layout.control_socket, request, **options)
        raise AssertionError("unreachable")

    def ask_if_up(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The running node's answer, or None when no node is up, or it has none; `silence` then tells which."""
        with refusals(self):
            try:
                return client.ask(self.layout.control_socket, request)
            except client.NodeDown:
                self.silence = NODE_DOWN
            except client.SupervisorDown:
                self.silence = "the node's supervisor does not answer; see what `innkeeper up` prints"
            except client.Refusal:
                self.silence = "the running node does not have it"
        return None


def context(ctx: typer.Context, *, makes_root: bool = False) -> Context:
    """What was said before the command. A root that is not there is mostly a slip of the pen, and is refused."""
    found = ctx.obj
    assert isinstance(found, Context)
    root = found.layout.root
    try:
        names.root(str(root))
    except ValueError as error:
        fail(f"--root {str(root)!r}: {error}", "Choose another one, such as /srv/innkeeper.")
    if not makes_root and not root.is_dir():
        fail(
            f"there is no directory {root}",
            f"Name the node's root with --root, or make one: `innkeeper --root {root} up` does.",
        )
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
    except client.SupervisorDown:
        fail(
            f"the node at {root} is up, and its supervisor does not answer",
            "Sites that are awake go on. What keeps it from starting is told by `innkeeper up` where that runs "
            "(under systemd: journalctl -u innkeeper).",
        )
    except client.Refusal as refusal:
        fail(str(refusal))
    except PermissionError:
        fail("only root may speak to the node", "Run the command as root or with sudo.")
    except TimeoutError:
        fail("the node did not answer in time", "Look at its log; it may be overloaded.")


def fail(message: str, hint: str = "", status: int = 1) -> NoReturn:
    """End the command: what is wrong, and what to do next."""
    tell(stderr, message, "[bold red]innkeeper:[/] ")
    if hint:
        tell(stderr, hint, "  → ")
    raise typer.Exit(status)


def end_like(answer: dict[str, Any]) -> NoReturn:
    """End with the status that a helper ended with."""
    if "reason" in answer:
        fail(answer["reason"], status=int(answer["status"]))
    raise typer.Exit(int(answer["status"]))


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
