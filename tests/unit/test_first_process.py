"""The first process of a worker, by itself."""

from __future__ import annotations

import subprocess
import sys

_BEGIN = """
import os, resource, sys, time
from innkeeper.kernel import sockets
from innkeeper.kernel.mold import Begun
from innkeeper.worker.first import First
from innkeeper.worker.order import Order
from innkeeper.worker.places import Places
(channel, far), (link, its) = sockets.pair(), sockets.pair()
processes, serve, meanwhile = 1, None, far.close
"""
_LOADS = """
def serving():  # loads its app, and ends with our channel to the supervisor
    time.sleep(1)
"""
_IS_REFUSED = """
def serving():
    sockets.send(its, {"event": "loaded"})
    its.recv(100)  # "drain"
processes, meanwhile, fork, files = 2, int, os.fork, []
def refuse_twice():
    files.append(len(os.listdir("/proc/self/fd")))
    if 1 < len(files) < 4:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
os.fork = refuse_twice
def serve(*_):
    os.write(1, b"two serve, %d descriptors too many" % (files[-1] - files[1]))
    sockets.send(far, {"do": "drain"})
"""
_HAS_NO_WATCH = """
import errno, threading
from innkeeper.kernel import libc
def serving():
    sockets.send(its, {"event": "failed", "summary": "it does not load"})
def refuse(*_, **__): raise OSError(errno.EMFILE, "Too many open files")
def listen():
    print(sockets.receive(far)[0]["summary"])
    sockets.send(far, {"do": "drain"})
libc.call = refuse
meanwhile = threading.Thread(target=listen).start
"""
_RUN = """
pid = os.fork()
if pid == 0:
    channel.close()
    link.close()
    serving()
    os._exit(0)
its.close()
meanwhile()
logs = [os.open(os.devnull, os.O_WRONLY) for _ in range(2)]
order = Order(1, "one.test", "alice", os.getuid(), os.getgid(), timeout=1.0, processes=processes)
begun = Begun(
    order=b"", given=(channel.detach(), -1, *logs), pipes=(*os.pipe(), *os.pipe()), pumped=(0, 0),
    serving=(pid, link.detach()), table=-1, touch=-1, touched=False, loaded=b"", heard=time.monotonic() - 60.0,
    used=time.monotonic(), asked=False,
)
for reader in (begun.pipes[0], begun.pipes[2]):
    os.set_blocking(reader, False)
First(order, Places("/tenants", "/logs", walled=True), begun, serve).run()
"""
_WAITS = "print(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw)"


def play(*parts: str) -> str:
    """What is printed by a first process that plays this."""
    done = subprocess.run(
        [sys.executable, "-c", "".join((_BEGIN, *parts))], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_sleeps_however_long_a_process_loads_its_app() -> None:
    assert int(play(_LOADS, _RUN, _WAITS)) < 100  # times that it has waited for anything


def test_a_process_that_cannot_be_forked_now_is_forked_later() -> None:
    assert play(_IS_REFUSED, _RUN) == "two serve, 0 descriptors too many"


def test_where_a_user_may_have_no_further_watch_it_goes_on_without() -> None:
    assert play(_HAS_NO_WATCH, _RUN) == "it does not load\n"
