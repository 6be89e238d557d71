"""Workers that live but accept nothing: found by the connections that wait at their socket, look after look."""

from __future__ import annotations

import select
import time
from collections.abc import Iterable

from innkeeper.supervisor.site import Site
from innkeeper.supervisor.states import State

SLACK = 10.0  # seconds past the time limit of requests


class Acceptance:
    """Replaces a worker at whose socket connections have waited for longer than any request may take.

    It is replaced as by a reload, so a worker that is only overrun loses nothing.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}  # by domain: when a connection was first seen to wait

    def look(self, sites: Iterable[Site]) -> None:
        serving = {site.listener.fileno(): site for site in sites if site.state is State.SERVING}
        poll = select.poll()
        for descriptor in serving:
            poll.register(descriptor, select.POLLIN)
        waited_on = [serving[descriptor] for descriptor, _ in poll.poll(0)]
        now = time.monotonic()
        self._since = {site.spec.domain: self._since.get(site.spec.domain, now) for site in waited_on}
        for site in waited_on:
            limit = (site.spec.app.timeout if site.spec.app else 0) + SLACK
            if now - self._since[site.spec.domain] > limit:
                del self._since[site.spec.domain]
                site.replace_stuck(limit)
