"""Attacks by one tenant against another and the host, each tried from inside the sandbox; every one must fail.

An attack is Python run by `tenant run mallory`. It prints BROKE when it got what it wanted; an exception, or
silence, is a failed attack.
"""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tests.node.harness import Node, await_true, descendants

ATTACKS = {
    # Reading what is another's.
    "list the homes": "print('BROKE' if set(os.listdir('/home')) - {'mallory'} else '')",
    "read another home": "print('BROKE', open('/home/alice/secret').read())",
    "climb out of the root": "os.chdir('/'); os.chdir('../../..'); print('BROKE' if os.path.exists('etc/innkeeper') else '')",
    "climb by /proc/1/root": "print('BROKE' if os.listdir('/proc/1/root/root') else '')",
    "climb by /proc/1/cwd": "print('BROKE' if 'alice' in os.listdir('/proc/1/cwd/../..') else '')",
    "find the routing tree": "print('BROKE' if glob('/run/innkeeper/*') or glob('/**/sites/*.test', root_dir='/run') else '')",
    "find the control socket": "print('BROKE' if [p for p in walk('/') if p.endswith('control.sock')] else '')",
    "find another's socket": "print('BROKE' if [p for p in walk('/') if p.endswith('/sock')] else '')",
    "read the node's settings": "print('BROKE' if [p for p in walk('/etc') if 'innkeeper' in p] else '')",
    "read shadow": "print('BROKE', open('/etc/shadow').read())",
    "read the host's accounts": "print('BROKE' if 'www-data' in open('/etc/passwd').read() else '')",
    "read private TLS keys": "print('BROKE', os.listdir('/etc/ssl/private'))",
    "read another's logs": "print('BROKE' if [n for n in os.listdir('/var/log') if 'victim' in n] else '')",
    "read the kernel's log": "print('BROKE', open('/dev/kmsg').read(10))",
    "read the memory of the machine": "print('BROKE', open('/dev/mem','rb').read(10))",
    "read a disk": "print('BROKE' if glob('/dev/[svn][dv]*') else '')",
    "read kernel memory": "print('BROKE', open('/proc/kcore','rb').read(10))",
    # Other processes.
    "see other processes": "print('BROKE' if len(pids()) > 2 else '')",
    "read another's environment": "print('BROKE' if any(b'VICTIM' in open(f'/proc/{p}/environ','rb').read() for p in pids()) else '')",
    "signal every process there is": "[kill(n) for n in range(3, 32768) if n != os.getpid()]",
    "trace process 1": "print('BROKE' if libc.ptrace(16, 1, 0, 0) == 0 else '')",
    "write the memory of process 1": "print('BROKE', open('/proc/1/mem','wb').write(b'x'))",
    "open a pidfd of the host's": "fd = os.pidfd_open(HOSTPID); signal.pidfd_send_signal(fd, 9); print('BROKE')",
    # Getting more rights.
    "become root": "os.setuid(0); print('BROKE')",
    "become another tenant": "os.setresuid(ALICE, ALICE, ALICE); print('BROKE')",
    "join another's group": "os.setgroups([ALICE]); print('BROKE')",
    "a set-uid program": "print('BROKE' if subprocess.run(['su', '-c', 'id', 'root'], input=b'', capture_output=True).stdout else '')",
    "a set-uid file of one's own": "open('/tmp/s','w').close(); os.chmod('/tmp/s', 0o4755); os.chown('/tmp/s', 0, 0); print('BROKE')",
    "capabilities": "print('BROKE' if any(int(l.split()[1],16) for l in open('/proc/self/status') if l[:6] in ('CapInh','CapPrm','CapEff','CapBnd','CapAmb')) else '')",
    "new privileges": "print('BROKE' if 'NoNewPrivs:\\t0' in open('/proc/self/status').read() else '')",
    "no filter": "print('BROKE' if 'Seccomp:\\t0' in open('/proc/self/status').read() else '')",
    "file capabilities": "shutil.copy('/bin/true','/tmp/t'); os.setxattr('/tmp/t','security.capability',bytes.fromhex('0100000200200000000000000000000000000000')); print('BROKE')",
    # Leaving the sandbox.
    "a user namespace": "print('BROKE' if libc.unshare(0x10000000) == 0 else '')",
    "a mount namespace": "print('BROKE' if libc.unshare(0x20000) == 0 else '')",
    "clone with namespaces": "print('BROKE' if libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0) > 0 else '')",
    "mount a file system": "print('BROKE' if libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0 else '')",
    "mount proc anew": "os.makedirs('/tmp/p',exist_ok=True); print('BROKE' if libc.mount(b'proc', b'/tmp/p', b'proc', 0, None) == 0 else '')",
    "unmount": "print('BROKE' if libc.umount2(b'/home/mallory', 2) == 0 else '')",
    "chroot": "os.chroot('/tmp'); print('BROKE')",
    "pivot_root": "print('BROKE' if libc.syscall(155, b'/tmp', b'/tmp') == 0 else '')",
    "enter a namespace": "print('BROKE' if libc.setns(os.open('/proc/1/ns/mnt', os.O_RDONLY), 0) == 0 else '')",
    "a device node": "os.mknod('/tmp/d', 0o60666, os.makedev(8, 0)); print('BROKE')",
    "open_by_handle_at": "print('BROKE' if libc.syscall(304, 3, ctypes.create_string_buffer(64), 0) >= 0 else '')",
    "leaked descriptors": "print('BROKE' if [f for f in fds() if 'pipe' not in f and '/dev/null' not in f and not f.endswith('/fd')] else '')",
    # What all share.
    "write the system": "open('/usr/bin/python3x','w'); print('BROKE')",
    "write the runtime": "open(sys.prefix + '/lib/evil.pth','w'); print('BROKE')",
    "remount the runtime": "print('BROKE' if libc.mount(b'none', sys.prefix.encode(), None, 32|4096, None) == 0 else '')",
    "change what the zygote imports": "open(os.__file__,'a'); print('BROKE')",
    "write /etc": "open('/etc/passwd','w'); print('BROKE')",
    "write the host's settings": "open('/proc/sys/kernel/hostname','w').write('x'); print('BROKE')",
    "set a core pattern": "open('/proc/sys/kernel/core_pattern','w').write('|/tmp/x'); print('BROKE')",
    "trigger sysrq": "open('/proc/sysrq-trigger','w').write('b'); print('BROKE')",
    "write cgroups": "print('BROKE' if os.path.exists('/sys/fs/cgroup/tasks') or os.path.exists('/sys/kernel') else '')",
    "plant in the log directory": "os.symlink('/etc/passwd','/var/log/x'); print('BROKE')",
    # The kernel's other doors.
    "keyrings": "print('BROKE' if libc.syscall(250, 0, -4, 0) >= 0 else '')",
    "bpf": "print('BROKE' if libc.syscall(321, 0, 0, 0) >= 0 else '')",
    "perf": "print('BROKE' if libc.syscall(298, ctypes.create_string_buffer(128), 0, -1, -1, 0) >= 0 else '')",
    "io_uring": "print('BROKE' if libc.syscall(425, 8, ctypes.create_string_buffer(256)) >= 0 else '')",
    "userfaultfd": "print('BROKE' if libc.syscall(323, 1) >= 0 else '')",
    "set the clock": "time.clock_settime(time.CLOCK_REALTIME, 0); print('BROKE')",
    "raw sockets": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('BROKE')",
    "packet sockets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW); print('BROKE')",
    "shared memory of others": "print('BROKE' if [l for l in open('/proc/sysvipc/shm')][1:] or os.listdir('/dev/shm') else '')",
    "inject into the operator's terminal": "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSTI, b'x'); print('BROKE')",
}
REFUSALS = (
    "PermissionError",
    "OSError",
    "FileNotFoundError",
    "ProcessLookupError",
    "NotADirectoryError",
    "IsADirectoryError",
)
TOOLS = """
import ctypes, os, shutil, signal, socket, subprocess, sys, time
from glob import glob as _glob
HOSTPID, ALICE = {pid}, {alice}
libc = ctypes.CDLL(None, use_errno=True)
def glob(pattern, **options): return _glob(pattern, **options)
def walk(top):
    for folder, names, files in os.walk(top):
        if folder.startswith(('/proc', '/usr', '/opt')): names.clear(); continue
        yield from (folder + '/' + name for name in (*names, *files))
def pids(): return [int(name) for name in os.listdir('/proc') if name.isdigit()]
def fds():
    own = []
    for name in os.listdir('/proc/self/fd'):
        try: own.append(os.readlink('/proc/self/fd/' + name))
        except OSError: pass
    return own
def kill(number):
    try: os.kill(number, 9)
    except ProcessLookupError: return
    except PermissionError: return
    print('BROKE')
{code}
"""


