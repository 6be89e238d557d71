"""Innkeeper itself: a whole node, a tenant for each site, full sandbox, limits as they are by default."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import apps
from benchmarks.systems.base import PROCESSES, PYTHON, THREADS, App, System
from innkeeper.cli import tenant
from innkeeper.control import client
from innkeeper.spec.node import Layout
from innkeeper.supervisor.main import read_settings
from tests.node.harness import Node, descendants

_LIMIT = 120.0  # seconds that anything may take
_SHARED = "/home/{tenant}/app.py"  # one app for thousands of sites


class Innkeeper(System):
    """A node as `innkeeper up` starts it."""

    name = "Innkeeper"
    wakes = True
    kinds = ("plain WSGI", "Flask", "Django", "FastAPI")

    def __init__(self, place: Path, settings: str = "hibernate = false\n") -> None:
        super().__init__(place)
        self.node = Node(place / "node", settings=settings)
        self.port = self.node.port
        self._uids = iter(range(read_settings(self.layout).first_uid, 1 << 31))

    @property
    def layout(self) -> Layout:
        return self.node.layout

    # ── sites ────────────────────────────────────────────────────────────────────────────────────────────

    def make(self, name: str, kind: str) -> App:
        """Write the app of a site that is to be, in the home of a new tenant of the site's name."""
        self.add_tenant(name)
        folder = self.layout.tenant_home(name) / "app"
        entry = apps.write(folder, kind, PYTHON)
        uid = self.node.uid(name)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, uid)
        return App(name, kind, folder, entry)

    def add_tenant(self, name: str) -> None:
        """As `innkeeper tenant add` does it, less the start of Python."""
        if not self.layout.tenant_file(name).exists():
            tenant.make(self.layout, read_settings(self.layout), name, next(self._uids))

    def write(self, app: App, *, more: str = "", enabled: bool = True) -> None:
        """Write the site's file."""
        home = f"/home/{app.name}/app"
        kind = "asgi" if app.kind == "FastAPI" else "wsgi"
        self.node.site(
            app.host,
            f'tenant = "{app.name}"\nenabled = {str(enabled).lower()}\n'
            f'[app]\n{kind} = "{app.entry}"\ndirectory = "{home}"\n'
            f"processes = {PROCESSES}\nthreads = {THREADS}\n{more}"
            f'[[static]]\nurl = "/static/"\npath = "{home}/static"\n',
        )

    def crowd(self, count: int, owner: str = "crowd") -> list[str]:
        """Put `count` sites of one tenant there, with one small app for all; their hosts."""
        self.add_tenant(owner)
        entry = _SHARED.format(tenant=owner)
        self.node.put(owner, entry, apps.PLAIN)
        hosts = [f"{owner}{number}.localhost" for number in range(count)]
        self.layout.sites.mkdir(parents=True, exist_ok=True)
        for host in hosts:
            self.layout.site_file(host).write_text(f'tenant = "{owner}"\n[app]\nwsgi = "{entry}"\n')
        return hosts

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────

    def start(self, sites: Sequence[App]) -> None:
        self.layout.sites.mkdir(parents=True, exist_ok=True)
        for app in sites:
            self.write(app)
        self.ready_after = self.node.start()

    def stop(self) -> None:
        self.node.close()
        shutil.rmtree(self.place, ignore_errors=True)

    def add(self, app: App) -> None:
        self.write(app)

    def reload(self, app: App) -> None:
        os.utime(self.layout.site_file(app.host))

    def sleep(self) -> None:
        """Switch all sites that are awake off and on again: by their files, as an operator would."""
        awake, workers = {site["domain"] for site in self.sites() if site["pid"]}, self.workers()
        texts = {host: self.layout.site_file(host).read_text() for host in awake}
        for host, text in texts.items():
            self.node.site(host, text.replace("enabled = true", "enabled = false"))
        self.await_true(lambda: all(not self.sandboxes(site) for site in self.sites()))
        self.await_true(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))
        for host, text in texts.items():
            self.node.site(host, text)
        self.await_true(lambda: all(site["state"] == "asleep" for site in self.sites()))

    # ── looking at it ────────────────────────────────────────────────────────────────────────────────────

    def status(self) -> dict[str, Any]:
        return client.ask(self.layout.control_socket, {"do": "status"})

    def sites(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.status()["sites"]
        return found

    def sandboxes(self, site: dict[str, Any]) -> set[int]:
        """The processes of a site's sandbox, by the host's numbers."""
        return descendants(site["pid"]) if site["pid"] else set()

    def workers(self) -> set[int]:
        return {pid for site in self.sites() for pid in self.sandboxes(site)}

    def pids(self) -> set[int]:
        return self.node.pids()

    def await_true(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _LIMIT
        while not condition():
            if time.monotonic() > end:
                raise SystemExit(f"bench: {self.name}: not within {_LIMIT:.0f} s: {self.status()}")
            time.sleep(0.02)

    def problems(self, hosts: Iterable[str]) -> list[str]:
        """What is told to the owners of these sites."""
        wanted = set(hosts)
        return [
            problem["message"]
            for site in self.sites()
            if site["domain"] in wanted
            for problem in site["problems"]
        ]
