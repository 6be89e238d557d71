"""innkeeper up: what it sees to before the keeper takes over."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import typer

from innkeeper.cli import up
from innkeeper.cli.app import Context
from innkeeper.edge import nginx
from innkeeper.spec.node import Layout
from innkeeper.supervisor import main as supervisor


def test_words_that_nobody_takes_are_lost_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, as a file's or a pipe's that was closed."""
    with open("/dev/full", "wb", buffering=0) as full:
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(full, write_through=True))  # type: ignore[type-var]
        with pytest.raises(OSError, match="No space"):
            print("anything", file=sys.stderr)
        supervisor.log("supervisor ended")
        up._announce()


def begin(root: Path) -> None:
    up.up(cast("typer.Context", SimpleNamespace(obj=Context(Layout(root)))), http=["127.0.0.1:0"])


def test_a_machine_without_nginx_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(nginx, "_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(up, "_find_way", lambda *_: pytest.fail("it goes on"))
    with pytest.raises(typer.Exit):
        begin(tmp_path / "node")
    assert "no nginx" in capsys.readouterr().err
    assert not (tmp_path / "node").exists()
