"""The table of a site's states: what must always be possible, and what must never happen."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from innkeeper.supervisor.states import TRANSITIONS, Event, ImpossibleTransition, State, after


def test_every_state_can_be_reached_and_left() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State)
    assert {*TRANSITIONS.values(), State.ASLEEP} == set(State)


@pytest.mark.parametrize("state", list(State))
def test_a_site_can_be_switched_off_in_any_state(state: State) -> None:
    assert after(state, Event.DISABLE) is State.DISABLED


def test_what_is_switched_off_is_woken_by_nothing() -> None:
    possible = {event for state, event in TRANSITIONS if state is State.DISABLED}
    assert possible == {Event.DISABLE, Event.ENABLE}


@pytest.mark.parametrize("state", [State.SERVING, State.RELOADING, State.DRAINING])
def test_a_worker_that_ends_leaves_a_site_that_can_be_woken(state: State) -> None:
    following = after(state, Event.GONE)
    assert following in (State.ASLEEP, State.STARTING)


def test_a_failed_reload_goes_on_serving() -> None:
    assert after(State.RELOADING, Event.LOAD_FAILED) is State.SERVING


def test_what_the_table_does_not_know_is_a_mistake_of_ours() -> None:
    with pytest.raises(ImpossibleTransition, match="IDLE while ASLEEP"):
        after(State.ASLEEP, Event.IDLE)


@example([Event.WAKE, Event.LOADED, Event.HIBERNATE])
@given(st.lists(st.sampled_from(Event), max_size=60))
def test_from_wherever_chance_leads_a_site_can_serve_again(events: list[Event]) -> None:
    state = State.ASLEEP
    for event in events:
        if (state, event) in TRANSITIONS:
            state = after(state, event)
    path = {
        State.DISABLED: [Event.ENABLE, Event.WAKE, Event.LOADED],
        State.ASLEEP: [Event.WAKE, Event.LOADED],
        State.FAILED: [Event.WAKE, Event.LOADED],
        State.STARTING: [Event.LOADED],
        State.DRAINING: [Event.GATED, Event.WAKE, Event.LOADED],
        State.RELOADING: [Event.LOADED],
        State.HIBERNATING: [Event.WAKE],
        State.SERVING: [],
    }[state]
    for event in path:
        state = after(state, event)
    assert state is State.SERVING
