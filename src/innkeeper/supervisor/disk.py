"""What tenants' files take: bounded by the file system where it keeps quotas, else measured and held to here.

Measuring is done by a helper as the tenant, in its sandbox: at a tenant's wake when the last measure is old, again
and again while it is awake, after a command of the tenant's, sooner when the disk's free space shrinks, and at once
when it shrinks quickly. What has no name, but is open in a process of the tenant's, is found by root and added. Who
can't be measured is held to be beyond the limit: a tenant has ways to see to that.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from innkeeper.kernel import files, nameless, quota
from innkeeper.kernel.quota import Used
from innkeeper.spec.problem import Problem
from innkeeper.spec.tenant import TenantSpec
from innkeeper.spec.values import bytes_of
from innkeeper.supervisor import helpers, overuse
from innkeeper.supervisor.services import Services

_FRESH = 300.0  # seconds that a measure is believed of a tenant that stays below half of its limit
_QUICK = 10.0  # the least seconds between two measures of a tenant
_REST = 50  # times as long as a measure took passes before the next one
_SHRUNK = Used(
    64 << 20, 20_000
)  # free space and inodes lost, and all that is awake is measured; between two glances: at once
_LONGEST = 120.0  # seconds that a measure may take
_LONGEST_LOOK = 2.0  # CPU seconds that it may take to look through what a tenant's processes have open
_FAILURES = 3  # of its measures in a row, and a tenant can't be measured
_NEARLY = 0.9  # of the limit, and it is told
_AT_ONCE = 2  # tenants that are measured at a time
_PAUSE = 15.0  # times as long as a measure took passes before the next tenant's, unless the disk fills up
_LONGEST_PAUSE = 60.0  # seconds, whoever has so many files: others are to be measured as well

Halt = Callable[[str, bool], None]  # a tenant whose sites are to end; its commands, too?


class Disk:
    """The disk limits of all tenants; `problem` tells why a tenant may not start anything."""

    def __init__(self, services: Services, halt: Halt) -> None:
        self._services = services
        self._halt = halt
        self._quota = quota.find(services.layout.tenants_data)
        self._bounded: dict[str, TenantSpec] = {}  # tenants under a quota, with the limits of it
        self._unbounded: dict[str, str] = {}  # why tenants could not be put under one, as it was logged
        self._used: dict[str, Used] = {}
        self._failed: dict[str, int] = {}  # measures in a row
        self._unmeasured: dict[str, Problem] = {}
        self._left: dict[str, Used] = {}  # what was free when a tenant could not be measured any more
        self._due: dict[str, float] = {}
        self._earliest: dict[str, float] = {}  # before which a tenant is not measured again, but in a hurry
        self._measuring: set[str] = set()
        self._waiting: dict[str, TenantSpec] = {}
        self._hurried = False  # those who wait are measured at once
        self._worked: dict[str, float] = {}  # CPU seconds of tenants when the disk last filled up
        self._tasks: set[asyncio.Task[None]] = set()
        self._free = self._full = self._free_space()  # at the last glance; before it shrank

    def look(self) -> None:
        """See to all tenants that are awake; called every few seconds."""
        self._forget_those_gone()
        self._see_to_all(hurry=False)

    def glance(self) -> None:
        """See whether the disk fills up; called twice a second."""
        free = self._free_space()
        before, self._free = self._free, free
        self._full = Used(max(self._full.space, free.space), max(self._full.files, free.files))
        if _has_shrunk(before, free):
            self._see_to_all(hurry=True)
        elif _has_shrunk(self._full, free):
            self._due.clear()
            self._see_to_all(hurry=False)
        else:
            return
        self._full = free

    def changed(self, tenant: TenantSpec) -> None:
        """A command of the tenant's has ended, which may have written anything."""
        if tenant.name not in self._bounded:
            self._due.pop(tenant.name, None)
            self._measure_when_due(tenant, hurry=False)

    def _see_to_all(self, *, hurry: bool) -> None:
        due: list[TenantSpec] = []
        for name, groups in self._services.confines.awake().items():
            tenant = self._services.tenants.get(name)
            if tenant is None:
                continue
            if self._bound(tenant):
                self._judge(tenant, self._ask_quota(tenant), kept=True)
            elif any(group[0] != "." for group in groups) or hurry:
                due.append(tenant)
        if hurry:  # whoever fills the disk is at work
            now = {tenant.name: self._services.confines.cpu_seconds(tenant.name) for tenant in due}
            due.sort(key=lambda tenant: self._worked.get(tenant.name, 0.0) - now[tenant.name])
            self._worked = now
        for tenant in due:
            self._measure_when_due(tenant, hurry=hurry)

    def _forget_those_gone(self) -> None:
        for known in (
            self._bounded,
            self._unbounded,
            self._used,
            self._failed,
            self._unmeasured,
            self._left,
            self._due,
            self._earliest,
            self._worked,
        ):
            for name in known.keys() - self._services.tenants.keys():
                del known[name]

    def problem(self, tenant: TenantSpec) -> Problem | None:
        """Why the tenant's sites may not start: its files are more than they may be, and nobody else stops them."""
        if tenant.name in self._bounded or not _is_limited(tenant):
            return None
        used = self._used.get(tenant.name, Used(0, 0))
        found = self._unmeasured.get(tenant.name) or self._over(
            tenant, used, 1.0, enforced="Its sites do not start until some are deleted."
        )
        if found is not None:
            self._measure_when_due(tenant, hurry=False)
        return found

    def used(self, tenant: str) -> Used | None:
        """What the tenant's files took when they were last looked at."""
        return self._used.get(tenant)

    def _bound(self, tenant: TenantSpec) -> bool:
        """Have the file system keep the tenant's limits; False where it does not."""
        if self._quota is None:
            return False
        if self._bounded.get(tenant.name) is not tenant:  # new limits, or another tenant by the same name
            directory, limits = self._services.layout.tenant_data(tenant.name), tenant.limits
            try:
                self._quota.bound(directory, tenant.uid, bytes_of(limits.disk), limits.files)
            except OSError as error:
                self._bounded.pop(tenant.name, None)
                if self._unbounded.get(tenant.name) != str(error):
                    self._unbounded[tenant.name] = str(error)
                    self._services.log(f"tenant {tenant.name}: {self._quota.name} could not be set: {error}")
                return False
            self._bounded[tenant.name] = tenant
            self._unbounded.pop(tenant.name, None)
        return True

    def _ask_quota(self, tenant: TenantSpec) -> Used:
        assert self._quota is not None
        try:
            return self._quota.used(self._services.layout.tenant_data(tenant.name), tenant.uid)
        except (OSError, ValueError):
            return Used(0, 0)

    def _measure_when_due(self, tenant: TenantSpec, *, hurry: bool) -> None:
        now = time.monotonic()
        due = max(self._due.get(tenant.name, 0.0), self._earliest.get(tenant.name, 0.0))
        if tenant.name in self._measuring or (now < due and not hurry):
            return
        if not _is_limited(tenant):
            return
        if hurry and not self._hurried:  # those that are only due have time
            self._waiting.clear()
        self._hurried = self._hurried or hurry
        self._waiting[tenant.name] = tenant
        self._advance()

    def _advance(self) -> None:
        """Measure those in line, a few at a time: each is a process in a sandbox, and there may be hundreds."""
        while self._waiting and len(self._measuring) < _AT_ONCE:
            name = next(iter(self._waiting))
            tenant = self._waiting.pop(name)
            self._measuring.add(name)
            task = asyncio.get_running_loop().create_task(self._measure(tenant))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _measure(self, tenant: TenantSpec) -> None:
        began = time.monotonic()
        places = [f"/home/{tenant.name}", "/var/www", "/tmp"]
        try:
            found = await helpers.ask(
                tenant, {"do": "measure", "paths": places}, self._services, timeout=_LONGEST
            )
            held = await self._look_through(tenant)
        except helpers.NoHelper as error:
            self._services.log(f"tenant {tenant.name}: its files were not measured: {error}")
            self._due[tenant.name] = time.monotonic() + _FRESH
        except (helpers.Failed, TimeoutError) as error:
            self._on_failed(tenant, str(error), time.monotonic() - began)
        else:
            used = Used(found["space"] + held.space, found["files"] + held.files)
            self._on_counted(tenant, used, time.monotonic() - began)
        finally:
            wait = min(_LONGEST_PAUSE, _PAUSE * (time.monotonic() - began))
            asyncio.get_running_loop().call_later(0.0 if self._hurried else wait, self._on_measured, tenant)

    async def _look_through(self, tenant: TenantSpec) -> Used:
        """What the tenant's processes have of files without a name. Raises TimeoutError."""
        confines = self._services.confines
        groups = confines.awake().get(tenant.name, ())
        pids = [pid for group in groups for pid in confines.processes(tenant.name, group)]
        device = files.existing(self._services.layout.tenant_data(tenant.name)).stat().st_dev
        return await asyncio.to_thread(nameless.held, pids, tenant.uid, device, _LONGEST_LOOK)

    def _on_counted(self, tenant: TenantSpec, used: Used, took: float) -> None:
        self._failed.pop(tenant.name, None)
        self._unmeasured.pop(tenant.name, None)
        self._left.pop(tenant.name, None)
        half_full = self._over(tenant, used, 0.5, enforced="") is not None
        self._earliest[tenant.name] = time.monotonic() + max(_QUICK, _REST * took)
        self._due[tenant.name] = time.monotonic() + (0.0 if half_full else _FRESH)
        self._judge(tenant, used, kept=False)

    def _on_failed(self, tenant: TenantSpec, reason: str, took: float) -> None:
        """Halt a tenant that can't be measured; a command of its may mend that, and is ended if the disk fills up."""
        name = tenant.name
        self._services.log(f"tenant {name}: its files could not be measured: {reason}")
        self._earliest[name] = self._due[name] = time.monotonic() + max(_QUICK, took)
        self._failed[name] = self._failed.get(name, 0) + 1
        if self._failed[name] >= _FAILURES:
            self._unmeasured[name] = overuse.disk_unmeasured(reason)
            self._services.meter.note_all(name, self._unmeasured[name])
            free = self._free_space()
            filled = _has_shrunk(self._left.setdefault(name, free), free)
            if filled:
                self._left[name] = free
            self._halt(name, filled)

    def _on_measured(self, tenant: TenantSpec) -> None:
        self._measuring.discard(tenant.name)
        self._hurried = self._hurried and bool(self._waiting)
        self._advance()

    def _judge(self, tenant: TenantSpec, used: Used, *, kept: bool) -> None:
        """Tell a tenant that is near its limit; halt one that is beyond it where nobody else does."""
        grown = used.space > self._used.get(tenant.name, Used(0, 0)).space
        self._used[tenant.name] = used
        meter = self._services.meter
        meter.clear(tenant.name, "disk-unmeasured")
        beyond = self._over(tenant, used, 1.0, enforced="Its sites do not start until some are deleted.")
        enforced = "No more can be written." if kept else "Beyond it, its sites are stopped."
        problem = self._over(tenant, used, _NEARLY, enforced=enforced)
        if beyond is not None and not kept:
            meter.note_all(tenant.name, beyond)
            self._halt(tenant.name, grown)  # a command may be the one that deletes
        elif problem is not None:
            meter.note_all(tenant.name, problem)
        else:
            meter.clear(tenant.name, "disk-full")

    def _over(self, tenant: TenantSpec, used: Used, part: float, *, enforced: str) -> Problem | None:
        limits, space = tenant.limits, bytes_of(tenant.limits.disk)
        limit: object
        if space and used.space > part * space:
            key, limit, taken = "disk", limits.disk, f"{used.space / (1 << 20):.0f} MB"
        elif limits.files and used.files > part * limits.files:
            key, limit, taken = "files", limits.files, f"the places of {used.files} files"
        else:
            return None
        process = self._services.meter.busiest(tenant.name)
        return overuse.disk_full(f"tenant {tenant.name}", key, limit, taken, process, enforced=enforced)

    def _free_space(self) -> Used:
        """What is free: bytes and inodes."""
        state = os.statvfs(files.existing(self._services.layout.tenants_data))
        return Used(state.f_bavail * state.f_frsize, state.f_ffree)


def _is_limited(tenant: TenantSpec) -> bool:
    return tenant.limits.disk != "0" or tenant.limits.files > 0


def _has_shrunk(before: Used, now: Used) -> bool:
    return before.space - now.space > _SHRUNK.space or before.files - now.files > _SHRUNK.files
