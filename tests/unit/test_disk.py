"""Disk limits as the supervisor holds to them: who is measured, who can't be, and what is made of it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from innkeeper.kernel.quota import Used
from innkeeper.spec.problem import Problem
from innkeeper.spec.shares import TenantLimits
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor import disk, helpers
from innkeeper.supervisor.disk import Disk
from innkeeper.supervisor.services import Services

ALICE = TenantSpec(name="alice", uid=20000, limits=TenantLimits(disk="20m"))


class Node:
    """What the disk limits need of one. `answers` are those of its helpers, one for each measure."""

    def __init__(self, place: Path) -> None:
        self.layout = SimpleNamespace(tenants_data=place, tenant_data=lambda name: place / name)
        self.confines = SimpleNamespace(
            awake=lambda: {name: [f"{name}.test"] for name in self.tenants},
            processes=lambda *_: [os.getpid()],
        )
        self.meter = SimpleNamespace(
            note_all=lambda _, problem: self.told.update({problem.code: problem}),
            clear=lambda _, code: self.told.pop(code, None),
            busiest=lambda _: "an app",
        )
        self.tenants = {"alice": ALICE}
        self.told: dict[str, Problem] = {}
        self.logged: list[str] = []
        self.halted: list[bool] = []  # of each time: whether commands are ended, too
        self.answers: list[Any] = []
        self.disk = Disk(cast("Services", self), lambda _, commands: self.halted.append(commands))

    def log(self, text: str) -> None:
        self.logged.append(text)

    async def answer(self, *_: object, **__: object) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def look(self, *answers: Any) -> None:
        """One look after the other, each of which is answered so."""
        for answer in answers:
            self.answers.append(answer)
            asyncio.run(self.look_once())
            assert not self.answers

    async def look_once(self) -> None:
        self.disk.look()
        await self.be_done()

    async def wake(self) -> Problem | None:
        """A site's start."""
        found = self.disk.problem(ALICE)
        await self.be_done()
        return found

    async def be_done(self) -> None:
        while self.disk._measuring:
            await asyncio.sleep(0.001)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    for wait in ("_QUICK", "_FRESH", "_REST", "_PAUSE"):
        monkeypatch.setattr(disk, wait, 0.0)
    made = Node(tmp_path)
    monkeypatch.setattr(helpers, "ask", made.answer)
    return made


def test_who_can_not_be_measured_is_held_to_be_beyond_the_limit(node: Node) -> None:
    deep = helpers.Failed("there is no end to it")
    node.look({"space": 1000, "files": 1}, deep, deep)
    assert (node.halted, node.disk.problem(ALICE)) == ([], None)
    node.look(deep)
    assert node.halted == [False]
    problem = node.told["disk-unmeasured"]
    assert "there is no end to it" in problem.message
    assert sum("there is no end to it" in entry for entry in node.logged) == 3

    node.answers.append(deep)
    assert asyncio.run(node.wake()) == problem
    assert node.halted == [False, False]


def test_a_command_of_whom_can_not_be_measured_is_ended_when_the_disk_fills_up(node: Node) -> None:
    deep = helpers.Failed("there is no end to it")
    free = {"space": 10 << 30, "files": 1_000_000}
    cast("Any", node.disk)._free_space = lambda: Used(**free)
    node.look(*[deep] * 5)
    free["files"] += 100_000  # it may well be the one that deletes
    node.look(deep)
    assert node.halted == [False] * 4
    free["space"] -= 65 << 20
    node.look(deep, deep)
    assert node.halted[4:] == [True, False]


def test_who_can_be_measured_again_is_let_go(node: Node) -> None:
    deep = helpers.Failed("there is no end to it")
    node.look(deep, deep, deep, {"space": 1000, "files": 1})
    assert (node.told, node.disk.problem(ALICE)) == ({}, None)
    node.look(deep, deep)
    assert node.halted == [False]


def test_what_the_node_can_not_do_is_no_fault_of_the_tenants(node: Node) -> None:
    node.look(*[helpers.NoHelper("there is no runtime")] * 5)
    assert (node.halted, node.told, node.disk.problem(ALICE)) == ([], {}, None)
    assert len(node.logged) == 5


def test_what_has_no_name_and_is_open_counts(node: Node, tmp_path: Path) -> None:
    hidden = os.open(tmp_path, os.O_TMPFILE | os.O_RDWR)
    os.posix_fallocate(hidden, 0, 21 << 20)
    os.fchown(hidden, ALICE.uid, ALICE.uid)
    node.look({"space": 1000, "files": 1})
    used = node.disk.used("alice")
    assert used is not None
    assert (used.space > 21 << 20, used.files) == (True, 2)
    assert ("disk-full" in node.told, node.halted) == (True, [True])
    os.close(hidden)
    node.look({"space": 1000, "files": 1})
    assert (node.told, node.disk.used("alice")) == ({}, Used(1000, 1))


def test_who_has_too_much_open_to_be_looked_through_can_not_be_measured(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_LONGEST_LOOK", 0.0)
    for _ in range(3):
        node.look({"space": 1000, "files": 1})
        node.disk._due.clear()
        node.disk._earliest.clear()
    assert "was not looked through" in node.told["disk-unmeasured"].message
    assert node.halted == [False]


class Quota:
    """A file system that keeps quotas, or says why not."""

    name = "a quota"

    def __init__(self) -> None:
        self.refusal = ""
        self.set: list[tuple[int, int]] = []

    def bound(self, directory: Path, project: int, space: int, files: int) -> None:
        if self.refusal:
            raise OSError(self.refusal)
        self.set.append((space, files))

    def used(self, directory: Path, project: int) -> Used:
        return Used(1000, 1)


@pytest.fixture
def kept(node: Node) -> Quota:
    node.disk._quota = kept = cast("Any", Quota())
    return cast("Quota", kept)


def test_who_can_not_be_put_under_a_quota_is_measured(node: Node, kept: Quota) -> None:
    kept.refusal = "what was there before is not counted"
    node.look({"space": 30 << 20, "files": 1}, {"space": 30 << 20, "files": 1})
    node.answers.append({"space": 30 << 20, "files": 1})
    problem = asyncio.run(node.wake())
    assert problem is not None
    assert problem.code == "disk-full"
    assert [kept.refusal in entry for entry in node.logged] == [True]  # said once
    kept.refusal = ""
    asyncio.run(node.look_once())
    assert node.disk.problem(ALICE) is None


def test_another_tenant_by_the_same_name_is_put_under_a_quota_of_its_own(node: Node, kept: Quota) -> None:
    asyncio.run(node.look_once())
    asyncio.run(node.look_once())
    assert kept.set == [(20 << 20, ALICE.limits.files)]
    node.tenants["alice"] = msgspec.structs.replace(ALICE)
    asyncio.run(node.look_once())
    assert kept.set == [(20 << 20, ALICE.limits.files)] * 2


def test_who_is_gone_is_forgotten(node: Node) -> None:
    deep = helpers.Failed("there is no end to it")
    node.look({"space": 30 << 20, "files": 1}, deep, deep, deep)
    node.tenants.clear()
    asyncio.run(node.look_once())
    node.tenants["alice"] = ALICE
    assert (node.disk.used("alice"), node.disk.problem(ALICE)) == (None, None)
