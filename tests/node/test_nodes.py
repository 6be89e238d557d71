"""Nodes side by side, nodes with less isolation, and what a node refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from innkeeper.kernel import processes
from tests.node.harness import Load, Node, alive, await_true, command_line, running

SLOW = """
import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(2)
    start_response("200 OK", [])
    return [b"here"]
"""

# Root without CAP_SYS_ADMIN, as in an unprivileged container: no namespaces, no mounts.
UNPRIVILEGED = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")


def test_two_nodes_side_by_side(node: Node) -> None:
    with running() as other:
        for one, answer in ((node, "first node"), (other, "second node")):
            one.app("same.test", answer=answer)
        assert node.get("same.test").text == "first node"
        assert other.get("same.test").text == "second node"
        assert node.status()["keeper_pid"] != other.status()["keeper_pid"]
        other.stop()
        assert node.get("same.test").text == "first node"
        other.start()
        assert other.get("same.test").text == "second node"


def test_one_root_has_one_node(node: Node) -> None:
    second = node.cli("up", "--http", "127.0.0.1:1", check=False)
    assert second.returncode != 0
    assert "is up at" in second.stderr


def test_taken_port_is_refused_with_a_next_step(node: Node) -> None:
    other = Node()
    try:
        refused = other.cli("up", "--http", f"127.0.0.1:{node.port}", check=False)
        assert refused.returncode != 0
        assert "can't be bound" in refused.stderr
        assert "→" in refused.stderr
    finally:
        other.close()


def test_no_request_is_lost_while_another_node_takes_the_place_of_one() -> None:
    """As in an upgrade: systemd holds the sockets, and visitors wait in them."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        node = Node(listener=listener)
        try:
            node.start()
            node.app("kept.test")
            with Load(node, "kept.test") as load:
                for _ in range(3):
                    assert node.stop() == 0
                    before = load.answers
                    node.start()
                    await_true(lambda before=before: load.answers > before + 10, 10)
            assert load.failures == []
        finally:
            node.close()


def test_a_socket_of_another_kind_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        node = Node(listener=datagrams)
        try:
            with pytest.raises(AssertionError, match="not a listening TCP socket"):
                node.start()
            assert node.wait() == 2
        finally:
            node.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("isolaton = 1\n", "isolation"),
        ('nginx_user = "nobody-of-this-name"\n', "nobody-of-this-name"),
        ("first_uid = [\n", "innkeeper.toml"),
        ('default_runtime = "nope"\n', "innkeeper.toml: `default_runtime` is 'nope'"),
    ],
)
def test_broken_settings_are_refused(settings: str, said: str) -> None:
    node = Node(settings=settings)
    try:
        refused = node.cli("up", "--http", "127.0.0.1:0", check=False)
        assert refused.returncode != 0
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        node.close()


def test_whatever_the_umask_of_who_starts_it() -> None:
    strict = ("sh", "-c", 'umask 077; exec "$@"', "sh")
    with running(prefix=strict) as node:
        subprocess.run([*strict, *node.command("tenant", "add", "alice")], check=True)
        node.app("strict.test")
        assert node.get("strict.test").text == "hello"


def test_less_isolation_is_said_loudly_and_serves() -> None:
    with running(prefix=UNPRIVILEGED) as node:
        assert "reduced isolation" in node.words.read_text()
        assert node.status()["isolation"] == "reduced"
        assert "Reduced isolation" in node.cli("status").stdout
        node.app(
            "weak.test",
            """
import os, subprocess
subprocess.Popen(["setsid", "sleep", "1000"])
def application(environ, start_response):
    start_response("200 OK", [])
    return [f"{os.getuid()} {os.getcwd()} {os.environ['HOME']}".encode()]
""",
            app="idle = 1",
            more='[[static]]\nurl = "/static"\npath = "/home/alice/public"',
        )
        node.put("alice", "/home/alice/public/a.txt", "static")
        home = str(node.layout.tenant_home("alice"))
        assert node.get("weak.test").text == f"{node.uid('alice')} {home} {home}"
        assert node.get("weak.test", "/static/a.txt").text == "static"
        node.await_state("weak.test", "asleep")
        assert node.get("weak.test").status == 200
        shown = node.cli("tenant", "run", "alice", "--", "sh", "-c", "id -u; echo $HOME").stdout
        assert shown.split() == [str(node.uid("alice")), home]
        everything = node.pids()
        assert node.stop() == 0
        await_true(lambda: not [pid for pid in everything if alive(pid)], 5)


