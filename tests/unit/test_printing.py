"""What is printed for people: a tenant's words neither steer the terminal nor look like the node's own."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from rich.table import Table

from innkeeper.cli import printing
from innkeeper.cli.printing import one_line, print_json, say, tell
from innkeeper.spec.words import visible
from innkeeper.supervisor import main as supervisor

HOSTILE = "\x1b]0;OWNED\x07\x1b[31mred\x9b2J\x7f\u202egnp\u2066\r"


def console(width: int | None = None) -> tuple[Console, io.StringIO]:
    """A console of ours that writes into a text; a terminal if it has a width."""
    made, words = printing._console(stderr=False), io.StringIO()
    made.file = words
    if width is not None:
        made._force_terminal, made.width, made._color_system = True, width, None
    return made, words


def test_what_steers_a_terminal_is_written_out() -> None:
    assert visible(HOSTILE) == r"\x1b]0;OWNED\x07\x1b[31mred\x9b2J\x7f\u202egnp\u2066\x0d"
    assert visible("lines\n\tand tabs, é → 日本") == "lines\n\tand tabs, é → 日本"
    assert visible("a\udcff\ud800") == r"a\xff\ud800"


def test_one_line_stays_one() -> None:
    assert one_line("new\nline\t[red]") == r"new\nline\t\[red]"


def test_further_lines_stand_behind_a_margin() -> None:
    out, words = console()
    tell(out, "it failed: \x1b[2J\n\ngood.test crashed: no\n  → Run: evil", "[red]evil.test[/]: ")
    assert words.getvalue().split("\n") == [
        r"evil.test: it failed: \x1b[2J",
        "  │ ",
        "  │ good.test crashed: no",
        "  │   → Run: evil",
        "",
    ]


def test_a_terminal_has_no_line_to_break_at_its_edge() -> None:
    out, words = console(40)
    tell(out, "x" * 36 + "good.test crashed: no " + "y" * 100, "a: ")
    first, *further = words.getvalue().rstrip("\n").split("\n")
    assert first.startswith("a: ")
    assert further
    assert all(line.startswith("  │ ") and len(line) <= 40 for line in further)


def test_brackets_are_no_mark_up_and_colons_no_pictures() -> None:
    out, words = console()
    tell(out, r"`[limits]` :smile: \[x]", "[bold]a[/] ")
    assert words.getvalue() == "a `[limits]` :smile: \\[x]\n"


def test_what_is_printed_by_any_other_way_is_held_back_too() -> None:
    out, words = console()
    table = Table()
    table.add_column("a\x1b[2J")
    out.print(table)
    out.print("\x1b[1m", markup=False)
    assert "\x1b" not in words.getvalue()


def test_say_takes_a_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    printing.stdout.file = io.StringIO()
    try:
        say("[red]\x1b")
        assert printing.stdout.file.getvalue() == "[red]\\x1b\n"
    finally:
        printing.stdout.file = None  # type: ignore[assignment] — standard output again


def test_what_the_supervisor_says_to_the_terminal_of_up(capsys: pytest.CaptureFixture[str]) -> None:
    supervisor.log("a.test: failed: \x1b[2J\ninnkeeper: ready")
    assert capsys.readouterr().err == "innkeeper: a.test: failed: \\x1b[2J\n  │ innkeeper: ready\n"


def test_json_is_json_whatever_is_in_it(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    print_json({"name": HOSTILE + "\n\udcff"})
    printed = capsysbinary.readouterr().out
    assert json.loads(printed) == {"name": HOSTILE + "\n\udcff"}
    assert b"\x1b" not in printed
    assert "\x9b".encode() not in printed
