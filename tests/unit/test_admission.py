"""Who may start when: places, lines, fairness between tenants, those that dawdle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from innkeeper.supervisor.admission import LONG, Admission


@dataclass(eq=False)
class Wanting:
    """A site that wants to start."""

    tenant: str
    name: str
    cold_start_ms: float | None = None


class Hall:
    """An admission with a clock of its own, and what came of those who entered."""

    def __init__(self, places: int = 2, longest: int = 100) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.begun: list[str] = []
        self.refused: list[str] = []
        self.admission = Admission(
            places,
            longest,
            clock=lambda: self.now,
            later=lambda wait, call: self.timers.append((self.now + wait, call)),
        )

    def enter(self, *names: str, cost: float | None = None) -> list[Wanting]:
        """Names are TENANT/SITE."""
        found = []
        for name in names:
            who = Wanting(name.partition("/")[0], name, cost)
            self.admission.enter(
                who, lambda name=name: self.begun.append(name), lambda name=name: self.refused.append(name)
            )
            found.append(who)
        return found

    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = [call for at, call in self.timers if at <= self.now]
        self.timers = [entry for entry in self.timers if entry[0] > self.now]
        for call in due:
            call()


def test_as_many_as_there_are_places_begin_at_once_and_the_others_in_their_turn() -> None:
    hall = Hall(places=2)
    first, *_ = hall.enter("a/1", "b/1", "c/1", "d/1")
    assert hall.begun == ["a/1", "b/1"]
    hall.admission.leave(first)
    assert hall.begun == ["a/1", "b/1", "c/1"]


def test_a_tenant_with_fewer_starts_under_way_goes_first() -> None:
    hall = Hall(places=3)
    many = hall.enter("a/1", "a/2", "a/3", "a/4", "b/1")
    assert hall.begun == ["a/1", "a/2", "b/1"]  # nobody has all places
    hall.enter("c/1")
    hall.admission.leave(many[0])
    assert hall.begun[-1] == "c/1"


def test_the_only_place_there_is_is_for_everybody() -> None:
    hall = Hall(places=1)
    (first,) = hall.enter("a/1")
    hall.enter("a/2")
    hall.admission.leave(first)
    assert hall.begun == ["a/1", "a/2"]


def test_quick_starts_go_before_slow_ones_but_not_for_ever() -> None:
    hall = Hall(places=1)
    (busy,) = hall.enter("x/1")
    hall.enter("a/slow", cost=2000)
    hall.enter("b/quick", cost=20)
    hall.admission.leave(busy)
    assert hall.begun == ["x/1", "b/quick"]
    hall.now = 20
    hall.enter("c/quick", cost=20)
    hall.wait(LONG)
    assert hall.begun[-1] == "a/slow"


def test_who_dawdles_gives_the_place_back_and_is_counted_all_the_same() -> None:
    hall = Hall(places=2)
    slow = hall.enter("a/1", "a/2", "a/3")
    assert hall.begun == ["a/1"]
    hall.wait(LONG)
    assert hall.begun == ["a/1", "a/2"]
    hall.enter("b/1", "b/2")
    assert hall.begun == ["a/1", "a/2", "b/1"]
    hall.wait(LONG)
    assert sorted(hall.begun[3:]) == ["a/3", "b/2"]
    for who in slow:
        hall.admission.leave(who)


def test_a_place_is_given_back_once() -> None:
    hall = Hall(places=1)
    (first,) = hall.enter("a/1")
    hall.enter("b/1", "c/1")
    hall.admission.leave(first)  # b/1 has the place now
    assert hall.begun == ["a/1", "b/1"]
    hall.wait(LONG - 0.001)
    assert hall.begun == ["a/1", "b/1"]


def test_who_leaves_the_line_is_not_called() -> None:
    hall = Hall(places=1)
    first, second, _ = hall.enter("a/1", "b/1", "c/1")
    assert hall.admission.cancel(second)
    assert not hall.admission.cancel(second)
    assert not hall.admission.cancel(first)
    hall.admission.leave(first)
    assert hall.begun == ["a/1", "c/1"]


def test_a_full_line_refuses_those_who_fill_it() -> None:
    hall = Hall(places=1, longest=3)
    (first,) = hall.enter("a/1")
    hall.enter("a/2", "a/3", "a/4", "a/5")
    assert hall.refused == ["a/5"]
    hall.enter("b/1")
    assert hall.refused == ["a/5", "a/4"]
    hall.admission.leave(first)
    assert hall.begun == ["a/1", "a/2"]


def test_a_site_may_change_its_tenant_while_it_waits_and_while_it_starts() -> None:
    hall = Hall(places=1)
    first, second = hall.enter("a/1", "b/1")
    second.tenant = first.tenant = "c"
    assert hall.admission.cancel(second)
    hall.admission.leave(first)
    hall.enter("a/2")
    assert hall.begun == ["a/1", "a/2"]


@pytest.mark.parametrize("tenants", [1, 7, 100])
def test_all_of_many_begin(tenants: int) -> None:
    hall = Hall(places=4, longest=2000)
    waiting = {
        who.name: who for who in hall.enter(*(f"t{number % tenants}/{number}" for number in range(1000)))
    }
    ended = 0
    while ended < len(hall.begun):
        assert len(hall.begun) - ended <= 4
        hall.admission.leave(waiting[hall.begun[ended]])
        ended += 1
    assert len(hall.begun) == len(set(hall.begun)) == 1000


def test_any_number_of_starts_may_fail_at_once() -> None:
    hall = Hall(places=2, longest=2000)
    busy = hall.enter("x/1", "y/1")
    failed: list[str] = []

    def begin_in_vain(who: Wanting) -> None:
        hall.admission.leave(who)
        failed.append(who.name)

    for number in range(1500):
        who = Wanting("a", f"a/{number}")
        hall.admission.enter(who, lambda who=who: begin_in_vain(who), lambda: None)
    hall.enter("z/1")
    hall.admission.leave(busy[0])
    assert len(failed) == 1500
    assert hall.begun == ["x/1", "y/1", "z/1"]
