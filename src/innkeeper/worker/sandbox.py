"""Entering the sandbox: a worker's own root directory, names, processes and user, and nothing else.

The zygote already stands in a bare root (see `zygote.template`) that holds the system and the runtime
read-only, and what is forked from it has namespaces of its own (`kernel.mold`); what is left to do for each
worker is the tenant's own part. Of the node's directories, which the zygote sees under `/.node`, only the
tenant's are kept.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Optional

from innkeeper.kernel import landlock, mounts, processes
from innkeeper.kernel.mold import Script
from innkeeper.worker import fence
from innkeeper.worker.children import SILENCE
from innkeeper.worker.order import Order
from innkeeper.worker.places import Places

NODE = "/.node"


def script(order: Order, places: Places) -> Script:
    """What a first process is to do. A helper's goes on from there in Python; a worker's is done with it all."""
    steps = Script()
    steps.add("name", f"ik {order.domain or order.tenant}"[:15])
    if places.walled:
        _build_root(steps, order, places)
        name = order.domain or order.tenant
        steps.add("hostname", (name.split(".")[0] if len(name) > 64 else name)[:64])
    if not order.is_helper:
        fence.add_rules(steps, order, places)
        fence.add_limits(steps, order)
        steps.add("rating", processes.RATHER_END)
        steps.add("become", order.uid, order.gid)
        steps.add("restrict")
        steps.add("admit")
        steps.add("fence")
        steps.add("log", order.log)
        steps.add("patience", order.timeout + SILENCE)
    return steps


def settle(order: Order, rules: Optional[int]) -> None:
    """Become the tenant, held to the rules of `fence.rules`. On return there is no way back."""
    fence.limit(order)
    processes.prefer_to_end()
    # What a tenant has closed to itself is counted as well.
    kept = processes.READ_ALL if order.task.get("do") == "measure" else None
    processes.become(order.uid, order.gid, keep=kept)
    processes.no_new_privileges()
    if rules is not None:
        landlock.restrict(rules)
    os.umask(0o022)


def _build_root(steps: Script, order: Order, places: Places) -> None:
    """The tenant's directories on the mount points that the template keeps ready.

    The sources are names in directories of root's, so no link of a tenant's is followed.
    """
    # To read would be to write otherwise, and what is written to can't be made read-only: the serving process, which
    # starts meanwhile, reads /etc/passwd, a link to here.
    flags = mounts.NOSUID | mounts.NODEV | mounts.NOATIME
    steps.add("mount", "tmpfs", "/run", "tmpfs", flags, "mode=755,size=1m")
    home = f"/run/home/{order.tenant}"
    for directory in ("/run/home", home, "/run/log"):
        steps.add("mkdir", directory)
    _bind(steps, "/run/home", "/home")
    _bind(steps, places.home(order.tenant), f"/home/{order.tenant}")
    _bind(steps, places.www(order.tenant), "/var/www")
    _bind(steps, places.tmp(order.tenant), "/tmp")
    _show_logs(steps, order, places)
    _write_accounts(steps, order)
    plain = mounts.NOSUID | mounts.NODEV
    steps.add("mount", "tmpfs", "/dev/shm", "tmpfs", plain, f"mode=1777,size={order.shm}")
    steps.add("mount", "proc", "/proc", "proc", plain | mounts.NOEXEC, "")
    steps.add("detach", NODE)
    steps.add("mount", *mounts.read_only_step("/run"))


def _bind(steps: Script, source: str, target: str, flags: int = mounts.NOSUID | mounts.NODEV) -> None:
    for step in mounts.bind_steps(source, target, flags):
        steps.add("mount", *step)


def _show_logs(steps: Script, order: Order, places: Places) -> None:
    """The site's logs by the names that the tenant knows; a directory is shown, so rotation shows too."""
    if not order.domain:
        return
    shown = f"/run/log/{order.domain}"
    steps.add("mkdir", shown)
    _bind(steps, places.log(order.domain), shown, mounts.NOSUID | mounts.NODEV | mounts.RDONLY)
    for kind in ("access", "error", "server"):
        steps.add("symlink", f"{order.domain}/{kind}.log", f"/run/log/{order.domain}.{kind}.log")


def _write_accounts(steps: Script, order: Order) -> None:
    """/etc/passwd and /etc/group (links of the template's into /run) with root and the tenant alone."""
    passwd = (
        "root:x:0:0:root:/root:/usr/sbin/nologin\n"
        f"{order.tenant}:x:{order.uid}:{order.gid}::/home/{order.tenant}:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
    group = f"root:x:0:\n{order.tenant}:x:{order.gid}:\nnogroup:x:65534:\n"
    own = order.domain or order.tenant
    hosts = f"127.0.0.1 localhost {own}\n::1 localhost ip6-localhost ip6-loopback\n"
    for name, text in (
        ("passwd", passwd),
        ("group", group),
        ("hosts", hosts),
        ("hostname", own + "\n"),
    ):
        steps.add("file", f"/run/{name}", text)


def set_environment(order: Order, places: Places) -> None:
    """Build the environment from nothing: what every app may rely on, then what its owner set."""
    home = places.real(order.tenant, f"/home/{order.tenant}")
    path = f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin"
    if order.virtualenv:
        path = f"{places.real(order.tenant, order.virtualenv)}/bin:{path}"
    os.environ.clear()
    os.environ.update(
        {
            "HOME": home,
            "USER": order.tenant,
            "LOGNAME": order.tenant,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PATH": path,
            "TMPDIR": places.real(order.tenant, "/tmp"),
            **({"DOMAIN": order.domain} if order.domain else {}),
            **({"VIRTUAL_ENV": places.real(order.tenant, order.virtualenv)} if order.virtualenv else {}),
            **order.environment,
        }
    )
    if os.environ["TZ"] != "UTC":  # which this process was forked with
        time.tzset()
