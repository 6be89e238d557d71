"""The tenants of a node, and what is wrong with one whose file is good: no home, or another's user id."""

from __future__ import annotations

import os
from collections.abc import Callable

from innkeeper.kernel import files
from innkeeper.spec.node import Layout, NodeSettings
from innkeeper.spec.problem import Problem
from innkeeper.spec.tenant import TenantSpec, parse_tenant
from innkeeper.supervisor.registry import LastGood, LastingFolder


class Tenants:
    """All tenants by name (`specs`), as their files say, and what is wrong with files (`faults`)."""

    def __init__(self, layout: Layout, settings: NodeSettings, log: Callable[[str], None]) -> None:
        self._layout = layout
        self._settings = settings
        self._folder = LastingFolder[TenantSpec](
            layout.tenants,
            lambda name, text, file: parse_tenant(name, text, file=file, settings=settings),
            LastGood(layout.last_good_tenants, TenantSpec, log),
        )
        self._by_uid: dict[int, list[str]] = {}
        self.refresh(None)

    @property
    def specs(self) -> dict[str, TenantSpec]:
        return self._folder.specs

    @property
    def faults(self) -> dict[str, Problem]:
        return self._folder.faults

    def refresh(self, names: set[str] | None) -> None:
        """Read the named files anew (None: all)."""
        if names is None:
            self._folder.load()
        for name in names or ():
            self._folder.refresh(name)
        self._by_uid.clear()
        for spec in self.specs.values():
            self._by_uid.setdefault(spec.uid, []).append(spec.name)

    def problem(self, tenant: TenantSpec) -> Problem | None:
        """Why nothing may be started as this tenant."""
        first, last = self._settings.first_uid, self._settings.last_uid
        if not first <= tenant.uid <= last:
            return Problem(
                "tenant-outside",
                f"{tenant.name}.toml: `uid` is {tenant.uid}, and the node's network rules hold for {first} to {last}",
                "Widen `first_uid` and `last_uid` in innkeeper.toml and start the node anew.",
            )
        try:
            owner = os.lstat(self._layout.tenant_home(tenant.name)).st_uid
        except OSError:
            return Problem(
                "tenant-invalid",
                f"{tenant.name}.toml: tenant {tenant.name} has no home",
                f"A tenant's file alone makes none: delete it, and `innkeeper tenant add {tenant.name}`.",
            )
        if owner != tenant.uid:
            return Problem(
                "tenant-invalid",
                f"{tenant.name}.toml: `uid` is {tenant.uid}, and the home of the tenant belongs to user id {owner}",
                f"Write: uid = {owner}",
            )
        names = self._by_uid[tenant.uid]
        if len(names) > 1 and (holder := min(names, key=self._age)) != tenant.name:
            return Problem(
                "tenant-invalid",
                f"{tenant.name}.toml: `uid` is {tenant.uid}, which is tenant {holder}'s",
                "Every tenant has a user id of its own: `innkeeper tenant add` gives one.",
            )
        return None

    def _age(self, name: str) -> tuple[float, str]:
        """Who of several was there first."""
        home = self._layout.tenant_home(name)
        return (files.born(home) or 0.0) if home.exists() else float("inf"), name
