"""What is done now and then in the logs' directories: large and old logs are set aside, compressed, deleted."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from innkeeper.edge import logs, rotation
from innkeeper.spec.site import SiteSpec
from innkeeper.spec.values import bytes_of
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.turns import Turns

INTERVAL = 30.0  # seconds between looks at the sites that are awake
_ALL_EVERY = 3600.0  # seconds between looks at all sites


class Housekeeping:
    """Keeps the logs in bounds. What takes time (compressing) is done in a thread, which lets go of the GIL."""

    def __init__(
        self, services: Services, published: dict[str, SiteSpec], renew: Callable[[str, str], None]
    ) -> None:
        """`renew` sets one of a site's own logs aside and has its worker, if it has one, write into another."""
        self._renew = renew
        self._services = services
        self._published = published
        self._unsettled: set[str] = set()
        self._all_due = time.monotonic() + 300.0

    async def look(self) -> float:
        """One look at the sites that are awake, or, now and then, at all; seconds until the next."""
        if time.monotonic() >= self._all_due:
            self._all_due = time.monotonic() + _ALL_EVERY
            await self._look_at(list(self._published))
            await asyncio.to_thread(self._sweep, set(self._published))
        else:
            awake = self._services.confines.awake().values()
            await self._look_at({*self._unsettled, *itertools.chain(*awake)})
        return INTERVAL

    async def _look_at(self, domains: Iterable[str]) -> None:
        turns = Turns()
        for domain in domains:
            spec = self._published.get(domain)
            self._unsettled.discard(domain)
            if spec is not None:
                await self._tidy(spec)
            await turns.rest()

    def _is_lost(self, spec: SiteSpec, log: Path) -> bool:
        """Whether a worker writes into a file that somebody else has moved away or deleted."""
        return self._services.confines.is_awake(spec.tenant, spec.domain) and not log.exists()

    def _sweep(self, domains: set[str]) -> None:
        services = self._services
        try:
            logs.sweep(services.layout, domains, services.settings.site_limits.log_days)
        except OSError as error:
            services.log(f"logs of sites that are no more could not be deleted: {error}")

    async def _tidy(self, spec: SiteSpec) -> None:
        services = self._services
        directory, tenant = services.layout.log_dir(spec.domain), services.tenants.get(spec.tenant)
        try:
            if tenant is not None and rotation.is_due(directory, "access", bytes_of(spec.limits.log)):
                rotation.set_aside(directory, "access")
            if tenant is not None:  # also when somebody else has moved it away
                user = services.settings.nginx_user
                logs.prepare(services.layout, spec.domain, gid=tenant.uid, nginx_user=user)
            for kind in ("error", "server"):
                log = directory / f"{kind}.log"
                if rotation.is_due(directory, kind, bytes_of(spec.limits.log)) or self._is_lost(spec, log):
                    self._renew(spec.domain, kind)
            if not rotation.has_aside(directory):
                return
            if not await asyncio.to_thread(rotation.tidy, directory, spec.limits.log_days):
                self._unsettled.add(spec.domain)
        except OSError as error:
            services.log(f"{spec.domain}: its logs could not be set aside: {error}")
