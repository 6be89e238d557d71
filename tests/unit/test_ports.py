"""Ports of commands: what an earlier supervisor gave away, and who has it still."""

from __future__ import annotations

import pytest

from innkeeper.kernel import firewall
from innkeeper.supervisor.ports import Ports


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What nft was told at once."""
    found: list[str] = []
    monkeypatch.setattr(firewall, "program", lambda: "/bin/true")
    monkeypatch.setattr(firewall, "install", found.append)
    return found


def test_only_what_was_adopted_stays_open(told: list[str]) -> None:
    ports = Ports("table", told.append)
    for uid, port in ((20001, 20000), (20002, 20007), (20003, 0)):
        ports.adopt(uid, port)
    ports.settle()
    assert told == [
        "flush set inet table own\n"
        "flush set inet table inner\n"
        "add element inet table own { 20001 . 20000, 20002 . 20007 }\n"
        "add element inet table inner { 20000, 20007 }"
    ]


def test_nothing_was_adopted(told: list[str]) -> None:
    Ports("table", told.append).settle()
    assert told == ["flush set inet table own\nflush set inet table inner"]


def test_who_cannot_be_asked_keeps_nobody_from_going_on(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise OSError("no process can be started")

    monkeypatch.setattr(firewall, "install", refuse)
    Ports("table", told.append).settle()
    assert told == ["the ports of former commands could not be closed: no process can be started"]
