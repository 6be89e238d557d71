"""Admission: how many workers may start at the same time, and who is next.

Starts take the CPU, so there are a few places for each core. A start that takes longer than a moment waits for
something else, such as a database, and gives its place back, so that nobody fills all places by dawdling. Next is
a tenant that has the fewest starts under way, and of its sites the one whose turn comes first: those that start
quickly wait less, but nobody is passed over for ever. One tenant alone does not get the last place.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

LONG = 1.0  # seconds after which a start gives its place back
_STRETCH = 4.0  # a start of a second is passed by quick ones that come up to four seconds later
_UNKNOWN = 0.05  # seconds that a first start is taken to last


class Entrant(Protocol):
    """Who wants to start: its tenant, and how long its last start took."""

    @property
    def tenant(self) -> str: ...

    cold_start_ms: float | None


class _Waiting(NamedTuple):
    """One in line; `due` and `number` decide, the first before the last."""

    due: float
    number: int
    who: Entrant
    start: Callable[[], None]
    refuse: Callable[[], None]


class _Start(NamedTuple):
    """A start under way; its site may pass to another tenant meanwhile."""

    number: int
    tenant: str


class Admission:
    """A bounded number of places for starts. Whoever gets none at once is called when it is their turn."""

    def __init__(
        self,
        places: int,
        longest_queue: int,
        *,
        clock: Callable[[], float] | None = None,
        later: Callable[[float, Callable[[], None]], Any] | None = None,
    ) -> None:
        self._places = places
        self._longest_queue = longest_queue
        self._clock = clock or asyncio.get_running_loop().time
        self._later = later or asyncio.get_running_loop().call_later
        self._taken: dict[Entrant, _Start] = {}  # who holds a place, and for which start
        self._under_way: dict[Entrant, _Start] = {}  # the same, with those that have given their place back
        self._queued: dict[Entrant, str] = {}  # who is in line, and in which
        self._by_tenant: Counter[str] = Counter()  # starts under way
        self._lines: dict[str, list[_Waiting]] = {}  # by tenant, each a heap
        self._lengths: Counter[str] = Counter()  # of the lines
        self._length = 0  # of all together
        self._ranks: list[
            tuple[int, float, int, str]
        ] = []  # a heap: starts under way, `due`, `number`, tenant
        self._number = 0
        self._advancing = False

    def enter(self, who: Entrant, start: Callable[[], None], refuse: Callable[[], None]) -> None:
        """Call `start` now or at its turn; or `refuse` when the line is full, now or for another's sake."""
        if not self._length and self._may_begin(who.tenant):
            self._begin(who, start)
            return
        if self._length >= self._longest_queue and not self._make_room(who.tenant):
            refuse()
            return
        last = _UNKNOWN if who.cold_start_ms is None else who.cold_start_ms / 1000
        self._number += 1
        entry = _Waiting(self._clock() + _STRETCH * last, self._number, who, start, refuse)
        self._queued[who] = who.tenant
        self._put(who.tenant, [*self._lines.get(who.tenant, []), entry])
        self._advance()

    def take(self, who: Entrant) -> None:
        """Count a start that is under way already, whether or not there is a place for it."""
        self._begin(who, lambda: None)

    def cancel(self, who: Entrant) -> bool:
        """Leave the line; False when `who` is not (or no longer) in it."""
        tenant = self._queued.pop(who, None)
        if tenant is None:
            return False
        self._put(tenant, [entry for entry in self._lines[tenant] if entry.who is not who])
        return True

    def leave(self, who: Entrant) -> None:
        """A start came to its end one way or the other."""
        self._taken.pop(who, None)
        if started := self._under_way.pop(who, None):
            self._by_tenant[started.tenant] -= 1
            if not self._by_tenant[started.tenant]:
                del self._by_tenant[started.tenant]
            self._rank(started.tenant)
        self._advance()

    # ── whose turn it is ─────────────────────────────────────────────────────────────────────────────────

    def _may_begin(self, tenant: str) -> bool:
        held = sum(started.tenant == tenant for started in self._taken.values())
        return len(self._taken) < self._places and held < max(1, self._places - 1)

    def _begin(self, who: Entrant, start: Callable[[], None]) -> None:
        self._number += 1
        started = self._taken[who] = self._under_way[who] = _Start(self._number, who.tenant)
        self._by_tenant[started.tenant] += 1
        self._rank(started.tenant)
        self._later(LONG, lambda: self._give_back(who, started))
        start()

    def _give_back(self, who: Entrant, started: _Start) -> None:
        if self._taken.get(who) == started:
            del self._taken[who]
            self._advance()

    def _advance(self) -> None:
        """Let those begin for whom there is a place."""
        if self._advancing:  # a start has failed at once: the loop that began it gives its place away
            return
        self._advancing = True
        try:
            while self._length and len(self._taken) < self._places:
                tenant = self._next()
                if tenant is None:
                    return
                entry = heapq.heappop(self._lines[tenant])
                self._put(tenant, self._lines[tenant])
                del self._queued[entry.who]
                self._begin(entry.who, entry.start)
        finally:
            self._advancing = False

    def _rank(self, tenant: str) -> None:
        """Note where a tenant stands now; what was noted before holds no longer."""
        if line := self._lines.get(tenant):
            heapq.heappush(self._ranks, (self._by_tenant[tenant], line[0].due, line[0].number, tenant))

    def _next(self) -> str | None:
        """The tenant whose turn it is, and who may have a place."""
        passed: set[str] = set()
        found = None
        while self._ranks and found is None:
            under_way, _, number, tenant = heapq.heappop(self._ranks)
            line = self._lines.get(tenant)
            if line and line[0].number == number and self._by_tenant[tenant] == under_way:
                if self._may_begin(tenant):
                    found = tenant
                else:
                    passed.add(tenant)
        for tenant in passed:
            self._rank(tenant)
        return found

    def _make_room(self, tenant: str) -> bool:
        """Refuse the last one of the tenant with the longest line, unless that is this one's own."""
        longest = max(self._lines, key=lambda name: len(self._lines[name]))
        if len(self._lines[longest]) <= len(self._lines.get(tenant, [])):
            return False
        last = max(self._lines[longest])
        self._put(longest, [entry for entry in self._lines[longest] if entry is not last])
        del self._queued[last.who]
        last.refuse()
        return True

    def _put(self, tenant: str, line: list[_Waiting]) -> None:
        """Have a tenant's line be this one."""
        self._length += len(line) - self._lengths.pop(tenant, 0)
        self._lines.pop(tenant, None)
        if line:
            heapq.heapify(line)
            self._lines[tenant], self._lengths[tenant] = line, len(line)
            self._rank(tenant)
