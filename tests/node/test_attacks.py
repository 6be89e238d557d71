"""Attacks by one tenant against another and the host, each tried from inside the sandbox; every one must fail.

An attack is Python run by `tenant run mallory`. It prints BROKE when it got what it wanted; an exception, or
silence, is a failed attack.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.node.harness import Node, await_true, descendants, running

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
    "learn where in memory one lies": "at = int(open('/proc/self/maps').readline().split('-')[0], 16); f = open('/proc/self/pagemap', 'rb'); f.seek(at // 4096 * 8); print('BROKE' if int.from_bytes(f.read(8), 'little') & (1 << 55) - 1 else '')",
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
    # The network, and what goes for one.
    "a service on the loopback": "reach('127.0.0.1', PORT)",
    "a service on the IPv6 loopback": "reach('::1', PORT)",
    "the loopback written as IPv6": "reach('::ffff:127.0.0.1', PORT)",
    "the loopback by its other addresses": "reach('127.8.9.10', PORT)",
    "the loopback by no address": "reach('0.0.0.0', PORT)",
    "a service on the machine's own address": "reach(ADDRESS, PORT)",
    "another tenant's listener": "reach('127.0.0.1', ALICEPORT)",
    "a datagram to the loopback": "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('127.0.0.1', PORT)); print('BROKE')",
    "a datagram to everybody": "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(1, 6, 1); s.sendto(b'x', ('255.255.255.255', 9)); print('BROKE')",
    "the metadata service": "refused_at_once('169.254.169.254', 80)",
    "the metadata service of Azure": "refused_at_once('168.63.129.16', 80)",
    "the metadata service of Alibaba": "refused_at_once('100.100.100.200', 80)",
    "the metadata service by IPv6": "refused_at_once('fd00:ec2::254', 80)",
    "a private network": "refused_at_once('10.1.2.3', 80); refused_at_once('192.168.1.1', 80); refused_at_once('172.16.0.1', 80)",
    "mail by itself": "refused_at_once('198.51.100.7', 25)",
    "an abstract socket of the host": "s = socket.socket(socket.AF_UNIX); s.connect('\\0' + ABSTRACT); print('BROKE')",
    "an abstract socket of another tenant": "s = socket.socket(socket.AF_UNIX); s.connect('\\0alice'); print('BROKE')",
    "a uwsgi socket, to run a file": "uwsgi('/run/innkeeper/live/victim.test/sock', UWSGI_FILE='/home/mallory/evil.py')",
    "a uwsgi socket, to change a setting": "uwsgi('/.node/../live/victim.test/sock', UWSGI_SETENV='PATH=/tmp')",
    "a network namespace": "print('BROKE' if libc.unshare(0x40000000) == 0 else '')",
    # Files and limits.
    "write beside the places that are one's own": "open('/run/x', 'w'); print('BROKE')",
    "a subvolume that nobody counts": "import fcntl; fcntl.ioctl(os.open('/home/mallory', os.O_RDONLY), 0x5000940e, bytearray(4096)); print('BROKE')",
    "files that are another project's": "import fcntl; fcntl.ioctl(os.open('/home/mallory', os.O_RDONLY), 0x401c5820, bytearray(28)); print('BROKE')",
    "be the last to be killed for memory": "os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'-1000'); print('BROKE')",
    "raise one's own limits": "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (99999, 99999)); print('BROKE')",
    "run before all others": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)); print('BROKE')",
    "lock the machine's memory": "print('BROKE' if libc.mlockall(3) == 0 and len([bytearray(1 << 20) for _ in range(64)]) else '')",
    "inject into the operator's terminal": "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSTI, b'x'); print('BROKE')",
}
REFUSALS = (
    "PermissionError",
    "ConnectionRefusedError",
    "OSError",
    "FileNotFoundError",
    "ProcessLookupError",
    "NotADirectoryError",
    "ValueError: not allowed to raise",
    "MemoryError",
    "IsADirectoryError",
)
TOOLS = """
import ctypes, os, shutil, signal, socket, subprocess, sys, time
from glob import glob as _glob
HOSTPID, ALICE = {pid}, {alice}
PORT, ALICEPORT, ADDRESS, ABSTRACT = {network}
def reach(address, port):
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
    s.settimeout(3)
    s.connect((address, port))
    print('BROKE')
def refused_at_once(address, port):
    began = time.monotonic()
    try: reach(address, port)
    except ConnectionRefusedError: pass
    if time.monotonic() - began > 1: print('BROKE')
def uwsgi(path, **variables):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    body = b''.join(len(p).to_bytes(2, 'little') + p.encode() for pair in variables.items() for p in pair)
    s.sendall(b'\\0' + len(body).to_bytes(2, 'little') + b'\\0' + body)
    print('BROKE')
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


LISTENING = """
import socket
abstract = socket.socket(socket.AF_UNIX); abstract.bind("\\0alice"); abstract.listen()
own = socket.socket(); own.bind(("0.0.0.0", 0)); own.listen()
def application(environ, start_response):
    start_response("200 OK", [])
    return [str(own.getsockname()[1]).encode() if environ["PATH_INFO"] == "/port" else b"alive"]
"""


