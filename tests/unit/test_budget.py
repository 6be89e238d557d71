"""The day's CPU seconds: counted across groups that come and go, restarts and midnights."""

from __future__ import annotations

from pathlib import Path

import pytest

from innkeeper.supervisor import budget
from innkeeper.supervisor.budget import Budget


@pytest.fixture(autouse=True)
def day(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The date (UTC), to be changed by tests."""
    today = ["2026-11-24"]
    monkeypatch.setattr(budget, "_today", lambda: today[0])
    return today


def test_what_is_counted(tmp_path: Path) -> None:
    found = Budget(tmp_path / "cpu.json")
    for total in (1.0, 4.0, 4.0, 6.5):
        found.count("alice", total)
    assert found.spent("alice") == 6.5
    found.count("alice", 2.0)  # the group was made anew
    assert found.spent("alice") == 8.5
    assert found.spent("bob") == 0
    assert found.tenants() == ["alice"]


def test_restarts(tmp_path: Path) -> None:
    found = Budget(tmp_path / "cpu.json")
    found.count("alice", 5.0)
    found.save()
    again = Budget(tmp_path / "cpu.json")
    again.count("alice", 7.0)
    assert again.spent("alice") == 7.0


def test_midnight(tmp_path: Path, day: list[str]) -> None:
    found = Budget(tmp_path / "cpu.json")
    found.count("alice", 50.0)
    found.save()
    day[0] = "2026-11-25"
    assert found.spent("alice") == 0
    found.count("alice", 53.0)
    assert found.spent("alice") == 3.0
    late = Budget(tmp_path / "cpu.json")  # a node that was down at midnight
    late.count("alice", 51.0)
    assert late.spent("alice") == 1.0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"day": 1}', '{"day": "x", "spent": [], "counted": {}}'])
def test_a_broken_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpu.json").write_text(text)
    found = Budget(tmp_path / "cpu.json")
    found.count("alice", 1.0)
    found.save()
    assert Budget(tmp_path / "cpu.json").spent("alice") == 1.0
