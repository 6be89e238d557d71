"""innkeeper up: what it sees to before the keeper takes over."""

from __future__ import annotations

import errno
import io
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import typer

from innkeeper.cli import up
from innkeeper.cli.app import Context
from innkeeper.edge import nginx
from innkeeper.kernel import firewall, processes
from innkeeper.spec.node import Layout
from innkeeper.supervisor import facilities
from innkeeper.supervisor import main as supervisor


def test_words_that_nobody_takes_are_lost_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, as a file's or a pipe's that was closed."""
    with open("/dev/full", "wb", buffering=0) as full:
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(full, write_through=True))  # type: ignore[type-var]
        with pytest.raises(OSError, match="No space"):
            print("anything", file=sys.stderr)
        supervisor.log("supervisor ended")
        up._announce([("127.0.0.1", 80)])


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def begin(root: Path) -> None:
    up.up(cast("typer.Context", SimpleNamespace(obj=Context(Layout(root)))), http=["127.0.0.1:0"])


def test_a_machine_without_nginx_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nginx, "_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(up, "_find_way", lambda *_: pytest.fail("it goes on"))
    with pytest.raises(typer.Exit):
        begin(tmp_path / "node")
    assert "no nginx" in capsys.readouterr().err
    assert not (tmp_path / "node").exists()


def test_the_network_is_open_again_when_a_node_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules: list[str] = []

    def fill_up(*_: object, **__: object) -> None:
        assert rules
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(processes, "raise_file_limit", lambda _: 1024)
    for name in ("_check_edge", "_find_way", "_prepare", "_check_runtime"):
        monkeypatch.setattr(up, name, lambda *_: None)
    monkeypatch.setattr(firewall, "install", rules.append)
    monkeypatch.setattr(firewall, "remove", lambda _: rules.clear())
    monkeypatch.setattr(facilities, "walls", lambda *_: [])
    monkeypatch.setattr(nginx, "install", fill_up)
    with socket.socket() as listener:
        monkeypatch.setattr(up, "_listen", lambda _: listener)
        with pytest.raises(OSError, match="No space"):
            begin(tmp_path)
    assert rules == []
