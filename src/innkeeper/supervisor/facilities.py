"""What this machine has of what a node builds on, found out by trying; and what to do about what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from innkeeper.edge import nginx
from innkeeper.kernel import cgroups, files, firewall, landlock, namespaces, processes, quota, sockets
from innkeeper.spec.node import Layout
from innkeeper.supervisor import runtimes
from innkeeper.worker import fence

DEEP_ENOUGH = 1024  # connections that may wait for a worker; fewer, and a burst meets 502
_ENOUGH_FILES = 20_000
_MODULES = ("http_auth_basic", "http_gzip_static", "http_uwsgi")
_WITHOUT = {"http_auth_basic": "without-http_auth_basic", "http_uwsgi": "without-http_uwsgi"}


class Facility(NamedTuple):
    """One thing that a node builds on. A `wall` is part of what isolation "full" promises.

    `found` says what is there, or why it is not; `cost` what its absence means; `remedy` the command that mends it.
    """

    name: str
    ok: bool
    found: str
    cost: str
    remedy: str
    wall: bool = False


def walls(layout: Layout, no_rules: str | None) -> Iterator[Facility]:
    """The facilities that tenants are kept apart by; `no_rules`: why the packet filter takes no rules, if so."""
    refused = namespaces.permitted()
    yield Facility(
        "namespaces",
        refused is None,
        f"not permitted ({refused})" if refused else "mount, PID, IPC, UTS",
        "sites see the host's files and processes, and the tenants' paths (/home/NAME, /var/www) are not there",
        "run the node with CAP_SYS_ADMIN (docker run --privileged, or --cap-add SYS_ADMIN with seccomp unconfined)",
        wall=True,
    )
    refused = fence.refused()
    yield Facility(
        "seccomp",
        not refused,
        f"system calls can't be filtered ({refused})" if refused else "system calls filtered by libseccomp",
        "sites may make every system call that the kernel has, and so meet more of its faults",
        "apt-get install libseccomp2",
        wall=True,
    )
    version = landlock.version()
    yield Facility(
        "landlock",
        version >= landlock.SCOPES_SINCE,
        _landlock(version),
        "tenants can talk through abstract Unix sockets, with each other and with services of the host",
        "boot Linux 6.12 or newer with landlock in the parameter lsm= (Debian 13 has it; Debian 12 in its backports)",
        wall=True,
    )
    yield Facility(
        "nftables",
        no_rules is None,
        f"no rules can be set ({no_rules})" if no_rules else "one table for all tenants",
        "sites can reach services on this machine, private networks and the metadata service of a cloud",
        "run the node with CAP_NET_ADMIN"
        if shutil.which("nft", path=os.defpath + ":/usr/sbin:/sbin")
        else "apt-get install nftables",
        wall=True,
    )
    refused = cgroups.reason(f"innkeeper-try-{layout.identity}")
    yield Facility(
        "control groups",
        refused is None,
        f"no groups can be made ({refused})" if refused else f"version {_version()} with memory, pids, cpu",
        "no limits of memory, tasks and CPU: one tenant can use up the machine",
        "mount a writable cgroup file system, or run under systemd with Delegate=yes",
        wall=True,
    )


def helpful(layout: Layout) -> Iterator[Facility]:
    """What makes a node better, but no tenant less apart."""
    place = files.existing(layout.tenants_data)
    yield _disk_shares(place)
    kept = quota.find(place)
    yield Facility(
        "disk quota",
        kept is not None,
        kept.name if kept else f"none at {place}",
        "what files take is measured now and then, and enforced by refusing starts, instead of by the kernel",
        quota.remedy(place),
    )
    depth = sockets.somaxconn()
    yield Facility(
        "connection queues",
        depth >= DEEP_ENOUGH,
        f"net.core.somaxconn = {depth}",
        f"bursts of more than {depth} requests to one site are refused",
        "sysctl -w net.core.somaxconn=4096",
    )
    most = processes.file_limit()
    yield Facility(
        "open files",
        most >= _ENOUGH_FILES,
        f"at most {most} a process",
        f"a node has room for about {max(0, most - 200)} sites",
        "ulimit -Hn 200000 (under systemd: LimitNOFILE=200000)",
    )
    yield _nginx()
    found = runtimes.built_in()
    yield Facility(
        "runtimes",
        bool(found),
        ", ".join(sorted(found)) or "none",
        "no app can be served, only static sites",
        "scripts/setup",
    )


def all_of(layout: Layout) -> list[Facility]:
    """Every facility, walls first."""
    no_rules = firewall.reason(f"innkeeper_try_{layout.identity}")
    return [*walls(layout, no_rules), *helpful(layout)]


def _landlock(version: int) -> str:
    if not version:
        return "the kernel has none of use"
    return f"version {version}" + ("" if version >= landlock.SCOPES_SINCE else ", which knows no sockets")


def _disk_shares(place: Path) -> Facility:
    """Shares of a disk are kept by the io controller together with a scheduler that knows them."""
    cost = "one tenant's reading and writing can slow that of others"
    group = _group()
    if group is None or "io" not in group.controllers:
        remedy = "boot with the io (version 1: blkio) controller enabled"
        return Facility("disk shares", False, "no io controller", cost, remedy)
    number = place.stat().st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    queue = next((one / "queue" for one in (device, device.parent) if (one / "queue").is_dir()), None)
    if queue is None:
        remedy = f"put {place} on a disk of its own"
        return Facility("disk shares", False, f"{place} is on no disk with a scheduler", cost, remedy)
    known = (queue / "scheduler").read_text().strip()
    kept = "[bfq]" in known
    found = "the io controller and the scheduler bfq" if kept else f"the disk's scheduler is one of: {known}"
    return Facility("disk shares", kept, found, cost, f"echo bfq > {queue / 'scheduler'}")


def _nginx() -> Facility:
    remedy = "apt-get install nginx"
    cost = "nothing can be served"
    program = nginx.program()
    if program is None:
        return Facility("nginx", False, "not installed", cost, remedy)
    told = subprocess.run([program, "-V"], capture_output=True, text=True, check=False).stderr
    missing = [name for name in _MODULES if not _has_module(told, name)]
    version = told.partition("nginx/")[2].split()[0] if "nginx/" in told else "of unknown version"
    found = f"nginx {version}" + (f" without {', '.join(missing)}" if missing else "")
    return Facility("nginx", not missing, found, cost, remedy)


def _has_module(told: str, name: str) -> bool:
    """Some modules are there unless they were left out, others only when they were asked for."""
    return f"--{_WITHOUT[name]}" not in told if name in _WITHOUT else f"--with-{name}" in told


def _version() -> int:
    group = _group()
    return group.version if group else 0


def _group() -> cgroups.Group | None:
    try:
        return cgroups.find("innkeeper-try")
    except OSError:
        return None
