"""Logs that are set aside by age and size, and followed across it."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from innkeeper.cli.following import Followed
from innkeeper.edge import rotation
from innkeeper.spec.node import Layout
from innkeeper.spec.site import AppSpec, SiteSpec
from innkeeper.spec.tenant import TenantSpec
from innkeeper.supervisor import starting

DAY = 86_400.0


def test_a_log_is_due_by_size(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_bytes(b"x" * 100)
    assert rotation.is_due(tmp_path, "access", 100)
    assert not rotation.is_due(tmp_path, "access", 101)
    assert not rotation.is_due(tmp_path, "error", 1)


def test_a_log_is_due_by_age_however_often_it_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(b"x")
    (tmp_path / "error.log").touch()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 6.9 * DAY)
    assert not rotation.is_due(tmp_path, "access", 1000)
    monkeypatch.setattr(time, "time", lambda: now + 7.1 * DAY)
    os.utime(log)  # the last request was just now
    assert rotation.is_due(tmp_path, "access", 1000)
    assert not rotation.is_due(tmp_path, "error", 1000), "an empty log is left where it is"


def test_what_was_set_aside_is_compressed_and_in_time_deleted(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("a line\n")
    rotation.set_aside(tmp_path, "server")
    (aside,) = tmp_path.iterdir()
    assert not rotation.tidy(tmp_path, days=5), "nginx may still be writing to it"
    long_ago = time.time() - 2 * rotation.SETTLED
    os.utime(aside, (long_ago, long_ago))
    assert rotation.tidy(tmp_path, days=5)
    (packed,) = tmp_path.iterdir()
    assert gzip.decompress(packed.read_bytes()) == b"a line\n"
    os.utime(packed, (time.time() - 6 * DAY,) * 2)
    assert rotation.tidy(tmp_path, days=5)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="logs are given to tenants, which takes root")
@pytest.mark.parametrize("owner", ["alice", "bob"])
def test_a_log_that_is_set_aside_is_written_by_its_tenants_workers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    monkeypatch.setattr(starting, "_open_logs", lambda *_: [os.open(os.devnull, os.O_WRONLY)])
    layout = Layout(tmp_path)
    tenants = {name: TenantSpec(name=name, uid=uid) for name, uid in (("alice", 70000), ("bob", 70001))}
    services: Any = SimpleNamespace(layout=layout, tenants=tenants)
    log = layout.log_dir("one.test") / "error.log"
    log.parent.mkdir(parents=True)
    log.write_text("a line\n")
    os.chown(log.parent, 0, tenants[owner].uid)
    workers: Any = [Mock(tenant="alice"), Mock(tenant="bob")]
    spec = SiteSpec(domain="one.test", tenant="bob", app=AppSpec(wsgi="/var/www/a.py"))
    starting.renew_logs(spec, workers, "error", services)
    assert log.exists() == (owner == "alice")
    assert [worker.ask.called for worker in workers] == [False, owner == "bob"]


def test_a_followed_log_goes_on_in_the_file_that_takes_its_place(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    followed = Followed(log)
    assert followed.last(2) == b""
    assert followed.added() == b""
    log.write_text("one\ntwo\nthree\n")
    assert followed.added() == b"one\ntwo\nthree\n"
    again = Followed(log)
    assert again.last(2) == b"two\nthree\n"
    with log.open("a") as file:
        file.write("four\n")
    rotation.set_aside(tmp_path, "access")
    assert again.added() == b"four\n", "the rest of the old one, though the new is not there yet"
    log.write_text("a line that makes the new file longer than the old one was\n")
    assert again.added() == b"a line that makes the new file longer than the old one was\n"
    log.write_text("cut\n")
    assert again.added() == b"cut\n"
    followed.close()
    again.close()


def test_the_last_lines_are_whole_however_long_they_are(tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    text = b"first\n" + b"x" * 5_000 + b"\n" + b"y" * 100_000 + b"\nlast"
    log.write_bytes(text)
    for count in range(6):
        followed = Followed(log)
        assert followed.last(count) == b"".join(text.splitlines(keepends=True)[4 - min(count, 4) :])
        followed.close()
