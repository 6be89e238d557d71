"""The control groups of the node: one for each tenant that is awake, and in it one for each of its sites.

    innkeeper-IDENTITY/node                         keeper and supervisor
    innkeeper-IDENTITY/tenants/edge                 nginx
    innkeeper-IDENTITY/zygotes                      zygotes and spares: starting others is no reason to go before them
    innkeeper-IDENTITY/tenants/@TENANT/@DOMAIN      a site's processes
    innkeeper-IDENTITY/tenants/@TENANT/@.helpers    commands run for the tenant

The @ keeps them apart from the kernel's own files, such as cpu.max, which is a domain's name as well.

Groups of sites that have fallen asleep are kept for the next wake, up to a number: a group that is removed and
made again leaves the kernel with the remains of the old one for as long as files that it read are cached.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from innkeeper.kernel import cgroups
from innkeeper.kernel.cgroups import Group, Limits, Usage
from innkeeper.spec.node import Layout
from innkeeper.spec.shares import SiteLimits, TenantLimits
from innkeeper.spec.tenant import TenantSpec
from innkeeper.spec.values import bytes_of

HELPERS = ".helpers"
KEPT = 500  # groups of sleeping sites
_EDGE = "edge"
_SOFT = 0.9  # of the memory: from there on the kernel takes back what it can
_ZYGOTES = 10  # the CPU weight, where keeper and supervisor have 100, and nginx and the tenants together
_EDGE_WEIGHT = (
    100  # of nginx, as a tenant has: a crowd of them holds it up, so it lets in what can be answered
)
_BUSY = 25  # a tenant that keeps the CPUs busy has one part in so many of its weight
_STARTING = 10  # and one that has nothing running yet: who serves goes first
_TARPIT = 1  # the CPU weight of a tenant that has used up its day's budget


class _Late(NamedTuple):
    """Limits that wait for memory to be given back."""

    group: Group
    memory: int  # bytes
    again: Callable[[], None]


class Confines:
    """Knows which groups there are, and in which of them processes are. Without control groups it does nothing."""

    def __init__(self, top: Group | None, zygotes: Group | None = None) -> None:
        self._top = top
        self._edge = top.child(_EDGE) if top else None
        self._zygotes = zygotes
        self._own = 0  # bytes that the zygotes have for themselves
        self._awake: dict[str, dict[str, int]] = {}  # tenant → name → sandboxes in it
        self._asleep: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._tarpit: set[str] = set()
        self._busy: set[str] = set()
        self._starting: set[str] = set()
        self._limits: dict[str, TenantLimits] = {}
        self._site_limits: dict[tuple[str, str], SiteLimits] = {}
        self._late: dict[tuple[str, str], _Late] = {}
        self._swapping: dict[str, set[str]] = {}  # by tenant: the groups that hibernate

    @property
    def controllers(self) -> list[str]:
        return self._top.controllers if self._top else []

    def zygote_doors(self) -> list[int]:
        """The doors for one more zygote, open. Raises OSError."""
        return self._zygotes.doors() if self._zygotes is not None else []

    def take_over(self) -> None:
        """Know the groups that an earlier supervisor made; `adopt` tells of those in use."""
        if self._top is not None:
            for tenant in self._top.children():
                for name in self._top.child(tenant).children():
                    self._asleep[tenant[1:], name[1:]] = None

    def adopt(self, tenant: str, name: str) -> None:
        """A sandbox that an earlier supervisor started is in the group; `hold` tells of its limits."""
        self._asleep.pop((tenant, name), None)
        names = self._awake.setdefault(tenant, {})
        names[name] = names.get(name, 0) + 1

    def enter(self, tenant: TenantSpec, name: str, limits: SiteLimits) -> list[int]:
        """The doors for one more sandbox, open; the group has these limits from now on. Raises OSError."""
        if self._top is None:
            return []
        if name != HELPERS and not self._awake.get(tenant.name):
            self._starting.add(tenant.name)
        self.hold(tenant, name, limits)
        doors = self._group(tenant.name, name).doors()
        self.adopt(tenant.name, name)
        return doors

    def hold(self, tenant: TenantSpec, name: str, limits: SiteLimits) -> None:
        """Have these limits hold, and the tenant's, where it is not known that they do. Raises OSError."""
        if self._top is None:
            return
        if tenant.name not in self._awake or self._limits.get(tenant.name) != tenant.limits:
            self.limit(tenant)
        if self._site_limits.get((tenant.name, name)) != limits:
            self._limit_site(tenant.name, name, limits)

    def started(self, tenant: TenantSpec) -> None:
        """A tenant that had nothing running has something that serves, or takes its time: it has its own share."""
        if self._top is not None and tenant.name in self._starting:
            self._starting.discard(tenant.name)
            self._tenant(tenant.name).set_cpu_weight(self._weight(tenant))

    def leave(self, tenant: str, name: str) -> None:
        """A sandbox has ended."""
        names = self._awake.get(tenant, {})
        if name not in names:
            return
        names[name] -= 1
        if names[name] > 0:
            return
        del names[name]
        if name in self._swapping.get(tenant, ()):
            self.allow_swap(tenant, name, False)
        if not names:
            del self._awake[tenant]
        self._asleep[tenant, name] = None
        while len(self._asleep) > KEPT:
            (tenant, name), _ = self._asleep.popitem(last=False)
            self._remove(tenant, name)

    def limit(self, tenant: TenantSpec) -> None:
        """Have the tenant's limits hold as they are now. Raises OSError."""
        if self._top is None:
            return
        group = self._tenant(tenant.name)
        limits = _of(tenant.limits, self._weight(tenant))
        self._create(group, limits, (tenant.name, ""), lambda: self.limit(tenant))
        group.delegate()
        self._limits[tenant.name] = tenant.limits

    def _limit_site(self, tenant: str, name: str, limits: SiteLimits) -> None:
        def again() -> None:
            self._limit_site(tenant, name, limits)

        self._create(self._group(tenant, name), _of(limits, limits.cpu_weight), (tenant, name), again)
        self._site_limits[tenant, name] = limits

    def _create(self, group: Group, limits: Limits, key: tuple[str, str], again: Callable[[], None]) -> None:
        """Make or limit a group; nobody waits for it to give memory back: the limit holds as soon as it can."""
        self._late.pop(key, None)
        try:
            group.create(limits)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            self._late[key] = _Late(group, limits.memory, again)

    def catch_up(self) -> None:
        """Try those limits again that can hold by now. Raises OSError.

        The kernel takes its time over one that can't: it takes back what it can get first.
        """
        for late in list(self._late.values()):
            if late.group.anonymous() <= late.memory:
                late.again()

    def set_tarpit(self, tenant: TenantSpec, wanted: bool) -> None:
        """Give the tenant the least share of the CPUs, or its own again."""
        self._put(tenant, self._tarpit, wanted)

    def set_busy(self, tenant: TenantSpec, wanted: bool) -> None:
        """Give the tenant a small share of the CPUs and keep one free of it, or its own again."""
        self._put(tenant, self._busy, wanted)
        if self._top is not None:
            self._tenant(tenant.name).keep_a_cpu_free(wanted)

    def _put(self, tenant: TenantSpec, into: set[str], wanted: bool) -> None:
        if wanted != (tenant.name in into):
            (into.add if wanted else into.discard)(tenant.name)
            if self._top is not None and self._tenant(tenant.name).exists():
                self.limit(tenant)

    def awake(self) -> dict[str, list[str]]:
        """The names of the groups with processes in them, by tenant."""
        return {tenant: list(names) for tenant, names in self._awake.items()}

    def is_awake(self, tenant: str, name: str) -> bool:
        """Whether there are processes in a group."""
        return self.sandboxes(tenant, name) > 0

    def sandboxes(self, tenant: str, name: str) -> int:
        """How many there are in a group."""
        return self._awake.get(tenant, {}).get(name, 0)

    def usage(self, tenant: str, name: str = "") -> Usage:
        """What a tenant, or one of its sites, uses."""
        if self._top is None:
            return Usage()
        return (self._group(tenant, name) if name else self._tenant(tenant)).usage()

    def fill(self, tenant: TenantSpec) -> float:
        """How near a tenant is to its limit of tasks or of memory, files in memory left aside; 1.0: it is met."""
        if self._top is None:
            return 0.0
        group, limits = self._tenant(tenant.name), tenant.limits
        most = bytes_of(limits.memory)
        return max(group.tasks() / limits.tasks, group.anonymous() / most if most else 0.0)

    def memory(self) -> int:
        """Bytes that all tenants' processes use together, files in memory left aside.

        What a spare has copied ahead is counted where the zygotes are, for as long as it is kept.
        """
        if self._top is None or self._edge is None:
            return 0
        copies = max(0, self._zygotes.anonymous() - self._own) if self._zygotes else 0
        return copies + self._top.anonymous() - self._edge.anonymous()

    def note_rest(self) -> None:
        """Nothing is awake: what zygotes use now is their own."""
        self._own = self._zygotes.anonymous() if self._zygotes else 0

    def allow_swap(self, tenant: str, name: str, allowed: bool) -> None:
        """Let a site that hibernates be swapped out, or have its own limit hold again."""
        limits = self._site_limits.get((tenant, name))
        if self._top is not None and limits is not None:
            sleepers = self._swapping.setdefault(tenant, set())
            (sleepers.add if allowed else sleepers.discard)(name)
            own = self._limits.get(tenant)
            self._tenant(tenant).allow_swap(None if sleepers or own is None else _of(own, own.cpu_weight))
            self._group(tenant, name).allow_swap(None if allowed else _of(limits, limits.cpu_weight))

    def cpu_seconds(self, tenant: str = "") -> float:
        """What a tenant's processes, or all tenants' and nginx, have used since the group was made.

        Cheaper than `usage`.
        """
        if self._top is None:
            return 0.0
        return (self._tenant(tenant) if tenant else self._top).cpu_seconds()

    def tasks_refused(self, tenant: str, name: str) -> int:
        """How often a process or thread could not be started there; cheaper than `usage`."""
        return self._group(tenant, name).tasks_refused() if self._top else 0

    def processes(self, tenant: str, name: str) -> list[int]:
        return self._group(tenant, name).processes() if self._top else []

    def _weight(self, tenant: TenantSpec) -> int:
        if tenant.name in self._tarpit:
            return _TARPIT
        part = _BUSY if tenant.name in self._busy else _STARTING if tenant.name in self._starting else 1
        return max(_TARPIT, tenant.limits.cpu_weight // part)

    def _tenant(self, tenant: str) -> Group:
        assert self._top is not None
        return self._top.child(f"@{tenant}")

    def _group(self, tenant: str, name: str) -> Group:
        return self._tenant(tenant).child(f"@{name}", without=("cpuset",))

    def _remove(self, tenant: str, name: str) -> None:
        self._site_limits.pop((tenant, name), None)
        self._late.pop((tenant, name), None)
        self._group(tenant, name).remove()
        if tenant not in self._awake and not any(kept[0] == tenant for kept in self._asleep):
            self._tenant(tenant).remove()
            self._late.pop((tenant, ""), None)
            self._limits.pop(tenant, None)


def group_name(layout: Layout) -> str:
    """What the node's own group is called."""
    return f"innkeeper-{layout.identity}"


def settle(layout: Layout) -> list[int]:
    """Make the node's groups and move the calling process, the keeper, into its own; the doors for nginx, open.

    Raises OSError where there can be no groups.
    """
    node = cgroups.find(group_name(layout))
    cgroups.settle(node)
    top = node.child("tenants")
    top.create(Limits())
    top.delegate()
    node.child("zygotes").create(Limits(cpu_weight=_ZYGOTES))
    edge = top.child(_EDGE)
    edge.create(Limits(cpu_weight=_EDGE_WEIGHT))
    return edge.doors()


def open_node(layout: Layout) -> Confines:
    """The confines of a node whose keeper has settled. Raises OSError where there are no groups."""
    node = cgroups.find(group_name(layout))
    top, zygotes = node.child("tenants"), node.child("zygotes")
    if not top.exists():
        raise FileNotFoundError(errno.ENOENT, "there are no control groups", group_name(layout))
    return Confines(top, zygotes)


def _of(limits: TenantLimits | SiteLimits, cpu_weight: int) -> Limits:
    memory = bytes_of(limits.memory)
    return Limits(
        memory=memory,
        memory_soft=int(memory * _SOFT),
        swap=bytes_of(limits.swap),
        tasks=limits.tasks,
        cpu=limits.cpu,
        cpu_weight=cpu_weight,
        io_weight=limits.io_weight,
    )
