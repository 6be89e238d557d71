"""When memory runs short: who has not been asked for longest gives way, and who is asked again thaws.

So it is within a tenant, too, when its own limit of memory or of tasks is near: its sites end for one another.

A site gives way by hibernating, where its start costs more than its thawing and the machine has swap space, and
else by being stopped, as when it has been idle for long enough. Nothing that is busy gives way, and nothing that
was woken a moment ago: it would come back at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping

from innkeeper.kernel import paging
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor.confines import Confines
from innkeeper.supervisor.site import Site
from innkeeper.supervisor.states import State

INTERVAL = 0.1  # seconds between looks while sites are being woken
FRESH = 1.25  # seconds after its start, or its last use, in which a site does not give way
_HIGH, _LOW = 0.90, 0.80  # of the budget: where giving way begins, and how far it goes
_SPARE = 0.08  # of the machine's memory that is kept available where no budget is set
_NEWS = 1.0  # seconds for which what workers told of their use is believed
_LEAD = 0.5  # seconds that giving way takes: what is used by then, as it grows now, is what counts
_MOST_LEAD = 0.15  # of what is not to be exceeded: one start alone is no growth
_AT_ONCE = 12  # sites that give way at a time: the end of hundreds would hold up those who start
_FULL, _ROOM = 0.85, 0.75  # of a tenant's own limits: where its sites begin to give way, and how far they go
_LEAST_SWAP = 0.2  # of the swap space that stays free


class Pressure:
    """Looks at the memory in use and has sites give way."""

    def __init__(
        self,
        confines: Confines,
        budget: int,
        tenants: Mapping[str, TenantSpec],
        awake: Callable[[], Iterable[Site]],
    ) -> None:
        """`budget`: bytes that all tenants' processes may use together; 0 = what the machine has."""
        self._confines = confines
        self._budget = budget
        self._tenants = tenants
        self._crowded: set[str] = set()  # tenants whose sites were asked about their use
        self._awake = awake
        self._asked = 0.0
        self._looked = 0.0
        self._before = 0  # bytes in use when it was last looked
        self.evicted = 0

    def hurry(self, tenant: str) -> None:
        """A site of the tenant's was woken: look, unless that was done just now."""
        if time.monotonic() - self._looked >= INTERVAL:
            self.look()
        if tenant not in self._crowded and self._fill(tenant) > _FULL:
            self._crowded.add(tenant)
            for site in self._sites_of(tenant):
                site.ask_about_use()
            asyncio.get_running_loop().call_later(INTERVAL, self._make_room, tenant)

    def _make_room(self, tenant: str) -> None:
        """Have sites of a tenant's end that nobody asks for; what hibernates keeps its tasks."""
        self._crowded.discard(tenant)
        sites, fill, now = self._sites_of(tenant), self._fill(tenant), time.monotonic()
        if fill <= _FULL:
            return
        count = math.ceil(len(sites) * (fill - _ROOM) / fill)
        resting = [site for site in sites if site.state is State.HIBERNATING]
        ready = [site for site in sites if site.may_give_way(now - FRESH)]
        for site in sorted([*resting, *ready], key=lambda site: site.wanted)[:count]:
            site.stop_hibernating()
            site.give_way(may_rest=False)
            self.evicted += 1

    def _fill(self, tenant: str) -> float:
        """How near a tenant is to a limit of its own; one site alone has nothing to give way for."""
        spec = self._tenants.get(tenant)
        has_several = len(self._confines.awake().get(tenant, ())) > 1
        return self._confines.fill(spec) if spec is not None and has_several else 0.0

    def _sites_of(self, tenant: str) -> list[Site]:
        return [site for site in self._awake() if site.tenant == tenant]

    def look(self) -> None:
        """One look; sites give way until enough memory is on its way back."""
        now, used = time.monotonic(), self._used()
        growth = max(0, used - self._before) / max(INTERVAL, now - self._looked)
        self._looked, self._before = now, used
        most, few, enough = self._bounds()
        expected = used + int(min(_LEAD * growth, _MOST_LEAD * most))
        if expected <= few:
            return
        excess = expected - enough
        sites = [site for site in self._awake() if not self._rests(site, now)]
        if now - self._asked > _NEWS:  # what they say is here at the next look
            self._asked = now
            for site in sites:
                site.ask_about_use()
            asyncio.get_running_loop().call_later(INTERVAL, self.look)
            return
        leaving = sum(site.state is not State.SERVING for site in sites)
        each = max(1, used // max(1, len(sites)))
        count = -(-excess // each) - leaving
        ready = sorted(
            (site for site in sites if site.may_give_way(now - FRESH)), key=lambda site: site.wanted
        )
        for site in ready[: max(0, min(count, _AT_ONCE))]:
            site.give_way()
            self.evicted += 1

    def _rests(self, site: Site, now: float) -> bool:
        """Whether it hibernates, and for long enough to have given its memory back."""
        return site.state is State.HIBERNATING and now - site.turned > _NEWS

    def relieve_swap(self) -> None:
        """End some of those that hibernate, whose start costs least, when the swap space is nearly full."""
        memory = paging.memory()
        if memory.swap_total and memory.swap_free < _LEAST_SWAP / 2 * memory.swap_total:
            resting = [site for site in self._awake() if site.state is State.HIBERNATING]
            resting.sort(key=lambda site: site.cold_start_ms or 0.0)
            for site in resting[: 1 + len(resting) // 20]:
                site.stop_hibernating()

    def may_hibernate(self) -> bool:
        """Whether the machine has swap space left to hibernate in."""
        memory = paging.memory()
        return memory.swap_free > _LEAST_SWAP * memory.swap_total

    def _used(self) -> int:
        return self._confines.memory() if self._budget else paging.memory().total - paging.memory().available

    def _bounds(self) -> tuple[int, int, int]:
        """Bytes in use that are not to be exceeded, from which on sites give way, and until which they do."""
        if self._budget:
            return self._budget, int(_HIGH * self._budget), int(_LOW * self._budget)
        total = paging.memory().total
        return int((1 - _SPARE / 2) * total), int((1 - _SPARE) * total), int((1 - 1.5 * _SPARE) * total)
