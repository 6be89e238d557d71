"""Code that was read ahead is given to whoever would have found the same file, and to nobody else."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.zygote import readahead

PATTERN = r"in-the-(very|rather)-late-module"


@pytest.fixture
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory of packages that is first on the path: early, which can be imported at any time, and early.late."""
    top = tmp_path_factory.getbasetemp()
    for directory in (top, *top.parents[:2]):
        directory.chmod(0o755)  # the trial runs as nobody
    place = tmp_path_factory.mktemp("packages")
    place.chmod(0o755)
    _write(place, "first")
    before = list(sys.path), list(sys.meta_path)
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()
    try:
        yield place
    finally:
        sys.path[:], sys.meta_path[:] = before
        for name in [name for name in sys.modules if name.partition(".")[0] == "early"]:
            del sys.modules[name]


def _write(place: Path, value: str) -> None:
    (place / "early" / "inner").mkdir(parents=True)
    (place / "early" / "__init__.py").write_text("")
    (place / "early" / "inner" / "__init__.py").write_text(f"VALUE = {value!r}\n")
    (place / "early" / "late.py").write_text(
        f"import re\nVALUE = {value!r}\nFOUND = re.compile({PATTERN!r})\n"
    )


def _start() -> None:
    importlib.import_module("early.late")
    importlib.import_module("early.inner")
    raise ValueError("what becomes of the start is all the same")


def test_what_a_start_imports_needs_no_file_any_more(packages: Path) -> None:
    importlib.import_module("early")
    readahead.learn(_start, str(packages))
    assert "early.late" not in sys.modules
    assert any(key[1] == PATTERN for key in re._cache)  # type: ignore[attr-defined]
    for file in (packages / "early").rglob("*"):
        if file.is_file():
            file.unlink()
    late, inner = importlib.import_module("early.late"), importlib.import_module("early.inner")
    assert (late.VALUE, inner.VALUE) == ("first", "first")
    assert late.__file__ == str(packages / "early" / "late.py")
    assert inner.__path__ == [str(packages / "early" / "inner")]


def test_a_package_of_the_same_name_elsewhere_has_its_own_code(packages: Path, tmp_path: Path) -> None:
    importlib.import_module("early")
    readahead.learn(_start, str(packages))
    del sys.modules["early"]
    _write(tmp_path, "second")
    sys.path.insert(0, str(tmp_path))
    assert importlib.import_module("early.late").VALUE == "second"
    assert importlib.import_module("early.inner").VALUE == "second"


def test_what_is_not_of_the_runtime_is_left_to_itself(packages: Path, tmp_path: Path) -> None:
    importlib.import_module("early")
    finders = list(sys.meta_path)
    readahead.learn(_start, str(tmp_path))
    assert sys.meta_path == finders
