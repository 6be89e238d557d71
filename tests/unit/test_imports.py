"""What an app has imported is told of, whatever it has put among the modules."""

from __future__ import annotations

import sys
import sysconfig
from types import ModuleType
from typing import Any

import pytest

from innkeeper.worker import imports


class Proxy:
    """In a module's place, and of use only in a request."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"{name}: outside of a request")


class Settings(ModuleType):
    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


class Nosy(set[str]):
    """Another thread imports something while it is looked what is known."""

    def __contains__(self, name: object) -> bool:
        sys.modules.setdefault("imported_meanwhile", ModuleType("imported_meanwhile"))
        return super().__contains__(name)


@pytest.fixture(autouse=True)
def zygote(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is imported by now was so before the fork; `colorsys` is new."""
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    monkeypatch.setattr(imports, "_places", [f"{sysconfig.get_paths()['stdlib']}/"])
    monkeypatch.setattr(imports, "_known", set(sys.modules))
    __import__("colorsys")


def test_what_is_no_module_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "proxy", Proxy())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "settings", Settings("settings"))
    monkeypatch.delitem(sys.modules["settings"].__dict__, "__spec__")
    assert imports.news() == ["colorsys"]
    assert imports.news() == []


def test_what_is_imported_meanwhile_is_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "_known", Nosy(imports._known))
    try:
        assert imports.news() == ["colorsys"]
        assert "imported_meanwhile" in imports._known
    finally:
        sys.modules.pop("imported_meanwhile", None)
