"""Control groups of both versions: where they are looked for, and what is written to limit them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from innkeeper.kernel import cgroups
from innkeeper.kernel.cgroups import Group, Limits

V2_MOUNT = "30 20 0:26 {top} {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "31 20 0:27 / {point}/{name} rw,nosuid shared:5 - cgroup cgroup rw,{name}\n"
V1_NAMES = ("memory", "pids", "cpu", "cpuacct", "blkio", "cpuset")
LIMITS = Limits(
    memory=100 << 20, memory_soft=90 << 20, swap=0, tasks=60, cpu=150, cpu_weight=200, io_weight=50
)


def fake(tmp_path: Path, mounts: str, own: str) -> dict[str, str]:
    (tmp_path / "mountinfo").write_text("22 1 254:0 / / rw - ext4 /dev/vda rw\n" + mounts)
    (tmp_path / "cgroup").write_text(own)
    return {"mounts": str(tmp_path / "mountinfo"), "own": str(tmp_path / "cgroup")}


def v2(tmp_path: Path, own: str = "/system.slice/innkeeper.service", top: str = "/") -> dict[str, str]:
    point = tmp_path / "unified"
    place = point / own.removeprefix(top).strip("/")
    place.mkdir(parents=True, exist_ok=True)
    for folder in (point, place, place.parent.parent):
        (folder / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids rdma\n")
    return fake(tmp_path, V2_MOUNT.format(top=top, point=point), f"0::{own}\n")


def v1(tmp_path: Path, names: tuple[str, ...] = V1_NAMES) -> dict[str, str]:
    for name in names:
        (tmp_path / name / "own").mkdir(parents=True)
    mounts = "".join(V1_MOUNT.format(point=tmp_path, name=name) for name in names)
    own = "".join(f"{number}:{name}:/own\n" for number, name in enumerate(names)) + "0::/\n"
    return fake(tmp_path, mounts, own)


def made(group: Group, files: dict[str, str]) -> None:
    """What the kernel puts into a new group."""
    group.make()
    for place in group.directories:
        for name, value in files.items():
            Path(place, name).write_text(value)


def test_version_2_is_below_our_own_group(tmp_path: Path) -> None:
    group = cgroups.find("innkeeper-x", **v2(tmp_path))
    assert group.version == 2
    assert group.controllers == ["memory", "pids", "cpu", "io", "cpuset"]
    assert list(group.directories) == [f"{tmp_path}/unified/system.slice/innkeeper.service/innkeeper-x"]


def test_version_2_from_within_its_own_leaf(tmp_path: Path) -> None:
    """A supervisor that is started anew stands in the leaf that the keeper had moved to."""
    group = cgroups.find("innkeeper-x", **v2(tmp_path, own="/system.slice/a.service/innkeeper-x/node"))
    assert list(group.directories) == [f"{tmp_path}/unified/system.slice/a.service/innkeeper-x"]


def test_version_2_in_a_container(tmp_path: Path) -> None:
    """The mount shows the container's group as its top."""
    group = cgroups.find("innkeeper-x", **v2(tmp_path, own="/docker/abc", top="/docker/abc"))
    assert list(group.directories) == [f"{tmp_path}/unified/innkeeper-x"]


def test_version_2_beside_others(tmp_path: Path) -> None:
    """In a group with other processes, such as a login, no limits can be handed down: the top is used."""
    where = v2(tmp_path, own="/user.slice/session-1.scope")
    (tmp_path / "unified/user.slice/session-1.scope/cgroup.procs").write_text(f"{os.getpid() + 1}\n")
    group = cgroups.find("innkeeper-x", **where)
    assert list(group.directories) == [f"{tmp_path}/unified/innkeeper-x"]


