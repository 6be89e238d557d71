"""Limits: whoever meets one is told which, with its value, when and by which process; neighbours notice nothing."""

from __future__ import annotations

import gzip
import os
import re
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.edge import rotation
from tests.node.harness import PLAIN, Node, await_true, running

SETTINGS = """
[tenant_limits]
cpu_seconds = 2
disk = "60m"
"""
HOGS = """
import os, threading, time
def application(environ, start_response):
    what, answer = environ["PATH_INFO"].strip("/"), b"up"
    if what == "memory":
        kept = [b"x" * (1 << 20) for _ in range(400)]
    elif what == "child memory":
        if os.fork() == 0:
            kept = [b"x" * (1 << 20) for _ in range(400)]
            os._exit(0)
        answer = str(os.wait()[1]).encode()
    elif what == "tasks":
        for _ in range(500):
            try:
                threading.Thread(target=time.sleep, args=(8,), daemon=True).start()
            except RuntimeError:
                break
    elif what == "files":
        globals()["kept"] = kept = []
        try:
            while True: kept.append(open("/dev/null"))
        except OSError as error:
            answer = str(error.errno).encode()
    elif what == "cpu":
        end = time.monotonic() + 12
        while time.monotonic() < end: pass
    elif what == "log":
        for _ in range(3000): print("x" * 1000)
        answer = b"printed"
    elif what == "log slowly":
        for _ in range(15): print("y" * 100_000); time.sleep(.02)
        answer = b"printed"
    start_response("200 OK", [])
    return [answer]
"""
LIMITS = '[limits]\nmemory = "100m"\ntasks = 60\nopen_files = 200\nlog = "1m"\ncpu = 30\n'


@pytest.fixture(scope="module")
def hogged() -> Iterator[Node]:
    with running(settings=SETTINGS) as node:
        node.app("quiet.test", tenant="quiet", answer="alive")
        node.app("hog.test", HOGS, tenant="hog", app="timeout = 20", more=LIMITS)
        assert node.get("hog.test").text == node.get("hog.test", "/none").text == "up"
        yield node


def problem(node: Node, code: str, *, domain: str = "hog.test") -> str:
    """The message of a site's Problem, as soon as it has one of this code."""

    def find() -> str | None:
        found = [each for each in node.show(domain)["problems"] if each["code"] == code]
        return found[0]["message"] if found else None

    message = str(await_true(find, 15, step=0.2))
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", message)
    return message


def test_memory(hogged: Node) -> None:
    """The process is ended, the site comes back, and it is told from a crash."""
    assert hogged.get("hog.test", "/memory").status == 502
    message = problem(hogged, "out-of-memory")
    assert '[limits] `memory` = "100m" of site hog.test' in message
    assert "the kernel ended" in message
    assert hogged.get("hog.test").text == "up"
    assert not [each for each in hogged.show("hog.test")["problems"] if each["code"] == "crashed"]
    assert hogged.get("quiet.test").text == "alive"


def test_memory_of_a_child(hogged: Node) -> None:
    """A process that is none of ours and is ended for memory is told of, too."""
    hogged.cli("site", "reload", "hog.test")
    hogged.await_state("hog.test", "serving", "asleep")
    assert hogged.get("hog.test", "/child%20memory").text == "9"
    assert "the kernel ended" in problem(hogged, "out-of-memory")


def test_open_files(hogged: Node) -> None:
    """A process without a free descriptor can still be looked after: it is told, and drains when replaced."""
    assert hogged.get("hog.test", "/files").text == "24"
    message = problem(hogged, "too-many-files")
    assert "`open_files` = 200 of site hog.test" in message
    pid = hogged.show("hog.test")["pid"]
    hogged.cli("site", "reload", "hog.test")
    await_true(lambda: hogged.show("hog.test")["pid"] not in (pid, None), 10)
    assert hogged.get("hog.test").text == "up"
    assert not [each for each in hogged.show("hog.test")["problems"] if each["code"] == "too-many-files"]


@pytest.mark.alone
def test_cpu(hogged: Node) -> None:
    """The ceiling of the site, and the day's budget of its tenant, after which nothing is stopped.

    The site is busy for more than twice as long as the meter takes from one look to the next: one of its intervals is
    then full of it, whenever it begins.
    """
    hogged.get("hog.test", "/cpu")
    message = problem(hogged, "cpu-limit")
    assert "`cpu` = 30 of site hog.test" in message
    assert "`cpu_seconds` = 2 of tenant hog" in problem(hogged, "cpu-budget")
    tenant = next(each for each in hogged.status()["tenants"] if each["name"] == "hog")
    assert tenant["tarpit"] is True
    assert 2 < tenant["cpu_seconds"] < 60
    assert tenant["cpu_budget"] == 2
    assert hogged.get("hog.test").text == "up"


