"""What is written about the source is held against the source: modules, and the codes of Problems."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import innkeeper
from benchmarks import papers, report

SOURCE = Path(innkeeper.__file__).parent
PAPERS = Path(__file__).parents[2]
MODULES = [path.relative_to(SOURCE) for path in sorted(SOURCE.rglob("*.py")) if path.name[0] != "_"]


def _rooms() -> dict[str, set[str]]:
    """The table of floors: by room, the words that say what is in it."""
    rows = re.findall(
        r"^\| \d \| `(\w+)(?:/|\.py)` \| (.*) \|$", (PAPERS / "ARCHITECTURE.md").read_text(), re.M
    )
    return {room: set(re.findall(r"\w+", text)) for room, text in rows}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_each_module_stands_in_the_table_of_floors(path: Path) -> None:
    room = path.parts[0].removesuffix(".py")
    assert room in _rooms()
    assert len(path.parts) == 1 or path.stem in _rooms()[room]


def _codes() -> Iterator[str]:
    """The codes of all Problems that the source makes."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found: ast.expr | None = None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem":
                found = node.args[0]
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CODE":
                found = node.value
            if isinstance(found, ast.Constant):
                yield str(found.value)


def test_the_page_of_faults_has_the_codes_that_there_are() -> None:
    table = (PAPERS / "docs/how-to/faults.md").read_text().partition("## ")[0]
    told = {
        code for row in re.findall(r"^\| (`[^|]*) \|", table, re.M) for code in re.findall(r"`(.+?)`", row)
    }
    assert told == set(_codes())


def test_readme_and_docs_have_the_figures_that_were_measured() -> None:
    for path, text in papers.texts(report.RESULTS).items():
        assert path.read_text() == text, f"{path.name}: run `scripts/bench --full`, or papers.write"
        assert "written by scripts/bench" in text
