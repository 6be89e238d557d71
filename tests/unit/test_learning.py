"""What sites say that they import is their tenants' word: it is bounded in every direction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from innkeeper.supervisor import learning as learning_module
from innkeeper.supervisor.learning import Learning


@pytest.fixture
def learning(tmp_path: Path) -> Learning:
    return Learning(tmp_path / "learned.json")


def both(learning: Learning, modules: object) -> tuple[str, ...]:
    for domain in ("one.test", "two.test"):
        learning.hear("python", "alice", domain, modules)
    return learning.wanted("python")


def test_what_two_sites_import_is_wanted(learning: Learning) -> None:
    learning.hear("python", "alice", "one.test", ["json", "email.mime"])
    assert learning.wanted("python") == ()
    learning.hear("python", "bob", "two.test", ["json"])
    assert learning.wanted("python") == ("json",)


@pytest.mark.parametrize(
    "said", [None, "json", {"json": 1}, [1, None, ["json"]], ["a b", "../x", "json.é", "j" * 101]]
)
def test_what_is_no_list_of_names_is_passed_over(learning: Learning, said: object) -> None:
    assert both(learning, said) == ()


def test_what_is_wanted_fits_into_a_message(learning: Learning) -> None:
    wanted = both(learning, [f"json.x{number:094d}" for number in range(1500)])
    assert 0 < sum(map(len, wanted)) <= 32 * 1024


def test_nobody_fills_the_memory_with_names_of_their_own(learning: Learning) -> None:
    for page in range(5):
        learning.hear("python", "mallory", "bad.test", [f"json.x{page}_{number}" for number in range(4000)])
    assert both(learning, ["email.mime"]) == ("email.mime",)


def test_new_names_of_one_tenant_leave_room_for_those_of_others(learning: Learning) -> None:
    both(learning, [f"json.x{number}" for number in range(4000)])
    for domain in ("three.test", "four.test"):
        learning.hear("python", "bob", domain, ["email.mime"])
    told = learning._told["python"]
    assert len(told["email.mime"]) == 2
    assert len(told) <= 2001


def test_how_long_hearing_takes_grows_with_what_is_said_alone(
    learning: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tenant in ("mallory", "eve"):
        learning.hear("python", tenant, "one.test", [f"json.{tenant}{number}" for number in range(1999)])
        learning.hear("python", tenant, "two.test", [f"json.{tenant}{number}" for number in range(1999)])
    scans: list[int] = []
    forget: Any = learning_module._forget_single

    def count(told: dict[str, list[str]]) -> Any:
        scans.append(len(told))
        return forget(told)

    monkeypatch.setattr(learning_module, "_forget_single", count)
    learning.hear("python", "mallory", "one.test", [f"json.y{number}" for number in range(3999)])
    assert len(scans) == 1


def test_what_another_site_tells_of_is_not_forgotten_for_new_names(learning: Learning) -> None:
    learning.hear("python", "alice", "one.test", ["email.mime"])
    learning.hear("python", "bob", "two.test", [*(f"json.x{number}" for number in range(3999)), "email.mime"])
    assert learning.wanted("python") == ("email.mime",)


def test_what_others_need_comes_before_what_many_sites_of_one_tenant_need(learning: Learning) -> None:
    for number in range(8):
        learning.hear(
            "python", "mallory", f"{number}.test", [f"json.x{one}_{'y' * 80}" for one in range(1500)]
        )
    for tenant in ("alice", "bob", "carol"):
        learning.hear("python", tenant, f"{tenant}.test", ["email.mime"])
    assert "email.mime" in learning.wanted("python")


def test_what_was_heard_is_kept(learning: Learning, tmp_path: Path) -> None:
    both(learning, ["json"])
    learning.save()
    assert Learning(tmp_path / "learned.json").wanted("python") == ("json",)
