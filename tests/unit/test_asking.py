"""Asking a node that may not be up, or may not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from innkeeper.cli.app import Context
from innkeeper.control import client
from innkeeper.spec.node import Layout


@pytest.mark.parametrize(
    ("raised", "silence", "refusal"),
    [
        (client.NodeDown(), "no node is up here", "no node is up at /r"),
        (
            client.SupervisorDown(),
            "the node's supervisor does not answer",
            "the node at /r is up, and its supervisor",
        ),
        (client.Refusal("no such site"), "the running node does not have it", "no such site"),
    ],
)
def test_why_there_is_no_answer(
    raised: Exception,
    silence: str,
    refusal: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ask(*_: Any) -> dict[str, Any]:
        raise raised

    monkeypatch.setattr(client, "ask", ask)
    here = Context(Layout(Path("/r")))
    assert here.ask_if_up({"do": "site"}) is None
    assert silence in here.silence
    with pytest.raises(typer.Exit):
        here.ask({"do": "site"})
    assert refusal in capsys.readouterr().err


def test_a_forgotten_sudo_is_not_taken_for_a_node_that_is_down(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(*_: Any) -> dict[str, Any]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(client, "ask", ask)
    with pytest.raises(typer.Exit):
        Context(Layout(Path("/r"))).ask_if_up({"do": "status"})
    assert "sudo" in capsys.readouterr().err
