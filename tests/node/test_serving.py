"""Requests to sites of all kinds, through nginx."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import socket
import time
from pathlib import Path

import pytest

from tests.node.harness import Node, await_true, socket_ports

ESTABLISHED, SYN_RECEIVED = "01", "03"  # in /proc/net/tcp
ECHO = """
import hashlib, json
def application(environ, start_response):
    body = environ["wsgi.input"]
    digest, size = hashlib.sha256(), 0
    while chunk := body.read(65536):
        digest.update(chunk)
        size += len(chunk)
    answer = {key: value for key, value in environ.items() if isinstance(value, str)}
    answer.update(size=size, digest=digest.hexdigest())
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""


def test_first_request_wakes_the_site(node: Node) -> None:
    node.app("wake.test")
    assert node.state("wake.test") == "asleep"
    answer = node.get("wake.test")
    assert (answer.status, answer.body) == (200, b"hello")
    found = node.show("wake.test")
    assert found["state"] == "serving"
    assert found["wakes"] == 1
    assert found["cold_start_ms"] > 0
    assert found["problems"] == []


def test_who_connects_early_and_speaks_late_is_answered(node: Node) -> None:
    """Who has said nothing is the kernel's for a second or two, and only then nginx's."""
    node.app("early.test")
    visitors = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(2)]
    for visitor, wait in zip(visitors, (0.1, 4.0)):
        time.sleep(wait)
        own = visitor.getsockname()[1]
        assert tcp_state(node.port, own) == (SYN_RECEIVED if wait < 1 else ESTABLISHED)
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: early.test\r\nConnection: close\r\n\r\n")
        visitor.settimeout(10)
        with visitor.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 200 ")
        visitor.close()


