"""The module path tells of what an app puts before its packages, whichever way it does that."""

from __future__ import annotations

import operator
import pickle
from collections.abc import Callable

import pytest

from innkeeper.worker.modulepath import ModulePath

PACKAGES = "/env/site-packages"


def appended(path: list[str]) -> list[str]:
    path.append("/new")
    return path


def inserted(path: list[str], index: int) -> list[str]:
    path.insert(index, "/new")
    return path


def replaced(path: list[str]) -> list[str]:
    path[0] = "/new"
    return path


def sliced(path: list[str]) -> list[str]:
    path[:] = ["/new", *path]
    return path


@pytest.mark.parametrize(
    ("change", "is_told"),
    [
        (lambda path: inserted(path, 0), True),
        (lambda path: inserted(path, 1), True),
        (lambda path: inserted(path, 9), False),
        (appended, False),
        (replaced, True),
        (sliced, True),
        (lambda path: operator.add(["/new"], path), True),
        (lambda path: operator.add(path, ["/new"]), False),
    ],
)
def test_what_comes_before_the_packages_is_told_once(
    change: Callable[[list[str]], list[str]], is_told: bool
) -> None:
    told: list[list[str]] = []
    path = change(ModulePath(["/app", PACKAGES], PACKAGES, told.append))
    assert "/new" in path and isinstance(path, ModulePath)
    path.insert(0, "/app")
    path.insert(0, "/new")
    assert told == [["/new"]]
    assert is_told or path[0] == "/new"


def test_when_the_app_is_loaded_nothing_is_told() -> None:
    told: list[list[str]] = []
    path = ModulePath(["/app", PACKAGES], PACKAGES, told.append)
    path.settled = True
    assert operator.add(["/new"], path) == ["/new", "/app", PACKAGES]
    assert told == []


def test_a_copy_for_another_process_is_a_plain_list() -> None:
    path = ModulePath(["/app", PACKAGES], PACKAGES, print)
    assert type(pickle.loads(pickle.dumps(path))) is list