def test_a_supervisor_that_dies_while_the_node_ends_does_not_keep_it_from_ending() -> None:
    with running() as node:
        node.app("slow.localhost", SLOW)
        node.get("slow.localhost")
        everything, supervisor = node.pids(), node.status()["supervisor_pid"]
        with ThreadPoolExecutor() as pool:
            visit = pool.submit(node.get, "slow.localhost", "/slow")
            time.sleep(0.5)  # it is at the app
            assert node.process is not None
            node.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            os.kill(supervisor, signal.SIGKILL)
            assert visit.result().status == 200
            assert node.wait() == 0, node.words.read_text()
        await_true(lambda: not [pid for pid in everything if alive(pid)], 5)
        assert "Traceback" not in node.words.read_text()


def test_nginx_workers_of_a_killed_master_do_not_stay(own_node: Node) -> None:
    node = own_node
    node.app("k.test")
    before = node.nginx_workers()
    master = next(pid for pid in node.pids() if b"nginx: master" in command_line(pid))
    os.kill(master, signal.SIGKILL)
    await_true(lambda: not before & node.nginx_workers() and node.nginx_workers(), 10)
    assert node.get("k.test").text == "hello"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_the_end_of_its_terminal_ends_a_node_as_it_should(number: signal.Signals) -> None:
    with running() as node:
        node.app("slow.localhost", SLOW)
        node.get("slow.localhost")
        everything = node.pids()
        with ThreadPoolExecutor() as pool:
            visit = pool.submit(node.get, "slow.localhost", "/slow")
            time.sleep(0.5)  # it is at the app
            assert node.process is not None
            assert os.getpgid(node.process.pid) == os.getpgid(0)
            others = {os.getpgid(pid) for pid in everything - {node.process.pid} if alive(pid)}
            assert others.isdisjoint({os.getpgid(0)})
            node.process.send_signal(number)
            assert visit.result().status == 200
            assert node.wait() == 0, node.words.read_text()
        await_true(lambda: not [pid for pid in everything if alive(pid)], 5)
        assert "Traceback" not in node.words.read_text()


def test_settings_are_those_of_the_nodes_start(node: Node) -> None:
    """Also for a supervisor that takes the place of one that died meanwhile."""
    node.app("set.test", app="idle = 0")
    settings = node.layout.settings_file.read_text()
    node.layout.settings_file.write_text("last_uid = \n")
    try:
        before = node.status()["supervisor_pid"]
        os.kill(before, signal.SIGKILL)
        assert node.get("set.test").text == "hello"
        assert node.status()["supervisor_pid"] != before
    finally:
        node.layout.settings_file.write_text(settings)
        node.remove("set.test")


