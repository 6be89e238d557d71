"""The node's sites beside what their files say: with a registry and services that a test plays."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from innkeeper.edge import logs
from innkeeper.kernel import sockets
from innkeeper.spec.node import NodeSettings
from innkeeper.spec.site import SiteSpec, parse_site
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor import starting
from innkeeper.supervisor.admission import Admission
from innkeeper.supervisor.node import Node
from innkeeper.supervisor.registry import Change
from innkeeper.supervisor.services import Services
from innkeeper.supervisor.states import State
from innkeeper.supervisor.wakeups import Wakeups
from innkeeper.supervisor.worker import Worker
from tests.unit.scenes import play_on


def site(app: str, tenant: str = "alice") -> SiteSpec:
    return parse_site("one.test", f'tenant = "{tenant}"\n[app]\n{app}\n', file="one.test.toml")


class Stage:
    """A node; `wanted` are the sites that it finds in files."""

    def __init__(self) -> None:
        self.wanted: dict[str, SiteSpec] = {}
        self.services = Services(
            layout=Mock(),
            settings=NodeSettings(),
            custody=Mock(),
            routes=Mock(**{"publish.return_value": None}),
            admission=Admission(2, 100),
            wakeups=Wakeups(lambda _: None, lambda _: None),
            nursery=Mock(),
            learning=Mock(),
            ports=Mock(),
            meter=Mock(),
            edge_gid=os.getgid(),
            log=Mock(),
            tenants={
                name: TenantSpec(name=name, uid=uid) for name, uid in (("alice", 70000), ("bob", 70001))
            },
            confines=Mock(),
        )
        registry: Any = Mock(wanted=self.wanted)
        registry.refresh = lambda _: [Change(name, None, spec, False) for name, spec in self.wanted.items()]
        self.node = Node(registry, self.services)
        self._ends: list[Any] = []

    def worker(self, tenant: str = "alice") -> Worker:
        ours, theirs = sockets.pair()
        worker = Worker(7, "one.test", ours, Mock())
        worker.tenant = tenant
        self._ends += [theirs, ours]
        return worker

    def end(self) -> None:
        for found in self.node.sites.values():
            found.listener.close()
        for end in self._ends:
            end.close()


Play = Callable[[Callable[[Stage], Awaitable[None]]], None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "prepare", lambda *_, **__: None)

    return partial(play_on, Stage)


@pytest.mark.parametrize("tenant", ["alice", "bob"])
def test_the_limits_hold_of_a_site_whose_worker_goes_on(play: Play, tenant: str) -> None:
    async def scene(stage: Stage) -> None:
        stage.wanted["one.test"] = spec = site('wsgi = "app:app"')
        confines: Any = stage.services.confines
        confines.sandboxes.return_value, confines.processes.return_value = 1, []
        worker = stage.worker(tenant)
        stage.node.take_over({}, {"one.test": [(worker, "resting")]})
        asked = [call[0] for call in confines.mock_calls]
        if tenant == "alice":
            confines.hold.assert_called_once_with(stage.services.tenants["alice"], "one.test", spec.limits)
            assert asked.index("hold") < asked.index("allow_swap")
        else:
            assert "hold" not in asked
        worker.forsake()

    play(scene)


def test_limits_that_can_not_be_set_keep_no_site_from_going_on(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        stage.wanted["one.test"] = site('wsgi = "app:app"')
        confines: Any = stage.services.confines
        confines.hold.side_effect = OSError(errno.EIO, "refused")
        worker = stage.worker()
        stage.node.take_over({}, {"one.test": [(worker, "ready")]})
        assert stage.node.sites["one.test"].state is State.SERVING
        worker.forsake()

    play(scene)


def test_a_site_whose_other_socket_can_not_be_bound_stays_what_it_is_until_it_can(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(stage: Stage) -> None:
        stage.wanted["one.test"] = before = site('wsgi = "app:app"')
        stage.node.refresh()
        present = stage.node.sites["one.test"]
        stage.wanted["one.test"] = after = site('asgi = "app:app"')
        with monkeypatch.context() as full:
            full.setattr(starting, "bind", Mock(side_effect=OSError(errno.ENOSPC, "No space left")))
            stage.node.refresh()
        assert stage.node.faults["one.test"].code == "host-failed"
        assert (stage.node.sites["one.test"], present.spec) == (present, before)
        stage.node.refresh()
        assert not stage.node.faults
        assert (stage.node.sites["one.test"].spec, present.spec) == (after, before)
        assert stage.node.sites["one.test"].address == "live/one.test/http~"

    play(scene)
