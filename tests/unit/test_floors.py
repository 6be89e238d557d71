"""Imports point downwards only, and what runs in other Pythons or as root stays light."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import innkeeper

SOURCE = Path(innkeeper.__file__).parent
FLOORS = {
    "__main__": 6,
    "cli": 5,
    "supervisor": 4,
    "keeper": 4,
    "zygote": 3,
    "worker": 2,
    "edge": 2,
    "control": 2,
    "spec": 1,
    "kernel": 1,
    "": 0,
}
# Run in a runtime's own Python, which has our source and the standard library alone (and uWSGI; uvicorn's
# protocols in the one module that serves them).
BARE = {"kernel", "zygote", "worker"}
# Root code: no web framework, no database driver. The command line may be pretty.
ROOT_LIBRARIES = {"msgspec", "idna"}
CLI_LIBRARIES = {"typer", "rich", "tomlkit", "msgspec"}
# Modules that use libraries of the runtime, where it has them, and what they may import.
OF_THE_RUNTIME = {
    "worker/asgi.py": {"uvicorn", "uvloop"},
    "worker/command.py": {"uvloop"},
    "zygote/rehearsal.py": {"django", "fastapi", "flask", "pydantic"},
}

MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))


def _room(module: str) -> str:
    """The floor's room that a dotted module below `innkeeper` lies in."""
    return module.split(".", maxsplit=1)[0]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((SOURCE / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _own_room(path: Path) -> str:
    return "" if path.name == "__init__.py" and len(path.parts) == 1 else path.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_downwards(path: Path) -> None:
    own = _own_room(path)
    for imported in _imports(path):
        if imported.split(".")[0] != "innkeeper":
            continue
        room = _room(imported.partition(".")[2])
        room = room if room in FLOORS else ""  # `innkeeper.__version__`
        assert room == own or FLOORS[room] < FLOORS[own], f"{path} (floor {FLOORS[own]}) imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_libraries_stay_where_they_belong(path: Path) -> None:
    own = _own_room(path)
    for imported in _imports(path):
        top = imported.split(".")[0]
        if top in sys.stdlib_module_names or top in ("innkeeper", "pyuwsgi", "uwsgi"):
            continue
        if top in OF_THE_RUNTIME.get(path.as_posix(), ()):
            continue
        allowed = set() if own in BARE else CLI_LIBRARIES if own == "cli" else ROOT_LIBRARIES
        assert top in allowed, f"{path} imports {imported}"


@pytest.mark.parametrize("path", [path for path in MODULES if _own_room(path) in BARE], ids=str)
def test_code_for_runtimes_is_python_3_9(path: Path) -> None:
    ast.parse((SOURCE / path).read_text(), feature_version=(3, 9))
