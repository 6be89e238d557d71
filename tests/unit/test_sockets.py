"""Messages between our own processes: what is too long or no message does no harm, and leaks no descriptor."""

from __future__ import annotations

import errno
import gc
import os
import socket
import subprocess
from pathlib import Path

import pytest

from innkeeper.keeper import Keeper
from innkeeper.kernel import sockets


def test_what_would_be_cut_off_is_not_sent() -> None:
    ours, theirs = sockets.pair()
    with ours, theirs:
        with pytest.raises(OSError) as raised:
            sockets.send(ours, {"note": "x" * sockets.MAX_MESSAGE})
        assert raised.value.errno == errno.EMSGSIZE
        sockets.send(ours, {"note": "y"})
        assert sockets.receive(theirs) == ({"note": "y"}, [])


@pytest.mark.parametrize("body", [b"{", b"[]", b"[" * 100_000, b'{"a": "\xff"}'])
def test_what_is_no_message_is_said_and_leaves_nothing_open(body: bytes, tmp_path: Path) -> None:
    ours, theirs = sockets.pair()
    with ours, theirs, (tmp_path / "file").open("w") as file:
        socket.send_fds(ours, [body], [file.fileno()])
        gc.collect()  # what other tests have left
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ValueError):
            sockets.receive(theirs, 1)
        assert len(os.listdir("/proc/self/fd")) == before


def test_the_keeper_goes_on_after_what_is_no_message() -> None:
    def nothing() -> subprocess.Popen[bytes]:
        raise AssertionError("nothing is to be started")

    said: list[str] = []
    keeper = Keeper([], lambda _: nothing(), nothing, 0, said.append, lambda: None)
    ours, theirs = sockets.pair()
    with theirs:
        keeper._channel = ours
        theirs.send(b"{")
        keeper._listen()
        sockets.send(theirs, {"keep": "one", "note": {"well": True}})
        keeper._listen()
        sockets.send(theirs, {"recover": True})
        keeper._listen()
        assert sockets.receive(theirs) == ({"kept": "one", "note": {"well": True}}, [])
    assert "can't be read" in said[0]
    ours.close()