def test_log_flood(hogged: Node) -> None:
    """What is printed at once beyond the limit is left out, and the file never grows much beyond it."""
    began = time.monotonic()
    assert hogged.get("hog.test", "/log").text == "printed"
    assert time.monotonic() - began < 10
    message = problem(hogged, "log-flood")
    assert '`log` = "1m" of site hog.test' in message
    directory = hogged.layout.log_dir("hog.test")
    assert sum(path.stat().st_size for path in directory.glob("server.log*")) < 2_200_000
    time.sleep(1)
    hogged.get("hog.test", "/log%20slowly")
    await_true(lambda: "bytes of output were left out" in _all(hogged, "server"), 10)


def _all(node: Node, kind: str) -> str:
    return "".join(path.read_text() for path in sorted(node.layout.log_dir("hog.test").glob(f"{kind}.log*")))


def test_tasks(hogged: Node) -> None:
    hogged.get("hog.test", "/tasks")
    message = problem(hogged, "too-many-tasks")
    assert "`tasks` = 60 of site hog.test" in message
    assert "the processes" in message
    assert hogged.get("quiet.test").text == "alive"


def test_tasks_of_a_tenant(node: Node) -> None:
    """Its limit is named, whichever of its sites or commands meets it."""
    node.tenant("many")
    file = node.layout.tenant_file("many")
    text = file.read_text()
    file.write_text(text + "\n[limits]\ntasks = 24\n")
    code = """
import subprocess
def application(environ, start_response):
    try:
        for _ in range(40):
            subprocess.Popen(["sleep", "30"])
    except OSError as error:
        start_response("200 OK", [])
        return [repr(error).encode()]
"""
    node.app("many.test", code, tenant="many")
    assert "BlockingIOError" in node.get("many.test").text
    assert "`tasks` = 24 of tenant many" in problem(node, "too-many-tasks", domain="many.test")
    node.remove("many.test")
    await_true(
        lambda: not [one for one in node.status()["tenants"] if one["name"] == "many" and one["tasks"]], 20
    )
    loop = "for i in $(seq 40); do sleep 5 & done; wait"
    node.cli("tenant", "run", "many", "--", "sh", "-c", loop, check=False)
    told = await_true(
        lambda: next((one for one in node.status()["tenants"] if one["name"] == "many"), {}).get("problems"),
        15,
    )
    assert "`tasks` = 24 of tenant many" in told[0]["message"]


def test_a_site_whose_tenant_has_no_task_left_for_it_is_told_so(node: Node) -> None:
    """…and does not stay in its start: it serves once there is room."""
    node.tenant("few")
    file = node.layout.tenant_file("few")
    file.write_text(file.read_text() + "\n[limits]\ntasks = 20\n")
    code = PLAIN.replace("import os, sys", "import subprocess; subprocess.Popen(['sleep', '3'])")
    for number in range(6):
        node.app(f"few{number}.test", code.replace("{answer}", "up"), tenant="few", app="idle = 0")
    statuses = [node.get(f"few{number}.test").status for number in range(6)]
    assert 500 in statuses
    failed = f"few{statuses.index(500)}.test"
    assert node.show(failed)["state"] == "failed"
    assert "`tasks` = 20 of tenant few" in problem(node, "too-many-tasks", domain=failed)
    await_true(lambda: node.get(failed).status == 200, 30, step=0.5)
    assert node.state(failed) == "serving"
    for number in range(6):
        node.remove(f"few{number}.test")


def test_logs_are_set_aside_and_lose_nothing(own_node: Node) -> None:
    """A worker that prints over the limit slowly goes on in a new file; no line is lost between the two."""
    code = """
import sys
def application(environ, start_response):
    for number in range(int(environ["QUERY_STRING"])):
        print(environ["PATH_INFO"], number, "z" * 80)
    start_response("200 OK", [])
    return [b"up"]
"""
    own_node.app("chatty.test", code, more='[limits]\nlog = "500k"\n')
    directory = own_node.layout.log_dir("chatty.test")
    (directory / "server.log").write_text(("old words " * 10 + "\n") * 4500)
    for turn in range(3):
        assert own_node.get("chatty.test", f"/turn{turn}?600").text == "up"
        time.sleep(0.3)
    await_true(lambda: len(list(directory.glob("server.log-*"))) >= 1, 5)
    lines = [
        line.split()
        for path in directory.glob("server.log*")
        for line in path.read_text().splitlines()
        if line.startswith("/turn")
    ]
    for turn in range(3):
        assert {int(number) for where, number, _ in lines if where == f"/turn{turn}"} == set(range(600))
    assert own_node.show("chatty.test")["state"] == "serving"


