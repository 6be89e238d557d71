"""Sockets of other processes, of which this one plays both."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from innkeeper.kernel import remote


def inode(end: socket.socket) -> int:
    return os.fstat(end.fileno()).st_ino


def test_the_other_end_of_a_connection_is_found_and_reached(tmp_path: Path) -> None:
    name = f"{tmp_path}/sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(name)
        listener.listen()
        client.connect(name)
        accepted, _ = listener.accept()
        with accepted:
            assert remote.other_end(inode(accepted), name) == inode(client)
            (copy,) = remote.copies(os.getpid(), {inode(client)})
            with copy:
                copy.send(b"by the copy")
            assert accepted.recv(100) == b"by the copy"


def test_a_look_for_what_was_accepted_ends_in_time(tmp_path: Path) -> None:
    name = f"{tmp_path}/sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(name)
        listener.listen()
        client.connect(name)
        assert not remote.has_accepted(os.getpid(), name, time.monotonic() + 10)
        with listener.accept()[0]:
            assert remote.has_accepted(os.getpid(), name, time.monotonic() + 10)
            with pytest.raises(TimeoutError):
                remote.has_accepted(os.getpid(), name, time.monotonic())


def test_whose_name_is_another_is_nobodys_business(tmp_path: Path) -> None:
    one, other = socket.socketpair()
    with one, other, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/sock")
        for name in (f"{tmp_path}/sock", ""):
            assert remote.other_end(inode(listener), name) == 0  # it is connected with none
        assert remote.other_end(inode(one), f"{tmp_path}/sock") == 0
        assert remote.other_end(0xFFFFFFF0, f"{tmp_path}/sock") == 0
    assert list(remote.copies(os.getpid(), {0})) == []
