"""The node: where its files are, and its settings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from innkeeper.spec import fields, limits, toml
from innkeeper.spec.shares import SiteLimits, TenantLimits
from innkeeper.spec.source import Source

CODE = "node-invalid"
NODE_LOGS = ".node"  # beside the logs of the sites: no domain begins with a dot


@dataclass(frozen=True)
class Layout:
    """The paths of a node below its root. Names are taken as they are: normal forms only (see `names`)."""

    root: Path

    @cached_property
    def identity(self) -> str:
        """Eight signs that tell this node from others on the machine, for names that are the machine's."""
        return hashlib.sha256(bytes(self.root)).hexdigest()[:8]

    @property
    def table(self) -> str:
        """The name of this node's table in the packet filter."""
        return f"innkeeper_{self.identity}"

    # ── settings ─────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def etc(self) -> Path:
        return self.root / "etc/innkeeper"

    @property
    def settings_file(self) -> Path:
        return self.etc / "innkeeper.toml"

    @property
    def tenants(self) -> Path:
        return self.etc / "tenants"

    def tenant_file(self, name: str) -> Path:
        return self.tenants / f"{_part(name)}.toml"

    @property
    def runtimes(self) -> Path:
        return self.etc / "runtimes"

    def runtime_file(self, name: str) -> Path:
        return self.runtimes / f"{_part(name)}.toml"

    @property
    def sites(self) -> Path:
        return self.etc / "sites"

    def site_file(self, domain: str) -> Path:
        return self.sites / f"{_part(domain)}.toml"

    # ── tenants' data ────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def lib(self) -> Path:
        return self.root / "var/lib/innkeeper"

    @cached_property
    def tenants_data(self) -> Path:
        return self.lib / "tenants"

    def tenant_data(self, name: str) -> Path:
        return self.tenants_data / _part(name)

    def tenant_home(self, name: str) -> Path:
        return self.tenant_data(name) / "home"

    def tenant_www(self, name: str) -> Path:
        return self.tenant_data(name) / "www"

    def tenant_tmp(self, name: str) -> Path:
        return self.tenant_data(name) / "tmp"

    def on_host(self, tenant: str, path: str) -> Path:
        """Where a path of the tenant's lies on the host. Raises ValueError outside its places."""
        for seen, lies in (
            (f"/home/{tenant}", self.tenant_home),
            ("/var/www", self.tenant_www),
            ("/tmp", self.tenant_tmp),
        ):
            if path == seen or (path.startswith(seen + "/") and ".." not in path.split("/")):
                return lies(tenant) / path[len(seen) + 1 :]
        raise ValueError(f"{path} is in none of the places of {tenant}")

    @property
    def removed(self) -> Path:
        """The files and logs of tenants that were removed: NAME-TIME each."""
        return self.lib / "removed"

    @property
    def environments(self) -> Path:
        """The environments of the runtimes that were made by `innkeeper runtime add`: NAME.NUMBER each."""
        return self.lib / "runtimes"

    @property
    def last_good(self) -> Path:
        """The last good versions of site files that are broken now."""
        return self.lib / "last-good"

    @property
    def last_good_tenants(self) -> Path:
        """The same of tenants' files."""
        return self.lib / "last-good-tenants"

    @property
    def last_good_runtimes(self) -> Path:
        """The same of runtimes' files."""
        return self.lib / "last-good-runtimes"

    # ── logs ─────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def logs(self) -> Path:
        return self.root / "var/log/innkeeper"

    def log_dir(self, domain: str) -> Path:
        return self.logs / _part(domain)

    @property
    def node_logs(self) -> Path:
        return self.logs / NODE_LOGS

    @property
    def former_logs(self) -> Path:
        """Logs of domains from the time when they were another tenant's."""
        return self.logs / ".former"

    # ── what lives while the node is up ──────────────────────────────────────────────────────────────────

    @cached_property
    def run(self) -> Path:
        return self.root / "run/innkeeper"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def lock(self) -> Path:
        return self.run / "keeper.lock"

    @property
    def nginx_conf(self) -> Path:
        return self.run / "nginx.conf"

    @property
    def nginx_pid(self) -> Path:
        return self.run / "nginx.pid"

    @property
    def pages(self) -> Path:
        return self.run / "pages"

    @property
    def stage(self) -> Path:
        """Where the zygotes assemble the root directory that workers see."""
        return self.run / "stage"

    def live(self, domain: str) -> Path:
        """What of a site outlives the generations of its routes: its socket and flags."""
        return self.run / "live" / _part(domain)

    @property
    def trees(self) -> Path:
        return self.run / "trees"

    @property
    def routes(self) -> Path:
        """What nginx looks host names up in."""
        return self.run / "sites"

    def route(self, host: str) -> Path:
        return self.routes / _part(host)


