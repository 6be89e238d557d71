"""Ports of commands: what an earlier supervisor gave away, and who has it still."""

from __future__ import annotations

import pytest

from innkeeper.kernel import firewall
from innkeeper.supervisor import ports
from innkeeper.supervisor.ports import Ports


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What nft was told at once."""
    found: list[str] = []
    monkeypatch.setattr(firewall, "program", lambda: "/bin/true")
    monkeypatch.setattr(firewall, "install", found.append)
    return found


def test_only_what_was_adopted_stays_open(told: list[str]) -> None:
    own = Ports("table", told.append)
    for uid, port in ((20001, 20000), (20002, 20007), (20003, 0)):
        own.adopt(uid, port)
    own.settle()
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


@pytest.fixture
def only(told: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The only port that there is."""
    monkeypatch.setattr(ports, "LAST", ports.FIRST)
    monkeypatch.setattr(ports, "_is_free", lambda _: True)
    return ports.FIRST


def test_a_port_is_not_taken_when_the_filter_could_not_be_told(
    told: list[str], only: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Ports("table", told.append)
    monkeypatch.setattr(firewall, "program", lambda: "/no/nft")
    with pytest.raises(FileNotFoundError):
        own.take(20001)
    monkeypatch.setattr(firewall, "program", lambda: "/bin/true")
    assert own.take(20002) == only


def test_a_port_that_could_not_be_closed_is_given_to_nobody_else(
    told: list[str], only: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Ports("table", told.append)
    assert own.take(20001) == only
    monkeypatch.setattr(firewall, "program", lambda: "/no/nft")
    own.release(only)
    assert told == [
        f"port {only} of a command that has ended could not be closed: "
        "[Errno 2] No such file or directory: '/no/nft'"
    ]
    monkeypatch.setattr(firewall, "program", lambda: "/bin/true")
    assert own.take(20002) == 0


def test_a_port_that_was_closed_is_given_away_again(told: list[str], only: int) -> None:
    own = Ports("table", told.append)
    assert own.take(20001) == only
    assert own.take(20002) == 0
    own.release(only)
    assert own.take(20002) == only
