"""The first process of a worker, by itself."""

from __future__ import annotations

import subprocess
import sys

_PLAY = """
import os, resource, sys, time
from innkeeper.kernel import sockets
from innkeeper.kernel.mold import Begun
from innkeeper.worker.first import First
from innkeeper.worker.order import Order
from innkeeper.worker.places import Places
(channel, far), (link, its) = sockets.pair(), sockets.pair()
pid = os.fork()
if pid == 0:  # a process that loads its app, and ends with our channel to the supervisor
    channel.close()
    link.close()
    time.sleep(1)
    os._exit(0)
far.close()
its.close()
logs = [os.open(os.devnull, os.O_WRONLY) for _ in range(2)]
order = Order(1, "one.test", "alice", os.getuid(), os.getgid(), timeout=1.0)
begun = Begun(
    order=b"", given=(channel.detach(), -1, *logs), pipes=(*os.pipe(), *os.pipe()), pumped=(0, 0),
    serving=(pid, link.detach()), table=-1, touch=-1, touched=False, loaded=b"", heard=time.monotonic() - 60.0,
    used=time.monotonic(), asked=False,
)
for reader in (begun.pipes[0], begun.pipes[2]):
    os.set_blocking(reader, False)
First(order, Places("/tenants", "/logs", walled=True), begun, None).run()
print(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw)
"""


def test_it_sleeps_however_long_a_process_loads_its_app() -> None:
    done = subprocess.run([sys.executable, "-c", _PLAY], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100  # times that it has waited for anything
