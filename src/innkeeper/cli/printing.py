"""What is printed for people: nothing that somebody else wrote steers a terminal, or looks like an entry of ours.

Exceptions, logs and file names are tenants' words, and whoever reads them here is root.
"""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from innkeeper.spec.words import MARGIN, STEERING, visible

_NARROWEST = 20


def one_line(text: str) -> str:
    """Somebody's text, fit for a place in one line of ours, such as a table's cell; its brackets are no mark-up."""
    return escape(visible(text).replace("\n", "\\n").replace("\t", "\\t"))


class _Net(RenderHook):
    """Holds back whatever comes to a console by any other way."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Visible(each) for each in renderables]


class _Visible:
    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._inner, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)
    console.push_render_hook(_Net())
    return console


stdout = _console(stderr=False)
stderr = _console(stderr=True)


def tell(console: Console, text: str, before: str = "") -> None:
    """Print somebody's text behind `before`, which is mark-up of ours; its further lines stand behind a margin.

    On a terminal long lines are folded here; the terminal itself would begin their rest at its edge.
    """
    lines: Iterable[Text] = (Text.from_markup(before) + Text(visible(text))).split("\n", allow_blank=True)
    if console.is_terminal:
        width = max(console.width - len(MARGIN), _NARROWEST)
        lines = [part for line in lines for part in line.wrap(console, width, overflow="fold")]
    for number, line in enumerate(lines):
        console.print(Text.assemble(MARGIN if number else "", line))


def say(message: str) -> None:
    """Print lines of ours."""
    stdout.print(Text(visible(message)))


def table(*headings: str, right: Iterable[str] = ()) -> Table:
    """A table for people; numbers stand in columns to the right. Cells are mark-up: see `one_line`."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold", justify="right" if heading in right else "left")
    return made


def print_json(value: object) -> None:
    """Machine-readable output: one JSON document."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    sys.stdout.write(f"{STEERING.sub(_in_json, text)}\n")


def _in_json(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


class Outlet:
    """A file's bytes to standard output: as they are into a pipe or file, visible on a terminal."""

    def __init__(self) -> None:
        self._decoder: Any = None
        if sys.stdout.isatty():
            self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def write(self, data: bytes) -> None:
        if self._decoder is None:
            sys.stdout.buffer.write(data)
        else:
            sys.stdout.write(visible(self._decoder.decode(data)))
        sys.stdout.flush()
