"""The keeper goes on, whatever becomes of those it keeps."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess

import pytest

from innkeeper.keeper import Keeper


class Fork:
    """Starts a process, but not at the first tries."""

    def __init__(self, *refusals: Exception) -> None:
        self.refusals = list(refusals)
        self.started = 0

    def __call__(self, channel: socket.socket | None = None) -> subprocess.Popen[bytes]:
        if self.refusals:
            raise self.refusals.pop(0)
        self.started += 1
        os.kill(os.getpid(), signal.SIGTERM)
        return subprocess.Popen(["sleep", "60"])


@pytest.mark.parametrize(
    "refusal", [OSError(errno.EAGAIN, "no more processes"), subprocess.SubprocessError("in preexec_fn")]
)
def test_a_process_that_can_not_be_had_is_tried_again(refusal: Exception) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said: list[str] = []
            supervisor = Fork(refusal, refusal)
            keeper = Keeper([], supervisor, Fork(), os.getuid(), said.append, lambda: None)
            status = keeper.run()
            os.write(writer, "\n".join([*said, f"{status}, {supervisor.started}"]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        lines = told.read().splitlines()
    os.waitpid(child, 0)
    assert lines == [
        f"supervisor could not be started ({refusal}); starting it again in 0.1 s",
        f"supervisor could not be started ({refusal}); starting it again in 0.5 s",
        "stopping",
        "0, 1",
    ]