@pytest.fixture(scope="module")
def network() -> Iterator[tuple[int, str, str]]:
    """A service of the host's: its port on all addresses, an address of the machine, an abstract name."""
    with (
        socket.socket() as service,
        socket.socket(socket.AF_INET6) as service6,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        service.bind(("0.0.0.0", 0))
        port = service.getsockname()[1]
        service6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        service6.bind(("::", port))
        name = f"innkeeper-test-{port}"
        abstract.bind("\0" + name)
        for listener in (service, service6, abstract):
            listener.listen()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
            outward.connect(("198.51.100.1", 9))  # sends nothing; tells which address would be used
            address = outward.getsockname()[0]
        for target in (("127.0.0.1", port), (address, port)):
            socket.create_connection(target, 3).close()  # the host itself reaches it
        yield port, address, name


@pytest.fixture(scope="module")
def victim(node: Node) -> Node:
    """victim.test is alice's and awake; mallory has nothing."""
    node.app("victim.test", LISTENING, app="idle = 0", more='[env]\nVICTIM = "secret"')
    node.put("alice", "/home/alice/secret", "alice's secret").chmod(0o644)
    node.tenant("mallory")
    assert node.get("victim.test").text == "alive"
    return node


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(victim: Node, network: tuple[int, str, str], name: str) -> None:
    pid = victim.show("victim.test")["pid"]
    port, address, abstract = network
    targets = repr((port, int(victim.get("victim.test", "/port").text), address, abstract))
    code = TOOLS.format(pid=pid, alice=victim.uid("alice"), network=targets, code=ATTACKS[name])
    done = victim.cli("tenant", "run", "mallory", "--", "python3", "-c", code, check=False, timeout=30)
    assert "BROKE" not in done.stdout, done.stdout
    if done.stderr:  # an attack fails by a refusal, never by a mistake in the attack
        assert done.stderr.splitlines()[-1].startswith(REFUSALS), done.stderr
    assert victim.get("victim.test").text == "alive"
    shown = victim.show("victim.test")
    assert shown["pid"] == pid, (shown, victim.log("victim.test", "server"), victim.words.read_text())


def test_there_are_enough_attacks() -> None:
    assert len(ATTACKS) >= 40


def test_fork_bomb_ends_at_the_limit(victim: Node) -> None:
    bomb = "import os, time\nfor _ in range(100000):\n try:\n  if os.fork() == 0: time.sleep(10); os._exit(0)\n except OSError: break\n"
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


def test_what_tenants_may_reach(network: tuple[int, str, str]) -> None:
    """The node's own sites, and what the operator has opened: one port of one address, and nothing beside it."""
    port = network[0]
    settings = f'first_uid = 70000\nlast_uid = 70999\nreach = ["127.0.0.1:{port}"]\n'
    reach = (
        "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); print('reached')"
    )
    with running(settings=settings) as open_node:
        open_node.app("open.test", tenant="alice")

        def tried(address: str, number: int) -> str:
            command = ("tenant", "run", "alice", "--", "python3", "-c", reach, address, str(number))
            return open_node.cli(*command, check=False).stdout.strip()

        assert tried("127.0.0.1", port) == "reached"
        assert tried("127.0.0.1", open_node.port) == "reached"
        assert tried("127.0.0.2", port) == tried("::1", port) == ""
        rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        assert open_node.layout.identity in rules
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    assert open_node.layout.identity not in rules


@pytest.mark.parametrize("processes", [1, 2])
def test_an_app_is_handed_no_descriptor_but_its_own(victim: Node, processes: int) -> None:
    """The listening socket, the way to its first process, its logs, what uWSGI has opened; no file and no directory."""
    code = """
import os, time
def application(environ, start_response):
    time.sleep(0.05)
    found = [str(os.getpid())]
    for name in os.listdir("/proc/self/fd"):
        try: found.append(os.readlink("/proc/self/fd/" + name))
        except OSError: pass
    start_response("200 OK", [])
    return ["\\n".join(found).encode()]
"""
    domain = f"handed{processes}.test"
    victim.app(domain, code, tenant="mallory", app=f"processes = {processes}")
    seen = set()
    deadline = time.monotonic() + 10
    while len(seen) < processes and time.monotonic() < deadline:
        with ThreadPoolExecutor(4) as visitors:
            answers = list(visitors.map(lambda _: victim.get(domain).text.splitlines(), range(4)))
        for pid, *targets in answers:
            seen.add(pid)
            for target in targets:
                assert target.startswith(("socket:[", "pipe:[", "anon_inode:[", "/dev/null", "/proc/")), (
                    target
                )
                assert not target.startswith("/proc/") or target.endswith("/fd"), target
    assert len(seen) == processes
    victim.remove(domain)


SABOTAGE = {
    "shuts it down": "listener.shutdown(socket.SHUT_RDWR)",
    "shuts down reading": "listener.shutdown(socket.SHUT_RD)",
    "lets nobody queue": "listener.listen(0)",
    "closes it": "os.close(number)",
    "puts another in its place": "os.dup2(os.open('/dev/null', os.O_RDONLY), number)",
    "has whoever accepts wait": "listener.setblocking(True)",
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


def test_an_app_that_does_not_load_and_has_whoever_accepts_wait_holds_up_nobody(victim: Node) -> None:
    harm = SABOTEUR.replace("ACTION", "listener.setblocking(True)")
    code = f"{harm}\napplication({{'PATH_INFO': '/sabotage'}}, lambda *_: None)\nraise RuntimeError('on purpose')\n"
    victim.app("stuck.test", code, tenant="mallory")
    for _ in range(3):
        assert victim.get("stuck.test").status == 500
        assert victim.state("stuck.test") == "failed"
    victim.app("quick.test", answer="at once")
    assert victim.get("quick.test").text == "at once"
    victim.remove("stuck.test")
    victim.remove("quick.test")


def _cpu(node: Node) -> int:
    """Hundredths of a second that the supervisor has used."""
    with open(f"/proc/{node.status()['supervisor_pid']}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
