"""What becomes of a runtime while its file is broken: nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from innkeeper.spec.node import Layout, NodeSettings
from innkeeper.supervisor.learning import Learning
from innkeeper.supervisor.upkeep import Upkeep, _sweep


class Yard:
    """An upkeep with a runtime `science`, whose environment is of Innkeeper's making."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.learning = Learning(root / "learned.json")
        for domain in ("one.test", "two.test"):
            self.learning.hear("science", "alice", domain, ["json"])
        self.followed: set[str] = set()
        self.file = self.layout.runtime_file("science")
        self.file.parent.mkdir(parents=True)
        self.file.write_text(f'python = "{self.build(1)}"\n')
        self.upkeep = self.start()

    def start(self) -> Upkeep:
        """The upkeep of a supervisor that begins."""
        nursery = SimpleNamespace(
            open=lambda specs, _, __: self.followed.update(specs), follow=self._follow, places=set
        )
        services: Any = SimpleNamespace(
            layout=self.layout,
            settings=NodeSettings(),
            log=lambda _: None,
            learning=self.learning,
            nursery=nursery,
            workers={},
        )
        return Upkeep(services)

    def _follow(self, specs: dict[str, Any], _: str) -> None:
        self.followed = set(specs)

    def build(self, number: int) -> Path:
        environment = self.layout.environments / f"science.{number}"
        (environment / "bin").mkdir(parents=True)
        return environment / "bin/python"

    def sweep(self) -> list[str]:
        """Look for what nobody needs; the environments that are left."""
        _sweep(self.layout.environments, self.upkeep._in_use)
        return sorted(path.name for path in self.layout.environments.iterdir())


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def test_a_typing_error_in_its_file_costs_a_runtime_nothing(yard: Yard) -> None:
    yard.upkeep.follow()
    yard.file.write_text('python = "')
    yard.upkeep.follow()
    assert "science" in yard.followed
    assert yard.sweep() == ["science.1"]
    assert yard.learning.wanted("science") == ("json",)


def test_nor_when_the_next_supervisor_begins(yard: Yard) -> None:
    yard.upkeep.follow()
    yard.file.write_text('python = "')
    yard.upkeep.follow()
    yard.followed.clear()
    yard.start().follow()
    assert "science" in yard.followed


def test_nor_does_it_at_the_start_of_the_node(yard: Yard) -> None:
    yard.file.write_text('python = "')
    yard.upkeep = yard.start()
    yard.upkeep.follow()
    assert yard.sweep() == ["science.1"]
    assert yard.learning.wanted("science") == ("json",)


def test_what_was_replaced_is_swept_away_and_what_is_gone_forgotten(yard: Yard) -> None:
    yard.upkeep.follow()
    yard.file.write_text(f'python = "{yard.build(2)}"\n')
    assert yard.sweep() == ["science.2"]
    yard.file.unlink()
    yard.upkeep.follow()
    assert "science" not in yard.followed
    assert yard.sweep() == []
    assert yard.learning.wanted("science") == ()
