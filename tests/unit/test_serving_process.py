"""What a serving process does at its end: nothing of it gets into what has become the app's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from innkeeper.worker.serving import LOAD_FAILED

_PLAY = """
import os, socket, sys
from innkeeper.kernel import sockets
from innkeeper.worker.order import Descriptors, Order
from innkeeper.worker.places import Places
from innkeeper.worker.requests import InFlight
from innkeeper.worker.serving import Server
link, far = sockets.pair()
listener = socket.socket(socket.AF_UNIX)
listener.bind("")
listener.listen()
log = os.dup(2)
order = Order(1, "one.test", "alice", os.getuid(), os.getgid(), entry="one")
given = Descriptors(far.fileno(), listener.fileno(), 1, log)
server = Server(order, Places("/tenants", "/logs", walled=True), given, link)
server.become_ready(InFlight(listener.fileno()), lambda: 0, lambda: None)
assert os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT) == log
server.fail(LookupError("too late"))
"""


def test_once_it_serves_its_last_words_do_not_go_into_a_file_of_the_apps(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    done = subprocess.run([sys.executable, "-c", _PLAY, str(kept)], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, kept.read_text()) == (LOAD_FAILED, ""), done.stderr
    assert "LookupError: too late" in done.stderr
