"""Attention: how much of the supervisor's time each tenant's workers take by what they say."""

from __future__ import annotations

import time
from collections.abc import Callable

_SHARE = 0.2  # of the time: what a tenant may take for long
_AT_ONCE = 0.1  # seconds that it may have taken beyond that before its workers wait


class Attention:
    """Who has taken too much is heard again when that is paid off, however many workers speak for it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken: dict[str, tuple[float, float]] = {}  # by tenant: seconds, and when that was

    def spend(self, tenant: str, seconds: float) -> float:
        """One of the tenant's was heard for so long; the seconds until the next of its may be."""
        now = self._clock()
        taken, since = self._taken.get(tenant, (0.0, now))
        taken = max(0.0, taken - _SHARE * (now - since)) + seconds
        self._taken[tenant] = taken, now
        return max(0.0, taken - _AT_ONCE) / _SHARE