def test_old_logs_are_compressed_and_deleted(tmp_path: Path) -> None:
    for number in range(14):
        path = tmp_path / f"error.log-202611{number + 1:02}T000000"
        path.write_text(f"words {number}\n" * 100)
        os.utime(path, (time.time() - 100 - 86_400 * (13 - number),) * 2)
    assert rotation.tidy(tmp_path, 7)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [f"error.log-202611{number:02}T000000.gz" for number in range(8, 15)]
    assert gzip.decompress((tmp_path / left[-1]).read_bytes()).startswith(b"words 13\n")


def test_bodies(own_node: Node) -> None:
    own_node.app("small.test", more='[limits]\nbody = "10k"\n')
    assert own_node.get("small.test", method="POST", body=b"x" * 9_000).status == 200
    answer = own_node.get("small.test", method="POST", body=b"x" * 300_000)
    assert answer.status == 413
    assert "too large" in answer.text
    assert own_node.get("small.test").status == 200


def test_a_body_beyond_what_the_node_takes_is_told() -> None:
    with running(settings='max_body = "1m"\n') as node:
        node.app("large.test", more='[limits]\nbody = "2m"\n')
        (problem,) = node.show("large.test")["problems"]
        assert problem["code"] == "body-beyond-node"
        assert "`body` of its limits is 2m" in problem["message"]
        assert "`max_body` of the node is 1m" in problem["message"]
        assert node.get("large.test").status == 200
        assert node.get("large.test", method="POST", body=bytes(1_500_000)).status == 413
        node.app("large.test", more='[limits]\nbody = "1m"\n')
        await_true(lambda: node.show("large.test")["problems"] == [], 5)


def test_connections() -> None:
    """One site's visitors can't take all of nginx's connections."""
    slow = "import time\ndef application(e, s):\n time.sleep(2)\n s('200 OK', [])\n return [b'slow']\n"
    with running(settings="connections = 10\n") as node:
        node.app("slow.test", slow)
        node.app("other.test", tenant="bob", answer="other")
        node.get("slow.test")
        held = []
        for _ in range(30):
            connection = socket.create_connection(("127.0.0.1", node.port))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: slow.test\r\nConnection: close\r\n\r\n")
            held.append(connection)
        assert node.get("other.test").text == "other"
        answers = [connection.recv(4096).split(b" ", 2)[1] for connection in held]
        assert answers.count(b"503") >= 15
        assert answers.count(b"200") >= 8
        for connection in held:
            connection.close()


def test_a_worker_that_accepts_nothing_is_ended(own_node: Node) -> None:
    """It lives, it says it is well, and it leaves its visitors waiting: another takes its place."""
    code = """
import os, select, socket
def application(environ, start_response):
    if environ["PATH_INFO"] == "/refuse":
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink("/proc/self/fd/" + name) == "anon_inode:[eventpoll]":
                    epoll = select.epoll.fromfd(os.dup(int(name)))
                    for number in range(3, 64):
                        try:
                            if socket.socket(fileno=os.dup(number)).getsockopt(1, 30): epoll.unregister(number)
                        except OSError: pass
            except OSError: pass
    start_response("200 OK", [])
    return [b"up"]
"""
    own_node.app("sulky.test", code, tenant="mallory", app="timeout = 2\nidle = 600\nthreads = 1")
    assert own_node.get("sulky.test").text == "up"
    pid = own_node.show("sulky.test")["pid"]
    own_node.get("sulky.test", "/refuse")
    assert own_node.get("sulky.test", timeout=60).text == "up"
    assert own_node.show("sulky.test")["pid"] != pid
    assert "not-accepting" in {each["code"] for each in own_node.show("sulky.test")["problems"]}


def test_more_open_files_than_the_node_has_are_told(node: Node) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    node.app("files.test", more="[limits]\nopen_files = 1000000\n")
    assert node.get("files.test").status == 200
    (problem,) = node.show("files.test")["problems"]
    assert problem["code"] == "open-files-beyond-node"
    assert "`open_files` of its limits is 1000000, and the node can give" in problem["message"]
    assert node.show("files.test")["state"] == "serving"
    assert hard < 1_000_000
    node.app("files.test", more="[limits]\nopen_files = 1000000\n[https]\nforce = true\n")
    await_true(lambda: node.show("files.test")["problems"][0]["code"] == "https-unserved", 5)
    node.cli("site", "disable", "files.test")
    node.cli("site", "enable", "files.test")
    assert node.get("files.test").status == 200