@pytest.fixture(scope="module")
def victim(node: Node) -> Node:
    """victim.test is alice's and awake; mallory has nothing."""
    node.app("victim.test", answer="alive", more='[env]\nVICTIM = "secret"')
    node.put("alice", "/home/alice/secret", "alice's secret").chmod(0o644)
    node.tenant("mallory")
    assert node.get("victim.test").text == "alive"
    return node


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(victim: Node, name: str) -> None:
    pid = victim.show("victim.test")["pid"]
    code = TOOLS.format(pid=pid, alice=victim.uid("alice"), code=ATTACKS[name])
    done = victim.cli("tenant", "run", "mallory", "--", "python3", "-c", code, check=False, timeout=30)
    assert "BROKE" not in done.stdout, done.stdout
    if done.stderr:  # an attack fails by a refusal, never by a mistake in the attack
        assert done.stderr.splitlines()[-1].startswith(REFUSALS), done.stderr
    assert victim.get("victim.test").text == "alive"
    assert victim.show("victim.test")["pid"] == pid


def test_there_are_enough_attacks() -> None:
    assert len(ATTACKS) >= 40


def test_fork_bomb_ends_at_the_limit(victim: Node) -> None:
    bomb = "import os, time\nfor _ in range(100000):\n try:\n  if os.fork() == 0: time.sleep(3); os._exit(0)\n except OSError: break\n"
    began = time.monotonic()
    bomber = subprocess.Popen(victim.command("tenant", "run", "mallory", "--", "python3", "-c", bomb))
    try:
        await_true(lambda: len(victim.pids()) > 150, 15)
        assert victim.get("victim.test").text == "alive"
        assert bomber.wait(60) == 0
    finally:
        bomber.kill()
    assert time.monotonic() - began < 60
    await_true(lambda: len(descendants(victim.status()["keeper_pid"])) < 100, 20)


