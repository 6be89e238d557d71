"""Turning visitors away from a socket that processes of the app's have as well."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from innkeeper.supervisor import troubles


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as found:
        found.bind(str(tmp_path / "sock"))
        found.listen()
        yield found


def visitor(listener: socket.socket) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    found.connect(listener.getsockname())
    return found


def test_those_who_wait_are_turned_away_although_the_app_has_made_the_file_wait(
    listener: socket.socket,
) -> None:
    with listener.dup() as of_the_app, visitor(listener) as one, visitor(listener) as other:
        of_the_app.setblocking(True)
        troubles.turn_away(listener)
        assert [one.recv(1), other.recv(1)] == [b"", b""]
    troubles.turn_away(listener)  # nobody waits


def test_an_app_that_takes_them_first_holds_up_nobody(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the file wait, and takes the visitor between our look and our accepting."""

    class Poll:
        def register(self, *_: Any) -> None: ...

        def poll(self, _: int) -> bool:
            return not ended

    ended: list[bool] = []
    monkeypatch.setattr(select, "poll", Poll)
    monkeypatch.setattr(socket.socket, "setblocking", lambda *_: None)
    listener.settimeout(None)
    before, begun = threading.active_count(), time.monotonic()
    for _ in range(10):
        troubles.turn_away(listener)
    assert time.monotonic() - begun < 1
    assert threading.active_count() == before + 1
    ended.append(True)
    visitor(listener).close()
    while threading.active_count() > before:
        time.sleep(0.01)