def test_version_2_limits(tmp_path: Path) -> None:
    group = cgroups.find("innkeeper-x", **v2(tmp_path))
    names = "memory.high memory.max memory.swap.max pids.max cpu.max cpu.weight io.weight cpuset.cpus cgroup.procs"
    made(group, dict.fromkeys(names.split(), "") | {"cgroup.subtree_control": ""})
    group.create(LIMITS)
    group.delegate()
    place = Path(next(iter(group.directories)))
    assert {name: (place / name).read_text() for name in os.listdir(place)} == {
        "memory.high": str(90 << 20),
        "memory.max": str(100 << 20),
        "memory.swap.max": "0",
        "pids.max": "60",
        "cpu.max": "150000 100000",
        "cpu.weight": "200",
        "io.weight": "default 50",
        "cpuset.cpus": "",
        "cgroup.procs": "",
        "cgroup.subtree_control": "+memory +pids +cpu +io +cpuset",
    }
    site = group.child("site", without=("cpuset",))
    made(site, {"cgroup.procs": "", "cpu.stat": "usage_usec 2500000\nthrottled_usec 500000\n"})
    made(site, {"memory.events": "low 0\noom_kill 3\n", "memory.peak": "77\n", "pids.events": "max 9\n"})
    made(site, {"memory.current": "55\n", "pids.current": "4\n", "pids.peak": "5\n"})
    usage = site.usage()
    assert usage == (2.5, 0.5, 55, 4, 3, 77, 9, 5)
    assert site.cpu_seconds() == 2.5
    assert site.tasks_refused() == 9
    doors = site.doors()
    assert [os.readlink(f"/proc/self/fd/{door}") for door in doors] == [f"{place}/site/cgroup.procs"]
    cgroups.enter(doors)
    assert (place / "site/cgroup.procs").read_text() == "0"
    for door in doors:
        os.close(door)


def test_no_limits(tmp_path: Path) -> None:
    group = cgroups.find("innkeeper-x", **v2(tmp_path))
    made(group, dict.fromkeys(("memory.high", "memory.max", "pids.max", "cpu.max", "cpu.weight"), ""))
    group.create(Limits())
    place = Path(next(iter(group.directories)))
    found = {name: (place / name).read_text() for name in os.listdir(place)}
    assert found["memory.max"] == found["memory.high"] == found["pids.max"] == "max"
    assert found["cpu.max"] == "max 100000"


def test_one_cpu_is_kept_free(tmp_path: Path) -> None:
    group = cgroups.find("innkeeper-x", **v2(tmp_path))
    made(group, {"cpuset.cpus.effective": "0-2,8\n"})
    busy = group.child("busy")
    made(busy, {"cpuset.cpus": ""})
    place = Path(next(iter(busy.directories)), "cpuset.cpus")
    busy.keep_a_cpu_free(True)
    assert place.read_text() == "1,2,8"
    busy.keep_a_cpu_free(False)
    assert place.read_text() == "0,1,2,8"


def test_version_1_limits(tmp_path: Path) -> None:
    group = cgroups.find("innkeeper-x", **v1(tmp_path))
    assert group.version == 1
    made(group, {"cpuset.cpus": "0-1", "cpuset.mems": "0"})
    site = group.child("site", without=("cpuset",))
    files = {
        "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes"),
        "pids": ("pids.max",),
        "cpu": ("cpu.cfs_quota_us", "cpu.shares"),
        "blkio": ("blkio.bfq.weight",),
    }
    site.make()
    for name, inner in files.items():
        for each in (*inner, "tasks"):
            (tmp_path / name / "own/innkeeper-x/site" / each).write_text("")
    site.limit(LIMITS)
    found = {
        each: (tmp_path / name / "own/innkeeper-x/site" / each).read_text()
        for name, inner in files.items()
        for each in inner
    }
    assert found == {
        "memory.limit_in_bytes": str(100 << 20),
        "memory.memsw.limit_in_bytes": str(100 << 20),
        "memory.soft_limit_in_bytes": str(90 << 20),
        "pids.max": "60",
        "cpu.cfs_quota_us": "150000",
        "cpu.shares": "2048",
        "blkio.bfq.weight": "50",
    }
    assert not (tmp_path / "cpuset/own/innkeeper-x/site").exists()


def test_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no control group"):
        cgroups.find("innkeeper-x", **fake(tmp_path, "", "0::/\n"))


def test_version_2_without_memory_gives_way_to_version_1(tmp_path: Path) -> None:
    paths = v1(tmp_path)
    point = tmp_path / "unified"
    point.mkdir()
    (point / "cgroup.controllers").write_text("hugetlb\n")
    with (tmp_path / "mountinfo").open("a") as file:
        file.write(V2_MOUNT.format(top="/", point=point))
    assert cgroups.find("innkeeper-x", **paths).version == 1
