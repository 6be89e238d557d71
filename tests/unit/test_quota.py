"""Quotas of projects: in force for all that a tenant has, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from innkeeper.kernel import quota
from innkeeper.kernel.quota import Project


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of a file system that keeps quotas; few are mounted so."""
    found: list[str] = []
    monkeypatch.setattr(quota, "_quotactl", lambda *_: found.append("limited"))
    monkeypatch.setattr(quota, "_mark", lambda *_: found.append("marked"))
    return found


def test_what_is_new_is_bounded(tmp_path: Path, done: list[str]) -> None:
    Project("ext4").bound(tmp_path, 20000, 1 << 20, 100)
    assert done == ["limited", "marked"]


def test_what_inherits_the_project_is_bounded_anew(tmp_path: Path, done: list[str]) -> None:
    (tmp_path / "home").mkdir()
    Project("ext4").bound(tmp_path, 0, 1 << 20, 100)
    assert done == ["limited", "marked"]


def test_what_was_there_before_is_not(tmp_path: Path, done: list[str]) -> None:
    (tmp_path / "home").mkdir()
    with pytest.raises(OSError, match=f"chattr -R -p 20000 {tmp_path}"):
        Project("ext4").bound(tmp_path, 20000, 1 << 20, 100)
    assert not done