def test_planted_links_lead_root_nowhere(victim: Node) -> None:
    """Links in the places that root's code works beside: none is followed."""
    code = """
import os, shutil
for name in ('/home/mallory/link', '/var/www/app.py', '/tmp/link'):
    os.symlink('/etc/shadow', name)
"""
    victim.cli("tenant", "run", "mallory", "--", "python3", "-c", code)
    victim.site(
        "planted.test",
        'tenant = "mallory"\n[app]\nwsgi = "/var/www/app.py"\n[[static]]\nurl = "/f"\npath = "/home/mallory/link"\n',
    )
    victim.await_route("planted.test")
    for path in ("/f", "/f/", "/"):
        answer = victim.get("planted.test", path)
        assert answer.status in (403, 404, 500)
        assert "root:" not in answer.text
    assert "root:" not in victim.log("planted.test", "error")
    victim.remove("planted.test")


def test_log_lines_can_not_be_forged(victim: Node) -> None:
    victim.raw(
        b'GET /a\x0b\r\nHost: victim.test\r\nUser-Agent: x\x1b[31m"\\ 1.2.3.4 - - forged\r\nConnection: close\r\n\r\n'
    )
    victim.get("victim.test", "/%0d%0a1.2.3.4%20-%20-%20forged")
    await_true(lambda: "%0d%0a" in victim.log("victim.test", "access"), 5)
    lines = victim.log("victim.test", "access").splitlines()
    assert not [line for line in lines if line.startswith("1.2.3.4")]
    assert "\x1b" not in victim.log("victim.test", "access")


def test_hard_links_to_others_files(victim: Node) -> None:
    done = victim.cli(
        "tenant", "run", "mallory", "--", "ln", "/etc/hosts", "/home/mallory/hosts", check=False
    )
    assert done.returncode != 0
    assert not os.path.exists(victim.layout.tenant_home("mallory") / "hosts")


SABOTAGE = {
    "shuts it down": "listener.shutdown(socket.SHUT_RDWR)",
    "shuts down reading": "listener.shutdown(socket.SHUT_RD)",
    "lets nobody queue": "listener.listen(0)",
    "closes it": "os.close(number)",
    "puts another in its place": "os.dup2(os.open('/dev/null', os.O_RDONLY), number)",
}
SABOTEUR = """
import os, socket
def application(environ, start_response):
    if environ["PATH_INFO"] == "/sabotage":
        for name in os.listdir("/proc/self/fd"):
            number = int(name)
            try:
                listener = socket.socket(fileno=os.dup(number))
                if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    continue
            except OSError:
                continue
            ACTION
    start_response("200 OK", [])
    return [b"up"]
"""


@pytest.mark.parametrize("what", SABOTAGE)
def test_a_worker_that_harms_the_shared_socket_harms_itself_for_a_moment(victim: Node, what: str) -> None:
    """The socket is the site's, kept for ever: whatever a worker does to it, the site can be had again."""
    domain = f"sabotage{list(SABOTAGE).index(what)}.test"
    victim.app(domain, SABOTEUR.replace("ACTION", SABOTAGE[what]), tenant="mallory", app="idle = 1")
    assert victim.get(domain).text == "up"
    victim.get(domain, "/sabotage")
    victim.touch(domain, SABOTEUR.replace("ACTION", "pass"), tenant="mallory")
    victim.layout.site_file(domain).touch()
    await_true(lambda: victim.get(domain).text == "up", 15, step=0.2)
    for _ in range(20):
        assert victim.get(domain).text == "up"
    before = _cpu(victim)
    time.sleep(1)
    assert _cpu(victim) - before < 50, "the supervisor spins"
    assert victim.get("victim.test").text == "alive"
    victim.remove(domain)


def _cpu(node: Node) -> int:
    """Hundredths of a second that the supervisor has used."""
    with open(f"/proc/{node.status()['supervisor_pid']}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
