"""What a tenant and each of its sites may use of the machine; the kernel holds them to it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from innkeeper.spec import fields


class TenantLimits(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What all of a tenant's processes may use together."""

    memory: Annotated[
        fields.Memory,
        Meta(description="memory; past nine tenths of it the kernel takes back what it can (0 = no limit)"),
    ] = "2g"
    swap: Annotated[fields.Size, Meta(description="swap space beside the memory")] = "0"
    tasks: Annotated[fields.Tasks, Meta(description="processes and threads")] = 512
    cpu: Annotated[
        fields.CpuPercent, Meta(description="the most of the CPUs, in percent of one core (0 = all there is)")
    ] = 0
    cpu_weight: Annotated[fields.Weight, Meta(description="its share of the CPUs when they are all busy")] = (
        100
    )
    io_weight: Annotated[fields.Weight, Meta(description="its share of the disks when they are busy")] = 100
    cpu_seconds: Annotated[
        fields.CpuSeconds,
        Meta(
            description="seconds of CPU time a day (UTC); past them its share is the least (0 = any number)"
        ),
    ] = 10_000
    disk: Annotated[fields.Size, Meta(description="space of its files, /tmp included (0 = no limit)")] = "5g"
    files: Annotated[
        fields.FileCount, Meta(description="number of its files and directories (0 = no limit)")
    ] = 500_000


class SiteLimits(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What a site's processes may use together, within what the tenant may."""

    memory: Annotated[
        fields.Memory,
        Meta(description="memory; past nine tenths of it the kernel takes back what it can (0 = no limit)"),
    ] = "1g"
    swap: Annotated[fields.Size, Meta(description="swap space beside the memory")] = "0"
    tasks: Annotated[fields.Tasks, Meta(description="processes and threads")] = 256
    cpu: Annotated[
        fields.CpuPercent, Meta(description="the most of the CPUs, in percent of one core (0 = all there is)")
    ] = 0
    cpu_weight: Annotated[fields.Weight, Meta(description="its share of its tenant's CPU time")] = 100
    io_weight: Annotated[fields.Weight, Meta(description="its share of its tenant's use of the disks")] = 100
    open_files: Annotated[fields.OpenFiles, Meta(description="files and sockets open in one process")] = 4096
    body: Annotated[
        fields.Size, Meta(description="how large a request's body may be (0 = as the node's `max_body`)")
    ] = "0"
    log: Annotated[fields.Log, Meta(description="size at which a log file is set aside and compressed")] = (
        "10m"
    )
    log_days: Annotated[fields.Days, Meta(description="days that logs which were set aside are kept")] = 30
    shm: Annotated[fields.Size, Meta(description="size of /dev/shm, which counts as memory, too")] = "64m"
