"""A serving process by itself: how it is watched, whatever the app has made of it, and its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.worker.serving import LOAD_FAILED

_BEGIN = """
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
order = Order(1, "one.test", "alice", os.getuid(), os.getgid(), entry="one", timeout=1.0)
given = Descriptors(far.fileno(), listener.fileno(), 1, log)
server = Server(order, Places("/tenants", "/logs", walled=True), given, link)
in_flight = InFlight(listener.fileno())
"""
_END = """
server.become_ready(in_flight, lambda: 0, lambda: None)
assert os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT) == log
server.fail(LookupError("too late"))
"""
_PATCHED = """
import select, threading, time
def wait_for_ever(*_): raise AssertionError("in a loop that nobody runs")
threading.Thread = threading._start_new_thread = wait_for_ever
select.poll = socket.socket = time.sleep = wait_for_ever
waiting = select.epoll()
waiting.register(listener)
del select.epoll
"""
_LOWERED = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
if os.getuid() == 0:
    os.setuid(65534)  # root may raise it again
"""
_DRAIN = """
def heard(event):
    while sockets.receive(far)[0]["event"] != event: pass
r, w = os.pipe()
server.become_ready(in_flight, lambda: 0, lambda: os.write(w, b"finished"))
heard("beat")
sockets.send(far, {"do": "drain"})
heard("gated")
os.write(1, os.read(r, 10))
os._exit(0)
"""


def test_once_it_serves_its_last_words_do_not_go_into_a_file_of_the_apps(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    done = subprocess.run([sys.executable, "-c", _BEGIN + _END, str(kept)], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, kept.read_text()) == (LOAD_FAILED, ""), done.stderr
    assert "LookupError: too late" in done.stderr


@pytest.mark.parametrize("done_by_app", [_PATCHED, _LOWERED], ids=["gevent", "fewer files"])
def test_it_is_watched_and_drained_whatever_the_app_has_changed(done_by_app: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + done_by_app + _DRAIN], capture_output=True, text=True, timeout=20
    )
    assert done.stdout == "finished", done.stderr