def _part(name: str) -> str:
    """A name that is one segment of a path, whoever gave it."""
    if not name or name[0] == "." or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is not the name of one file")
    return name


class NodeSettings(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The settings of a node; every one has a default."""

    isolation: Annotated[
        Literal["best", "full"],
        Meta(
            description='"full": do not start on a machine that can\'t isolate tenants fully; '
            '"best": isolate as far as it can'
        ),
    ] = "best"
    first_uid: Annotated[fields.Uid, Meta(description="the first Unix user id for new tenants")] = (
        limits.FIRST_UID
    )
    last_uid: Annotated[fields.Uid, Meta(description="the last Unix user id for new tenants")] = (
        limits.LAST_UID
    )
    starts: Annotated[
        fields.Starts, Meta(description="workers that may be starting at a time; 0 = two for each core")
    ] = 0
    max_body: Annotated[fields.Size, Meta(description="how large a request's body may be")] = "100m"
    nginx_user: Annotated[fields.SystemUser, Meta(description="the Unix user that nginx serves as")] = (
        "www-data"
    )
    nginx_workers: Annotated[
        fields.NginxWorkers,
        Meta(
            description="processes of nginx; 0 = one for two CPUs. More help where static files lie on slow disks"
        ),
    ] = 0
    default_runtime: Annotated[
        fields.RuntimeName | None,
        Meta(
            description="the runtime of apps that name none; if not given, the one that came with Innkeeper"
        ),
    ] = None
    tenant_limits: Annotated[
        TenantLimits, Meta(description="what a tenant may use, if its file does not say")
    ] = TenantLimits()
    site_limits: Annotated[SiteLimits, Meta(description="what a site may use, if its file does not say")] = (
        SiteLimits()
    )
    connections: Annotated[
        fields.Connections,
        Meta(description="requests that may be in flight to one site; more are told to wait"),
    ] = 2000
    memory: Annotated[
        fields.Size,
        Meta(
            description="what all tenants' processes may use together before sites that nobody asks for give way; "
            "0 = what the machine has"
        ),
    ] = "0"
    hibernate: Annotated[
        bool,
        Meta(description="where there is swap space, stop idle sites in it instead of ending them"),
    ] = True
    reach: Annotated[
        tuple[fields.Opening, ...],
        Meta(
            max_length=limits.MAX_OPENINGS,
            description="what tenants may reach besides the internet, such as a database on this machine",
        ),
    ] = ()
    smtp: Annotated[bool, Meta(description="tenants may send mail by themselves, through TCP port 25")] = (
        False
    )
    timeout: Annotated[
        fields.Timeout, Meta(description="seconds that a request may take, for apps that do not say")
    ] = limits.DEFAULT_TIMEOUT
    idle: Annotated[
        fields.Idle,
        Meta(description="seconds without requests before an app sleeps (0 = never), if it does not say"),
    ] = limits.DEFAULT_IDLE


def parse_node(text: str, *, file: str) -> NodeSettings:
    """The settings that the text of innkeeper.toml holds ("": all defaults). Raises SpecError."""
    source = Source(file, CODE)
    settings = toml.decode(text, NodeSettings, source)
    first, last = settings.first_uid, settings.last_uid
    if first > last:
        source.refuse(
            f"`first_uid` is {first} and `last_uid` is {last}; the last may not be less than the first",
            f"Write, for example: last_uid = {first + 10_000}",
        )
    for taken in limits.UNUSABLE_UIDS:
        if first <= taken <= last:
            source.refuse(
                f"`first_uid` is {first} and `last_uid` is {last}; {taken} between them is the system's own",
                "Choose a range that lies above or below.",
            )
    return settings