def tcp_state(port: int, of: int) -> str:
    """What the kernel says of the connection of local port `of` to `port`, at its receiving end."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, remote, state = line.split()[1:4]
        if (int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)) == (port, of):
            return state
    return "none"


def test_large_post_to_a_sleeping_site_arrives_whole(node: Node) -> None:
    node.app("post.test", ECHO)
    body = os.urandom(10 * 1024 * 1024)
    answer = node.get("post.test", method="POST", body=body)
    assert answer.status == 200
    assert hashlib.sha256(body).hexdigest() in answer.text
    assert node.show("post.test")["wakes"] == 1


def test_app_that_does_not_read_its_body_still_answers(node: Node) -> None:
    node.app("ignores.test")
    for _ in range(10):
        answer = node.get("ignores.test", method="POST", body=os.urandom(3 * 1024 * 1024))
        assert (answer.status, answer.body) == (200, b"hello")


def test_fifty_first_requests_start_one_worker(node: Node) -> None:
    node.app("burst.test")
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: node.get("burst.test"), range(50)))
    assert {answer.status for answer in answers} == {200}
    assert node.show("burst.test")["wakes"] == 1
    assert node.log("burst.test", "server").count("spawned uWSGI worker") <= 1


THREADS = """
import os, time
def switches():
    found = []
    for name in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{name}/status") as file:
            found += [int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt")]
    return found
def application(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [str(switches()).encode()]
"""


def test_a_request_wakes_one_thread_and_all_answer_at_once(node: Node) -> None:
    node.app("threads.test", THREADS, app="threads = 4")
    node.get("threads.test")
    time.sleep(1)  # the threads have come to wait, and take turns
    before = json.loads(node.get("threads.test").body)
    for _ in range(50):
        node.get("threads.test")
    after = json.loads(node.get("threads.test").body)
    woken = sorted(late - early for early, late in zip(before, after, strict=True))
    assert woken[-1] >= 50
    assert sum(woken[:-1]) < 20, woken
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as visitors:
        answers = list(visitors.map(lambda _: node.get("threads.test", "/?0.5").status, range(4)))
    assert answers == [200] * 4
    assert time.monotonic() - began < 1.5  # one after the other they would take two seconds


def test_a_worker_is_reached_at_its_socket_alone(node: Node) -> None:
    """uWSGI listens on the network, and asks for a host's name, if it cannot make out a socket that it is given."""
    node.app("reach.test", ECHO, app="threads = 4")
    node.get("reach.test")
    assert socket_ports(node.show("reach.test")["pid"]) == set()


def test_the_app_is_told_the_truth_about_the_visitor(node: Node) -> None:
    node.app("truth.test", ECHO)
    forged = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.test",
        "X-Forwarded-Prefix": "/evil",
        "X-Real-IP": "6.6.6.6",
        "Forwarded": "for=6.6.6.6",
        "Client-IP": "6.6.6.6",
        "X_Forwarded_For": "6.6.6.6",
        "Proxy": "http://evil.test",
    }
    told = node.get("truth.test", "/a%20b?c=d", headers=forged)
    assert told.status == 200
    environ = json.loads(told.text)
    assert (
        environ["REMOTE_ADDR"] == environ["HTTP_X_FORWARDED_FOR"] == environ["HTTP_X_REAL_IP"] == "127.0.0.1"
    )
    assert environ["HTTP_X_FORWARDED_PROTO"] == environ["wsgi.url_scheme"] == "http"
    assert environ["HTTP_X_FORWARDED_HOST"] == environ["HTTP_HOST"] == "truth.test"
    assert environ["PATH_INFO"] == "/a b"
    assert environ["QUERY_STRING"] == "c=d"
    assert environ["SCRIPT_NAME"] == ""
    assert "HTTP_PROXY" not in environ
    assert not [key for key, value in environ.items() if "6.6.6.6" in str(value) or "evil" in str(value)]


def test_it_runs_as_the_tenant_in_a_root_of_its_own(node: Node) -> None:
    node.app(
        "inside.test",
        """
import json, os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({
        "uid": os.getuid(), "groups": os.getgroups(), "root": sorted(os.listdir("/")), "home": os.listdir("/home"),
        "pids": [name for name in os.listdir("/proc") if name.isdigit()], "cwd": os.getcwd(),
        "hidden": [os.listdir("/.innkeeper"), os.listdir("/.node")],
        "run": [line.split()[3].split(",") for line in open("/proc/mounts") if line.split()[1] == "/run"],
        "env": dict(os.environ), "files": sorted(int(name) for name in os.listdir("/proc/self/fd")),
    }).encode()]
""",
        more='[env]\nCOLOUR = "green"',
    )
    # The process that has furnished the root may be about to end when the first visitor is served.
    inside = await_true(
        lambda: len((told := json.loads(node.get("inside.test").text))["pids"]) == 2 and told, 5
    )
    assert inside["uid"] == node.uid("alice")
    assert inside["groups"] in ([], [node.uid("alice")])
    assert inside["home"] == ["alice"]
    assert inside["cwd"] == "/home/alice"
    assert not {"work", "root", "src", "boot", "mnt", "srv"} & set(inside["root"])
    assert inside["hidden"] == [[], []]
    # Were it written to by who reads it, it could not be made read-only while the app's process starts.
    assert {"ro", "noatime"} <= set(inside["run"][-1])
    assert inside["env"]["COLOUR"] == "green"
    assert inside["env"]["HOME"] == "/home/alice"
    assert not [key for key in inside["env"] if key.startswith(("PYTHON", "INNKEEPER", "SUDO"))]


def test_module_entries_factories_and_working_directory(node: Node) -> None:
    node.tenant("bob")
    node.put("bob", "/home/bob/shop/site/__init__.py", "")
    node.put(
        "bob",
        "/home/bob/shop/site/web.py",
        "def shop(environ, start):\n start('200 OK', [])\n return [b'from a module']\n",
    )
    node.site(
        "module.test",
        'tenant = "bob"\n[app]\nwsgi = "site.web:shop"\ndirectory = "/home/bob/shop"\nprocesses = 2\nthreads = 2\n',
    )
    node.await_route("module.test")
    first = node.get("module.test")
    assert first.status == 500  # `site` is the standard library's, imported already
    assert "site" in node.show("module.test")["problems"][0]["message"]
    (node.layout.tenant_home("bob") / "shop/site").rename(node.layout.tenant_home("bob") / "shop/shopsite")
    node.site(
        "module.test",
        'tenant = "bob"\n[app]\nwsgi = "shopsite.web:shop"\ndirectory = "/home/bob/shop"\nprocesses = 2\n',
    )
    await_true(lambda: node.get("module.test").body == b"from a module", 10, step=0.1)


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_the_path_for_modules_is_as_python_would_make_it(node: Node, kind: str) -> None:
    code = {
        "wsgi": "def application(e, s):\n    s('200 OK', [])\n    return [text]\n",
        "asgi": "async def app(scope, receive, send):\n    assert scope['type'] == 'http'\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "    await send({'type': 'http.response.body', 'body': text})\n",
    }
    node.tenant("bob")
    for place in ("home/bob/libs", "var/www"):
        node.put("bob", f"/{place}/pathmodule.py", f"where = {place!r}")
    node.put("bob", "/home/bob/beside/flask.py", "where = 'beside'")
    node.app(
        f"{kind}-path.test",
        "import flask, pathmodule\ntext = f'{pathmodule.where} {flask.where}'.encode()\n" + code[kind],
        tenant="bob",
        kind=kind,
        app='directory = "/home/bob"',
        more='[env]\nPYTHONPATH = "/home/bob/libs::beside:/var/www:/nowhere"',
    )
    assert node.get(f"{kind}-path.test").text == "home/bob/libs beside"


def test_a_function_that_makes_the_app_is_not_taken_for_one(node: Node) -> None:
    node.app("factory.test", "def application(config=None):\n    return lambda environ, start_response: []\n")
    assert node.get("factory.test").status == 500
    assert "`application = application()`" in node.show("factory.test")["problems"][0]["message"]


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_fault_in_machine_code_is_told_by_its_signal(node: Node, kind: str) -> None:
    domain, fault = f"{kind}-fault.test", "import ctypes\nctypes.string_at(0)\n"
    node.app(domain, fault, kind=kind)
    assert node.get(domain).status == 500
    (problem,) = node.show(domain)["problems"]
    assert "signal 11 (SIGSEGV)" in problem["message"]
    await_true(lambda: "Segmentation fault" in node.log(domain, "error"), 5)
    inside = fault.replace("\n", ";")
    asgi = f"async def app(scope, receive, send):\n    assert scope['type'] == 'http'\n    {inside}\n"
    node.touch(domain, asgi if kind == "asgi" else f"def application(e, s):\n    {inside}\n")
    await_true(lambda: node.get(domain).status == 502, 10, step=0.2)
    assert "signal 11 (SIGSEGV)" in str(node.show(domain)["problems"])
    await_true(lambda: f'{domain.replace(".", "_")}.py", line' in node.log(domain, "error"), 5)


def test_output_goes_to_the_logs(node: Node) -> None:
    node.app(
        "logs.test",
        """
import sys
print("said at import")
def application(environ, start_response):
    print("said to stdout")
    print("said to stderr", file=sys.stderr)
    print("said to wsgi.errors", file=environ["wsgi.errors"])
    sys.stdout.flush()
    start_response("200 OK", [])
    return [b"ok"]
""",
    )
    assert node.get("logs.test", "/some?query").status == 200
    await_true(lambda: "said to wsgi.errors" in node.log("logs.test", "error"), 5)
    await_true(lambda: "said to stdout" in node.log("logs.test", "server"), 5)
    assert "said at import" in node.log("logs.test", "server")
    assert "said to stderr" in node.log("logs.test", "error")
    await_true(lambda: "GET /some?query" in node.log("logs.test", "access"), 5)
    assert node.layout.log_dir("logs.test").stat().st_uid == 0
    shown = node.cli("site", "logs", "logs.test").stdout
    assert "said to stderr" in shown
    assert "GET /some?query" in shown


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize(
    "statement",
    [
        "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')",
        "sys.stderr = io.TextIOWrapper(sys.stderr.buffer, encoding='utf-8', line_buffering=True)",
        "sys.stdout = sys.stderr = None",
        "sys.stdout.close()",
        "sys.stdout = 1",
        "os.close(1)",
    ],
)
def test_an_app_may_do_with_its_streams_what_it_likes(node: Node, kind: str, statement: str) -> None:
    domain = f"{kind}-streams.test"
    code = {
        "wsgi": "def application(environ, start_response):\n    said()\n    start_response('200 OK', [])\n"
        f"    return [{statement!r}.encode()]\n",
        "asgi": "async def app(scope, receive, send):\n    assert scope['type'] == 'http'\n    said()\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        f"    await send({{'type': 'http.response.body', 'body': {statement!r}.encode()}})\n",
    }
    said = (
        "def said():\n    if 'TextIO' in TEXT:\n        print('a word'), print('a word', file=sys.stderr)\n"
    )
    node.app(domain, f"import io, os, sys\nTEXT = {statement!r}\n{statement}\n{said}{code[kind]}", kind=kind)
    await_true(lambda: node.get(domain).text == statement, 5)
    assert not node.show(domain)["problems"]
    if "TextIO" in statement:
        await_true(lambda: "a word" in node.log(domain, "error"), 5)


def test_an_app_is_told_of_its_other_processes(node: Node) -> None:
    code = "def application(e, s):\n    s('200 OK', [])\n    return [str(e['wsgi.multiprocess']).encode()]\n"
    node.app("alone.test", code)
    node.app("several.test", code, app="processes = 2")
    assert [node.get(domain).text for domain in ("alone.test", "several.test")] == ["False", "True"]


def test_answer_streams_when_the_app_asks_for_it(node: Node) -> None:
    node.app(
        "stream.test",
        """
import time
def application(environ, start_response):
    start_response("200 OK", [("X-Accel-Buffering", "no"), ("Content-Type", "text/plain")])
    yield b"first"
    time.sleep(1.5)
    yield b"second"
""",
    )
    node.get("stream.test")
    answer = node.get("stream.test")
    assert answer.seconds < 1.0
    assert answer.body == b"firstsecond"


def test_accel_redirect_reaches_no_file(node: Node) -> None:
    node.app(
        "accel.test",
        """
def application(environ, start_response):
    start_response("200 OK", [("X-Accel-Redirect", "/.innkeeper/404.html")])
    return [b"the app's own body"]
""",
    )
    answer = node.get("accel.test")
    assert answer.body == b"the app's own body"
    assert "X-Accel-Redirect" not in answer.headers
