"""What a zygote tries to import for the sites: what its runtime has, whatever tenants say."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from innkeeper.zygote import stocking


def _tried(*wanted: str, preload: tuple[str, ...] = ()) -> list[str]:
    return stocking._wanted({"preload": preload, "wanted": wanted})


def test_what_is_there_is_tried() -> None:
    names = ["json", "json.decoder", "zlib", "sys", "xml.etree.ElementTree", "concurrent.futures.thread"]
    assert _tried(*names, preload=("json",)) == names


def test_what_is_in_no_package_is_not_tried() -> None:
    before = set(sys.modules)
    assert (
        _tried("nowhere", "nowhere.at.all", "sys.path", *(f"wsgiref.a{number}.b" for number in range(1500)))
        == []
    )
    assert _tried("json.a1", "json.decoder.a1", "ctypes.macholib.a1") == []
    assert set(sys.modules) == before


def test_what_was_made_without_a_file_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "made", ModuleType("made"))  # as Cython does
    assert _tried("made", "made.up") == []


def test_what_the_operator_names_is_tried_in_any_case() -> None:
    assert _tried(preload=("nowhere",)) == ["nowhere"]


def test_a_package_in_several_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("one", "two"):
        (tmp_path / part / "spread/deep").mkdir(parents=True)
        (tmp_path / part / f"spread/deep/{part}.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path / part))
    names = ["spread", "spread.deep", "spread.deep.one", "spread.deep.two"]
    assert _tried(*names, "spread.deep.three") == names
