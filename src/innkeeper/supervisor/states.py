"""The life of a site: its states, what can happen, and the one table that says what follows."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What a site is doing; the values are what `status` shows."""

    ASLEEP = "asleep"
    STARTING = "starting"
    SERVING = "serving"
    RELOADING = "reloading"  # serving, while the next generation starts
    DRAINING = "draining"
    HIBERNATING = "hibernating"  # its processes are stopped, and their memory is in the swap space
    FAILED = "failed"
    DISABLED = "disabled"


class Event(Enum):
    """What can happen to a site."""

    WAKE = "a connection waits"
    LOADED = "the new worker is ready"
    LOAD_FAILED = "the app does not load"
    RELOAD = "the owner wants the new code"
    HIBERNATE = "nobody has asked for a while, and a start costs more than thawing"
    IDLE = "nobody has asked for a while"
    GATED = "the worker accepts nothing more"
    GONE = "the worker has ended"
    CRASH_LOOP = "the worker ended too soon too often"
    DISABLE = "switched off"
    ENABLE = "switched on"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.ASLEEP, Event.WAKE): State.STARTING,
    (State.STARTING, Event.LOADED): State.SERVING,
    (State.STARTING, Event.LOAD_FAILED): State.FAILED,
    (State.STARTING, Event.GONE): State.ASLEEP,
    (State.STARTING, Event.RELOAD): State.STARTING,
    (State.SERVING, Event.RELOAD): State.RELOADING,
    (State.SERVING, Event.IDLE): State.DRAINING,
    (State.SERVING, Event.HIBERNATE): State.HIBERNATING,
    (State.HIBERNATING, Event.WAKE): State.SERVING,
    (State.HIBERNATING, Event.IDLE): State.DRAINING,
    (State.HIBERNATING, Event.GONE): State.ASLEEP,
    (State.HIBERNATING, Event.RELOAD): State.HIBERNATING,
    (State.SERVING, Event.GONE): State.ASLEEP,
    (State.SERVING, Event.CRASH_LOOP): State.FAILED,
    (State.RELOADING, Event.LOADED): State.SERVING,
    (State.RELOADING, Event.LOAD_FAILED): State.SERVING,
    (State.RELOADING, Event.RELOAD): State.RELOADING,
    (State.RELOADING, Event.GONE): State.STARTING,  # the old worker ended: the next one is on its way
    (State.DRAINING, Event.GATED): State.ASLEEP,
    (State.DRAINING, Event.GONE): State.ASLEEP,
    (State.DRAINING, Event.RELOAD): State.DRAINING,  # the next start loads the new code anyway
    (State.FAILED, Event.WAKE): State.STARTING,
    (State.FAILED, Event.RELOAD): State.STARTING,
    (State.FAILED, Event.GONE): State.FAILED,
    (State.ASLEEP, Event.RELOAD): State.ASLEEP,
    (State.ASLEEP, Event.GONE): State.ASLEEP,
    **{(state, Event.DISABLE): State.DISABLED for state in State},
    (State.DISABLED, Event.ENABLE): State.ASLEEP,
}


class ImpossibleTransition(RuntimeError):
    """Something happened that the table has no answer to: a mistake of ours."""


def after(state: State, event: Event) -> State:
    """The state that follows; ImpossibleTransition when the table does not know."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ImpossibleTransition(f"{event.name} while {state.name}") from None
