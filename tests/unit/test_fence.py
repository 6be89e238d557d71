"""What is refused behind the fence, tried in a child process; no root needed."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import sys

import pytest

from innkeeper.kernel import seccomp
from innkeeper.worker import calls, fence

REFUSED = {
    "a user namespace": "libc.unshare(0x10000000)",
    "a mount namespace": "libc.unshare(0x00020000)",
    "another's namespace": "libc.setns(os.open('/proc/self/ns/mnt', os.O_RDONLY), 0)",
    "a mount": "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "pivot_root": "libc.syscall(155, b'.', b'.')",
    "a new root": "libc.chroot(b'/tmp')",
    "tracing": "libc.ptrace(0, 0, 0, 0)",
    "another's memory": "libc.syscall(310, os.getppid(), 0, 0, 0, 0, 0)",
    "keys": "libc.syscall(248, b'user', b'x', b'y', 1, -3)",
    "bpf": "libc.syscall(321, 0, 0, 0)",
    "perf": "libc.syscall(298, 0, 0, 0, 0, 0)",
    "userfaultfd": "libc.syscall(323, 0)",
    "a kernel module": "libc.syscall(175, 0, 0, 0)",
    "kexec": "libc.syscall(246, 0, 0, 0, 0)",
    "the clock": "libc.syscall(227, 0, 0)",
    "a reboot": "libc.syscall(169, 0, 0, 0, 0)",
    "swap": "libc.swapon(b'/x', 0)",
    "the host's name": "libc.sethostname(b'x', 1)",
    "files by handle": "libc.syscall(304, 0, 0, 0)",
    "a raw socket": "libc.socket(2, 3, 1)",
    "a packet socket": "libc.socket(17, 3, 0)",
    "a socket of the kernel's crypto": "libc.socket(38, 5, 0)",
    "a socket to the host of a VM": "libc.socket(40, 1, 0)",
    "netfilter's socket": "libc.socket(16, 3, 12)",
}
TRY = """
import ctypes, os, sys
from innkeeper.worker import fence
libc = ctypes.CDLL(None, use_errno=True)
fence.prepare()
fence.close()
result = {call}
sys.exit(ctypes.get_errno() if result < 0 else 0)
"""
pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the numbers of calls are those of x86_64"
)


def _tried(call: str) -> int:
    return subprocess.run([sys.executable, "-c", TRY.format(call=call)], check=False, timeout=20).returncode


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_refused(what: str) -> None:
    assert _tried(REFUSED[what]) == errno.EPERM


@pytest.mark.parametrize("call", ["libc.syscall(425, 8, 0)", "libc.syscall(435, 0, 0)"])
def test_what_programs_do_without_is_not_there(call: str) -> None:
    assert _tried(call) == errno.ENOSYS


def test_ordinary_programs_work() -> None:
    code = """
import asyncio, ctypes, multiprocessing, os, socket, sqlite3, subprocess, tempfile, threading
from concurrent.futures import ProcessPoolExecutor
from innkeeper.worker import fence
fence.prepare()
fence.close()
with ProcessPoolExecutor(2) as pool:
    assert list(pool.map(abs, [-1, -2])) == [1, 2]
assert subprocess.run(["sh", "-c", "echo $((1+1)) | cat"], capture_output=True).stdout == b"2\\n"
thread = threading.Thread(target=os.getpid); thread.start(); thread.join()
assert socket.getaddrinfo("localhost", 80)
with tempfile.NamedTemporaryFile() as file:
    sqlite3.connect(file.name).execute("create table t (a)")
async def main():
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_every_listed_call_is_known() -> None:
    library = ctypes.CDLL(seccomp.LIBRARY)
    younger_than_debian_12 = {
        "fchmodat2",
        "map_shadow_stack",
        "mseal",
        "futex_wake",
        "futex_wait",
        "futex_requeue",
    }
    unknown = {
        rule.call for rule in calls._rules() if library.seccomp_syscall_resolve_name(rule.call.encode()) == -1
    }
    assert unknown <= younger_than_debian_12


def test_this_machine_has_it_all() -> None:
    if os.geteuid() == 0:
        assert fence.refused() == ""
    assert socket.AF_UNIX