def test_full_isolation_asked_for_and_not_to_be_had_is_refused() -> None:
    node = Node(settings='isolation = "full"\n', prefix=UNPRIVILEGED)
    try:
        refused = subprocess.run(
            [*UNPRIVILEGED, *node.command("up", "--http", "127.0.0.1:0")],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert refused.returncode != 0
        assert "full" in refused.stderr
        assert "namespaces" in refused.stderr
    finally:
        node.close()


def test_keeper_killed_takes_all_with_it(own_node: Node) -> None:
    """Even the one process that must not die leaves nothing running, and the next node cleans up after it."""
    node = own_node
    node.app("k.test")
    assert node.get("k.test").status == 200
    everything = node.pids()
    assert node.process is not None
    node.process.send_signal(signal.SIGKILL)
    node.wait()
    await_true(lambda: not [pid for pid in everything if alive(pid)], 15)
    node.start()
    assert node.get("k.test").status == 200


def test_tenant_run_is_in_the_tenants_sandbox(node: Node) -> None:
    node.tenant("alice")
    done = node.cli("tenant", "run", "alice", "--", "sh", "-c", "id -un; pwd; ls /home; exit 3", check=False)
    assert done.stdout.split() == ["alice", "/home/alice", "alice"]
    assert done.returncode == 3
    missing = node.cli("tenant", "run", "alice", "--", "no-such-program", check=False)
    assert missing.returncode == 127
    assert "no-such-program" in missing.stderr
    echoed = subprocess.run(
        node.command("tenant", "run", "alice", "--", "cat"),
        input="through",
        capture_output=True,
        text=True,
        check=True,
    )
    assert echoed.stdout == "through"


def test_tenants_without_a_node() -> None:
    node = Node()
    try:
        node.cli("tenant", "add", "dora")
        (told,) = json.loads(node.cli("tenant", "list", "--json").stdout)
        assert told == {"name": "dora", "uid": node.uid("dora")}
        node.layout.sites.mkdir(parents=True, exist_ok=True)
        node.site("d.test", 'tenant = "dora"\n[app]\nwsgi = "/var/www/d.py"\n')
        assert "d.test" in node.cli("site", "list").stdout
        assert json.loads(node.cli("site", "show", "d.test", "--json").stdout)["state"] == "asleep"
        assert "has sites" in node.cli("tenant", "rm", "dora", check=False).stderr
        node.remove("d.test")
        node.cli("tenant", "rm", "dora")
        assert "dora" not in node.cli("tenant", "list").stdout
        assert "no node is up" in node.cli("status", "--json", check=False).stderr
        for wrong in ("../x", "Root", "a" * 40, "root"):
            refused = node.cli("tenant", "add", wrong, check=False)
            assert refused.returncode != 0, wrong
            assert "Traceback" not in refused.stderr
    finally:
        node.close()


WHOSE = """
import os, time
def application(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [])
    return [str(os.getuid()).encode()]
"""


def test_a_user_id_passes_on_when_no_process_of_the_removed_tenant_is_left() -> None:
    alone = "first_uid = 28000\nlast_uid = 28999\n"  # what other nodes run does not matter
    with running(settings=alone) as node, ThreadPoolExecutor() as pool:
        node.app("slow.test", WHOSE, tenant="bob")
        uid = int(node.get("slow.test").text)
        answer = pool.submit(node.get, "slow.test", "/?100")
        time.sleep(0.5)
        node.site("slow.test", "tenant =")
        assert "bob has sites: slow.test" in node.cli("tenant", "rm", "bob", check=False).stderr
        node.remove("slow.test")
        node.cli("tenant", "rm", "bob", "--purge")
        node.tenant("carol")
        assert not answer.done()
        assert node.uid("carol") != uid
        for pid in node.pids():
            if processes.user_of(pid) == uid:
                os.kill(pid, signal.SIGKILL)
        await_true(lambda: uid not in processes.users(), 15)
        node.tenant("dora")
        assert node.uid("dora") == uid


def test_a_root_below_a_closed_directory_is_served_all_the_same() -> None:
    closed = Path(tempfile.mkdtemp(prefix="ikc", dir="/tmp"))
    node = Node(root=closed / "inner/node")
    try:
        closed.chmod(0o700)
        node.start()
        node.app("closed.test", more='[[static]]\nurl = "/static"\npath = "/home/alice/public"')
        node.put("alice", "/home/alice/public/a.txt", "static")
        assert node.get("closed.test").text == "hello"
        assert node.get("closed.test", "/static/a.txt").text == "static"
        assert "GET /static/a.txt" in await_true(lambda: node.log("closed.test", "access"), 5)
        assert closed.stat().st_mode & 0o777 == 0o700
    finally:
        node.close()
        shutil.rmtree(closed)


def test_without_namespaces_a_closed_root_is_refused() -> None:
    node = Node()
    try:
        node.root.chmod(0o700)
        refused = subprocess.run(
            [*UNPRIVILEGED, *node.command("up", "--http", "127.0.0.1:0")],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert refused.returncode != 0
        assert str(node.root) in refused.stderr
        assert "chmod" in refused.stderr
    finally:
        node.close()


def test_logs_can_be_followed(node: Node) -> None:
    node.app("follow.test")
    follower = subprocess.Popen(
        node.command("site", "logs", "follow.test", "--follow"), stdout=subprocess.PIPE, text=True
    )
    try:
        assert follower.stdout is not None
        os.set_blocking(follower.stdout.fileno(), False)
        seen: list[str] = []

        def heard() -> bool:
            node.get("follow.test", "/followed")
            seen.extend(follower.stdout or ())
            return any("/followed" in line for line in seen)

        await_true(heard, 10, step=0.3)
    finally:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 0
        follower.stdout.close()


def test_the_machine_has_what_these_tests_use() -> None:
    assert shutil.which("setpriv")
    assert shutil.which("wrk")
