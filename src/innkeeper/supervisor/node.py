"""The node: wanted sites from files, actual sites from the kernel, and the steps from one to the other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

from innkeeper.edge import logs
from innkeeper.edge.routes import FORGOTTEN, Route
from innkeeper.spec.problem import Problem, SpecError
from innkeeper.spec.site import SiteSpec
from innkeeper.spec.values import bytes_of
from innkeeper.supervisor import starting, troubles
from innkeeper.supervisor.plan import Step, steps
from innkeeper.supervisor.registry import Change, Registry
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.site import Site
from innkeeper.supervisor.worker import Worker


class Node:
    """All sites of a node: those with an app have a `Site`, static ones only routes."""

    def __init__(self, registry: Registry, services: Services) -> None:
        self.registry = registry
        self.services = services
        self.sites: dict[str, Site] = {}
        self.published: dict[str, SiteSpec] = {}
        self.faults: dict[str, Problem] = {}  # of sites whose file is good, but which can't be had like this
        self._aliases: dict[str, str] = {}  # alias → domain
        self._legacy: dict[str, tuple[socket.socket, dict[str, Any]]] = {}

    # ── changes ──────────────────────────────────────────────────────────────────────────────────────────

    def refresh(self, names: Iterable[str] | None = None) -> None:
        """Read the named site files (None: all) and make it so."""
        self.apply(self.registry.refresh(names))

    def apply(self, changes: list[Change]) -> None:
        """Carry out changes; a site that can't be had leaves the others alone."""
        freed = False
        for change in changes:
            wanted = self._admissible(change)
            if change.after is not None and wanted is None:
                continue
            before = self.published.get(change.domain)
            freed = freed or bool(before and set(before.aliases) - set(wanted.aliases if wanted else ()))
            freed = freed or wanted is None
            self._carry_out(change.domain, before, wanted, touched=change.touched)
            if wanted is not None and (former := self._aliases.get(change.domain)):
                self._look_again_at(former)  # a site's own name comes before any alias
        if freed:
            self._retry_faulty()

    def tenants_changed(self, names: set[str] | None) -> None:
        """Tenants (None: any) came, changed or went: their sites may be possible now, or no more."""
        awake = self.services.confines.awake()
        for name in awake if names is None else names & awake.keys():
            if tenant := self.services.tenants.get(name):
                try:
                    self.services.confines.limit(tenant)
                except OSError as error:
                    self.services.log(f"tenant {name}: its limits could not be changed: {error}")
        for domain, spec in self.registry.wanted.items():
            if names is None or spec.tenant in names or domain in self.faults:
                for code in troubles.NOT_TO_BE_HAD if domain in self.sites else ():
                    self.sites[domain].problems.pop(code, None)
                self._look_again_at(domain)

    def ring(self, domain: str) -> None:
        site = self.sites.get(domain)
        if site is not None:
            site.ring()

    def shut(self, domain: str) -> None:
        site = self.sites.get(domain)
        if site is not None:
            site.renew_listener()

    def take_over(
        self,
        listeners: dict[str, tuple[socket.socket, dict[str, Any]]],
        workers: dict[str, list[tuple[Worker, str]]],
    ) -> dict[str, tuple[socket.socket, dict[str, Any]]]:
        """The first `apply`, with what an earlier supervisor left; returns the listeners of no site."""
        self._legacy = dict(listeners)
        self.refresh()
        for domain, found in workers.items():
            site = self.sites.get(domain)
            for worker, _ in found:
                if tenant := self.services.tenants.get(worker.tenant):
                    self.services.ports.adopt(tenant.uid, worker.port)
                self.services.confines.adopt(worker.tenant, worker.group)
                if site is not None and site.tenant == worker.tenant:
                    self._hold_to_limits(site)
                self.services.meter.begin(worker.tenant, worker.group)
                worker.redirect(site.hear if site else self._hear_orphan)
            if site is not None:
                site.adopt(found)
            else:
                for worker, _ in found:
                    worker.ask("drain")
        self.services.ports.settle()
        unused, self._legacy = self._legacy, {}
        return unused

    def _hold_to_limits(self, site: Site) -> None:
        """What an earlier supervisor had set is not known: an old limit, or none while the site hibernates."""
        tenant, spec = self.services.tenants[site.tenant], site.spec
        try:
            self.services.confines.hold(tenant, spec.domain, spec.limits)
        except OSError as error:
            self.services.log(f"{spec.domain}: its limits could not be set: {error}")

    def _hear_orphan(self, worker: Worker, event: str, message: dict[str, Any]) -> None:
        if event == "gone":
            self.services.forget(worker)

    # ── what may be published ────────────────────────────────────────────────────────────────────────────

    def _admissible(self, change: Change) -> SiteSpec | None:
        """The wanted spec, less the aliases that are another site's; None when it can't be published at all."""
        wanted = change.after
        self.faults.pop(change.domain, None)
        if wanted is None:
            return None
        try:
            starting.tenant_of(wanted, self.services)
            if wanted.app is not None:
                starting.ground_of(wanted, self.services)
        except SpecError as error:
            self.faults[change.domain] = error.problem
            return None
        if (most_files := self.services.most_open_files) < wanted.limits.open_files:
            self.faults[change.domain] = Problem(
                "open-files-beyond-node",
                f"{change.domain}: `open_files` of its limits is {wanted.limits.open_files}, and the node can give "
                f"a process {most_files}, which is what it gets",
                f"Lower it to {most_files}, or raise the node's hard limit (`ulimit -Hn`, LimitNOFILE= in a unit of "
                "systemd's) and restart the node.",
            )
            wanted = wanted.with_open_files(most_files)
        taken = [alias for alias in wanted.aliases if self._holder(alias) not in (None, change.domain)]
        if taken:
            self.faults[change.domain] = Problem(
                "alias-taken",
                f"{change.domain}.toml: `aliases` has {taken[0]!r}, which {self._holder(taken[0])} has already",
                "Remove it from one of the two files. The site's other names are served.",
            )
            kept = tuple(alias for alias in wanted.aliases if alias not in taken)
            return wanted.with_aliases(kept)
        if wanted.https.force:
            self.faults[change.domain] = Problem(
                "https-unserved",
                f"{change.domain}.toml: [https] `force` is true, and this version of Innkeeper serves no HTTPS yet",
                "The site is served over HTTP meanwhile. Remove the line, or leave it for a later version.",
            )
        elif 0 < bytes_of(self.services.settings.max_body) < bytes_of(wanted.limits.body):
            most, body = self.services.settings.max_body, wanted.limits.body
            self.faults[change.domain] = Problem(
                "body-beyond-node",
                f"{change.domain}: `body` of its limits is {body}, and `max_body` of the node is {most}; "
                f"larger requests than {most} are answered with 413",
                f'Set max_body = "{body}" in innkeeper.toml and restart the node, or lower `body`.',
            )
        return wanted

    def _holder(self, name: str) -> str | None:
        """The site that a host name leads to. A site's own name comes before any alias."""
        return name if name in self.registry.wanted else self._aliases.get(name)

    def _retry_faulty(self) -> None:
        for name in [name for name in self.faults if name in self.registry.wanted]:
            self._look_again_at(name)

    def _look_again_at(self, domain: str) -> None:
        """What may be had depends on other files, too."""
        self.apply([Change(domain, self.published.get(domain), self.registry.wanted[domain], False)])

    # ── steps ────────────────────────────────────────────────────────────────────────────────────────────

    def _carry_out(
        self, domain: str, actual: SiteSpec | None, wanted: SiteSpec | None, *, touched: bool
    ) -> None:
        site, to_do = self.sites.get(domain), steps(actual, wanted, touched=touched)
        if site is not None and wanted is not None and wanted.app is not None and Step.REBIND not in to_do:
            site.spec = wanted
        try:
            for step in to_do:
                self._take_step(step, domain, wanted)
        except OSError as error:
            self.faults[domain] = Problem(
                "host-failed",
                f"{domain}: the site could not be set up: {error}",
                "This is for the operator: free disk space, inodes or open files, then touch the site's file.",
            )
            self.services.log(f"{domain}: {error}")
            return
        for alias in actual.aliases if actual else ():
            if self._aliases.get(alias) == domain:
                del self._aliases[alias]
        self._aliases.update(dict.fromkeys(wanted.aliases if wanted else (), domain))
        if wanted is None:
            self.published.pop(domain, None)
        else:
            self.published[domain] = wanted

    def _take_step(self, step: Step, domain: str, wanted: SiteSpec | None) -> None:
        site = self.sites.get(domain)
        if step is Step.BIND and wanted is not None:
            self.sites[domain] = self._bind(wanted)
        elif site is not None and step is Step.REBIND and wanted is not None:
            self.sites[domain] = self._bind(wanted)
            site.retire()
        elif step is Step.PUBLISH and wanted is not None:
            self._publish(wanted)
        elif step is Step.WITHDRAW:
            self.services.routes.withdraw(domain)
        elif site is not None and step is Step.ENABLE:
            site.enable()
        elif site is not None and step is Step.DISABLE:
            site.disable()
        elif site is not None and step is Step.RELOAD:
            site.reload()
        elif site is not None and step is Step.HAND_OVER:
            site.change_hands()
        elif site is not None and step is Step.STOP:
            site.close()
        elif step is Step.UNBIND:
            self.sites.pop(domain, None)
            self.services.custody.drop(f"site:{domain}")
            self.services.routes.forget(domain)

    def _bind(self, wanted: SiteSpec) -> Site:
        """The site's socket: the one that is kept since an earlier supervisor, or a new one."""
        listener, note = self._legacy.pop(wanted.domain, (None, {}))
        if listener is not None and not starting.is_bound_for(listener, wanted):
            listener.close()  # the kind of app was changed while no supervisor looked
            listener = None
        if listener is None:
            listener = starting.bind(wanted, self.services)
        for flag in ("failed", "busy", "slow"):
            self.services.routes.clear_flag(wanted.domain, flag)
        site = Site(wanted, listener, self.services)
        site.wakes = int(note.get("wakes", 0))
        site.cold_start_ms = note.get("cold_start_ms")
        return site

    def _publish(self, wanted: SiteSpec) -> None:
        layout, tenant = self.services.layout, self.services.tenants[wanted.tenant]
        logs.prepare(layout, wanted.domain, gid=tenant.uid, nginx_user=self.services.settings.nginx_user)
        tree = self.services.routes.publish(
            Route(
                domain=wanted.domain,
                aliases=wanted.aliases,
                enabled=wanted.enabled,
                has_app=wanted.app is not None,
                speaks_http=wanted.app is not None and wanted.app.speaks_http,
                whole=wanted.app is not None and wanted.app.kind == "command",
                static=tuple(
                    (entry.url, str(layout.on_host(wanted.tenant, entry.path))) for entry in wanted.static
                ),
                uid=tenant.uid,
                gid=tenant.uid,
                password=(wanted.password.user, wanted.password.hash) if wanted.password else None,
            )
        )
        if tree is not None:
            asyncio.get_running_loop().call_later(FORGOTTEN, self._settle, tree)

    def _settle(self, tree: str) -> None:
        if self.services.routes.settle(tree):
            asyncio.get_running_loop().call_later(FORGOTTEN, self._settle, tree)
