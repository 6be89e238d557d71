"""Limits of tenants and sites: in version 1, which takes away no memory that is in use; for those who hibernate."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from innkeeper.kernel.cgroups import knobs
from innkeeper.kernel.cgroups.version1 import Split
from innkeeper.kernel.cgroups.version2 import Unified
from innkeeper.spec.shares import SiteLimits, TenantLimits
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor.confines import Confines

GIB = 1 << 30


class Kernel:
    """What was written, by group and file; and how much memory groups have in use that they can't give back."""

    def __init__(self) -> None:
        self.written: dict[str, dict[str, str]] = {}
        self.in_use: dict[str, int] = {}
        self.writes = 0
        self.refusal = errno.EBUSY

    def write(self, place: str, name: str, value: str) -> None:
        group = Path(place).name
        self.writes += 1
        if name == "memory.limit_in_bytes" and int(value) < self.in_use.get(group, 0):
            raise OSError(self.refusal, "refused")
        self.written.setdefault(group, {})[name] = value

    def table(self, place: str, name: str) -> dict[str, int]:
        return {"total_rss": self.in_use.get(Path(place).name, 0), "cache": GIB}

    def memory(self, group: str) -> int:
        return int(self.written[group]["memory.limit_in_bytes"])


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = Kernel()
    monkeypatch.setattr(knobs, "write", found.write)
    monkeypatch.setattr(knobs, "table", found.table)
    monkeypatch.setattr(Split, "doors", lambda _: [])
    return found


@pytest.fixture
def confines(tmp_path: Path, kernel: Kernel) -> Confines:
    return Confines(Split({name: str(tmp_path / name / "top") for name in ("memory", "pids", "cpu")}))


def alice(memory: str, tasks: int = 100) -> TenantSpec:
    return TenantSpec(name="alice", uid=20000, limits=TenantLimits(memory=memory, tasks=tasks))


def test_a_limit_below_what_is_in_use_waits_for_it(confines: Confines, kernel: Kernel) -> None:
    confines.enter(alice("2g"), "a.test", SiteLimits())
    kernel.in_use["@alice"] = 3 * GIB // 2
    confines.limit(alice("1g", tasks=50))
    assert kernel.memory("@alice") == 2 * GIB
    assert kernel.written["@alice"]["pids.max"] == "50"
    confines.enter(alice("1g", tasks=50), "b.test", SiteLimits())
    writes = kernel.writes
    confines.catch_up()
    assert kernel.writes == writes  # each would have the kernel look for what it can take back
    assert kernel.memory("@alice") == 2 * GIB
    kernel.in_use["@alice"] = GIB // 2
    confines.catch_up()
    assert kernel.memory("@alice") == GIB
    writes = kernel.writes
    confines.catch_up()
    assert kernel.writes == writes


def test_a_site_starts_while_its_old_worker_uses_more_than_it_may_now(
    confines: Confines, kernel: Kernel
) -> None:
    confines.enter(alice("2g"), "a.test", SiteLimits(memory="1g"))
    kernel.in_use["@a.test"] = GIB // 2
    confines.enter(alice("2g"), "a.test", SiteLimits(memory="256m"))
    assert kernel.memory("@a.test") == GIB
    kernel.in_use.clear()
    confines.catch_up()
    assert kernel.memory("@a.test") == 256 << 20


def test_who_waits_has_the_share_of_the_cpus_that_it_has_by_now(confines: Confines, kernel: Kernel) -> None:
    kernel.in_use["@alice"] = 3 * GIB // 2
    confines.enter(alice("1g"), "a.test", SiteLimits())
    confines.started(alice("1g"))
    confines.catch_up()
    assert kernel.written["@alice"]["cpu.shares"] == "1024"


def test_nothing_waits_for_a_group_that_is_gone(
    confines: Confines, kernel: Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("innkeeper.supervisor.confines.KEPT", 0)
    kernel.in_use |= {"@alice": GIB, "@a.test": GIB}
    confines.enter(alice("512m"), "a.test", SiteLimits(memory="256m"))
    confines.leave("alice", "a.test")
    confines.catch_up()
    assert not (tmp_path / "memory/top/@alice").exists()


def test_another_failure_is_told(confines: Confines, kernel: Kernel) -> None:
    kernel.in_use["@alice"], kernel.refusal = GIB, errno.EIO
    with pytest.raises(OSError, match="refused"):
        confines.limit(alice("512m"))


def test_a_site_that_was_adopted_may_be_swapped_out_while_it_hibernates(
    tmp_path: Path, kernel: Kernel
) -> None:
    confines = Confines(Unified({"memory": str(tmp_path / "top")}))
    kernel.written = {group: {"memory.swap.max": "max"} for group in ("@alice", "@a.test")}

    def swap() -> list[str]:
        return [kernel.written[group]["memory.swap.max"] for group in ("@alice", "@a.test")]

    confines.adopt("alice", "a.test")
    confines.hold(alice("2g"), "a.test", SiteLimits(swap="1m"))
    assert swap() == ["0", "1048576"]  # the supervisor before may have left it open
    confines.allow_swap("alice", "a.test", True)
    assert swap() == ["max", "max"]
    confines.allow_swap("alice", "a.test", False)
    assert swap() == ["0", "1048576"]
