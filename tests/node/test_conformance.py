"""PEP 3333 through nginx: what `wsgiref.validate` checks, under load, and the corners where servers differ."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import tomllib

from tests.node.harness import Load, Node, await_true

EXAMPLES = Path(__file__).parents[2] / "examples"
VALIDATED = """
import importlib.util, sys
from wsgiref.validate import validator
sys.path.insert(0, {directory!r})
spec = importlib.util.spec_from_file_location("original", {file!r})
original = sys.modules["original"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(original)
application = validator(original.{name})
"""
CORNERS = '''
import io, json, os, subprocess, sys, multiprocessing, asyncio, threading
from concurrent.futures import ThreadPoolExecutor
closed = []

class Noting:
    """A body that is made while it is sent, and notes that it was closed."""
    def __init__(self, parts): self.parts = iter(parts)
    def __iter__(self): return self
    def __next__(self): return next(self.parts)
    def close(self): closed.append(1)

def endless():
    while True: yield b"x" * 65536

def late_failure():
    yield b"begun"
    raise RuntimeError("failed when it had begun")

def early_failure():
    raise RuntimeError("failed before it had begun")
    yield b"never"

def double(number): return 2 * number

def application(environ, start_response):
    path, body = environ["PATH_INFO"], environ["wsgi.input"]
    plain = [("Content-Type", "text/plain")]
    def say(value, status="200 OK", headers=plain):
        start_response(status, headers)
        return [value if isinstance(value, bytes) else json.dumps(value).encode()]
    if path == "/write":
        write = start_response("200 OK", plain)
        write(b"one "); write(b"two ")
        return [b"three"]
    if path == "/write-only":
        start_response("200 OK", plain)(b"all of it")
        return []
    if path == "/noting":
        start_response("200 OK", plain)
        return Noting([b"a", b"", b"b"])
    if path == "/endless":
        start_response("200 OK", plain)
        return Noting(endless())
    if path == "/closed": return say(len(closed))
    if path == "/echo": return say(body.read())
    if path == "/length":
        return say([environ.get("CONTENT_LENGTH"), len(body.read()), environ.get("HTTP_TRANSFER_ENCODING")])
    if path == "/past":
        size = int(environ.get("CONTENT_LENGTH") or 0)
        got = [body.read(size).decode()]
        got += [body.read().decode(), body.read(10).decode(), body.readline().decode()]
        return say(got + [list(map(bytes.decode, body))])
    if path == "/lines":
        return say([body.readline().decode(), [line.decode() for line in body]])
    if path in ("/204", "/304"):
        start_response({"/204": "204 No Content", "/304": "304 Not Modified"}[path], [])
        return [b"never to be seen"]
    if path == "/empty":
        start_response("200 OK", plain)
        return []
    if path == "/environ":
        return say({k: v for k, v in environ.items() if isinstance(v, str)})
    if path == "/types":
        return say({k: type(v).__name__ for k, v in environ.items() if k.startswith("wsgi.")})
    if path == "/latin":
        return say("", headers=plain + [("X-Name", "J\\xfcrgen"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    if path == "/twice":
        start_response("200 OK", plain)
        return say("never")
    if path == "/changed-mind":
        start_response("200 OK", [("X-First", "yes")])
        try: raise ValueError
        except ValueError:
            start_response("503 Later", [("X-Second", "yes")], sys.exc_info())
        return [b"sorry"]
    if path == "/late-failure":
        start_response("200 OK", plain)
        return late_failure()
    wrong = {"/not-bytes": ["text"], "/not-bytes-made": iter(["text"]), "/none": None, "/text": "text", "/number": 1,
             "/text-file": io.StringIO("a file of text"),
             "/early-failure": early_failure()}
    if path in wrong:
        start_response("200 OK", plain)
        return wrong[path]
    if path == "/write-failure":
        start_response("200 OK", plain)(b"begun")
        raise RuntimeError("failed when it had begun")
    if path == "/late-text":
        start_response("200 OK", plain)
        return iter([b"begun", "text"])
    if path == "/bare-bytes":
        start_response("200 OK", plain)
        return b"bare"
    if path == "/header-break":
        start_response("200 OK", plain + [("X-A", "b\\r\\nX-Forged: yes")])
        return [b"never"]
    if path == "/headers":
        return say(sorted(name for name in environ if name.startswith("HTTP_X_MANY")))
    if path == "/file":
        with open("/tmp/sent", "wb") as file: file.write(bytes(range(256)) * 4096)
        start_response("200 OK", plain + [("Content-Length", str(256 * 4096))])
        return environ["wsgi.file_wrapper"](open("/tmp/sent", "rb"), 8192)
    if path == "/file-part":
        file = open("/tmp/sent", "rb"); file.seek(256 * 4095)
        start_response("200 OK", plain)
        return environ["wsgi.file_wrapper"](file)
    if path == "/file-like":
        start_response("200 OK", plain)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"like a file"), 4)
    if path == "/file-itself":
        start_response("200 OK", plain)
        return io.BytesIO(b"one line\\nanother")
    if path == "/parallel":
        with ThreadPoolExecutor(4) as threads, multiprocessing.get_context(environ["QUERY_STRING"]).Pool(2) as pool:
            async def later():
                process = await asyncio.create_subprocess_exec("echo", "async", stdout=subprocess.PIPE)
                return (await process.communicate())[0].decode().strip()
            return say([
                list(threads.map(double, [1, 2])), pool.map(abs, [-1, -2]), asyncio.run(later()),
                subprocess.run(["echo", "sub"], capture_output=True, text=True).stdout.strip(),
                os.popen("echo popen").read().strip(),
            ])
    return say("nothing here", "404 Not Found")
'''


@pytest.fixture(scope="module")
def site(node: Node) -> str:
    node.app("corners.test", CORNERS, app="threads = 4")
    return "corners.test"


def ask(node: Node, site: str, path: str, **more: Any) -> Any:
    answer = node.get(site, path, **more)
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


# ── every example, validated under load ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "paths"), [("guestbook", ["/"]), ("notes", ["/"]), ("upload", ["/"])])
def test_examples_are_valid_under_load(node: Node, name: str, paths: list[str]) -> None:
    text = (EXAMPLES / name / "site.toml").read_text()
    app = tomllib.loads(text)["app"]
    tenant = f"valid-{name}"
    node.tenant(tenant)
    for source, place in (("home", node.layout.tenant_home(tenant)), ("www", node.layout.tenant_www(tenant))):
        if (EXAMPLES / name / source).is_dir():
            shutil.copytree(EXAMPLES / name / source, place, dirs_exist_ok=True)
    owner = next(line for line in text.splitlines() if line.startswith("tenant")).split('"')[1]
    home, www = node.layout.tenant_home(tenant), node.layout.tenant_www(tenant)
    for path in (*home.rglob("*"), *www.rglob("*")):
        if path.suffix == ".py":
            path.write_text(path.read_text().replace(f"/home/{owner}", f"/home/{tenant}"))
    for path in (*home.rglob("*"), *www.rglob("*")):
        shutil.chown(path, node.uid(tenant), node.uid(tenant))
    if (home / name / "prepare.py").exists():
        node.cli("tenant", "run", tenant, "--", "python3", f"/home/{tenant}/{name}/prepare.py")
    target, _, callable_name = app["wsgi"].partition(":")
    directory = app.get("directory", "/var/www").replace(f"/home/{owner}", f"/home/{tenant}")
    file = target if target.startswith("/") else f"{directory}/{target.replace('.', '/')}.py"
    entry = f"/home/{tenant}/validated.py"
    code = VALIDATED.format(directory=directory, file=file, name=callable_name or "application")
    node.put(tenant, entry, code)
    domain = f"{name}.localhost"
    node.site(
        domain,
        text.replace(f'"{app["wsgi"]}"', f'"{entry}"')
        .replace(f'"{owner}"', f'"{tenant}"')
        .replace(f"/home/{owner}", f"/home/{tenant}"),
    )
    node.await_route(domain)
    for path in paths:
        with Load(node, domain, path=path, threads=8) as load:
            await_true(lambda: load.answers > 200 or load.failures, 60)
        assert not load.failures, (load.failures[0], node.log(domain, "error"))
    assert "AssertionError" not in node.log(domain, "error")
    assert "WSGIWarning" not in node.log(domain, "error")


# ── the way out ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "body"),
    [("/write", b"one two three"), ("/write-only", b"all of it"), ("/noting", b"ab"), ("/empty", b"")],
)
def test_bodies_in_all_their_forms(node: Node, site: str, path: str, body: bytes) -> None:
    assert node.get(site, path).body == body


def test_an_answer_is_closed_at_its_end_and_when_the_visitor_goes(node: Node, site: str) -> None:
    before = ask(node, site, "/closed")
    node.get(site, "/noting")
    assert ask(node, site, "/closed") == before + 1
    with socket.create_connection(("127.0.0.1", node.port)) as connection:
        connection.sendall(f"GET /endless HTTP/1.1\r\nHost: {site}\r\n\r\n".encode())
        assert connection.recv(65536)
    await_true(lambda: ask(node, site, "/closed") == before + 2, 15)


@pytest.mark.parametrize("path", ["/write", "/noting", "/echo", "/file", "/file-like"])
def test_head_has_no_body_and_the_connection_goes_on(node: Node, site: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    for _ in range(2):
        connection.request("HEAD", path, headers={"Host": site})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.request("GET", "/write", headers={"Host": site})
    assert connection.getresponse().read() == b"one two three"
    connection.close()


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(node: Node, site: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    for _ in range(3):
        connection.request("GET", f"/{status}", headers={"Host": site})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (status, b"")
    connection.close()
    said = node.raw(f"GET /{status} HTTP/1.1\r\nHost: {site}\r\nConnection: close\r\n\r\n".encode())
    assert said.endswith(b"\r\n\r\n") and b"never" not in said and b"Transfer-Encoding" not in said


def test_files_are_sent_from_the_sandbox(node: Node, site: str) -> None:
    assert node.get(site, "/file").body == bytes(range(256)) * 4096
    assert node.get(site, "/file-part").body == bytes(range(256))
    assert node.get(site, "/file-like").body == b"like a file"
    assert node.get(site, "/file-itself").body == b"one line\nanother"


def test_headers_out(node: Node, site: str) -> None:
    said = node.raw(f"GET /latin HTTP/1.1\r\nHost: {site}\r\nConnection: close\r\n\r\n".encode())
    assert b"X-Name: J\xfcrgen\r\n" in said
    assert said.index(b"Set-Cookie: a=1\r\n") < said.index(b"Set-Cookie: b=2\r\n")


def test_start_response_again(node: Node, site: str) -> None:
    changed = node.get(site, "/changed-mind")
    assert (changed.status, changed.body, changed.headers["X-Second"]) == (503, b"sorry", "yes")
    assert changed.headers["X-First"] is None


@pytest.mark.parametrize("path", ["/late-failure", "/write-failure", "/late-text"])
@pytest.mark.parametrize("body", [None, b"a body", b"x" * 200_000])
def test_an_answer_that_breaks_off_does_not_look_whole(
    node: Node, site: str, path: str, body: bytes | None
) -> None:
    pid = node.show(site)["pid"]
    before = node.log(site, "error").count("failed when it had begun")
    for _ in range(5):  # at once: nginx has to be reached each time
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            answer = node.get(site, path, timeout=10, method="POST" if body else "GET", body=body)
            assert answer.status == 502  # nginx was still sending the body
    if path != "/late-text":
        await_true(lambda: node.log(site, "error").count("failed when it had begun") >= before + 5, 5)
    assert ask(node, site, "/echo", method="POST", body=b"1") == 1
    assert node.show(site)["pid"] == pid


def test_an_answer_that_takes_too_long_does_not_look_whole(node: Node) -> None:
    code = """
import time
def application(environ, start_response):
    start_response("200 OK", [])
    yield b"x" * 5000
    time.sleep(60)
"""
    node.app("endless.test", code, app="timeout = 1")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        node.get("endless.test", timeout=10)


def test_what_is_wrong_harms_one_request_alone(node: Node, site: str) -> None:
    pid = node.show(site)["pid"]
    assert node.get(site, "/twice", timeout=10).status == 500
    assert ask(node, site, "/closed") >= 0
    assert node.show(site)["pid"] == pid


@pytest.mark.parametrize(
    "path",
    [
        "/not-bytes",
        "/not-bytes-made",
        "/none",
        "/text",
        "/text-file",
        "/number",
        "/early-failure",
        "/header-break",
    ],
)
def test_what_is_no_answer_is_an_error_and_told_of(node: Node, site: str, path: str) -> None:
    before = node.log(site, "error").count("Error: ")
    answer = node.get(site, path, timeout=10)
    assert answer.status == 500 and b"failed to answer" in answer.body
    assert answer.headers["X-Forged"] is None
    await_true(lambda: node.log(site, "error").count("Error: ") == before + 1, 5)
    assert node.get(site, "/bare-bytes").body == b"bare"


# ── the way in ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_visitor_who_waits_to_be_told_to_go_on(node: Node, site: str) -> None:
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as connection:
        head = f"POST /echo HTTP/1.1\r\nHost: {site}\r\nContent-Length: 5\r\nConnection: close\r\n"
        connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(b"after")
        parts = b""
        while part := connection.recv(65536):
            parts += part
    assert _body(parts) == b"after"


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_bodies_in_chunks(node: Node, site: str, size: int) -> None:
    body = b"z" * size
    chunks = b"".join(
        b"%x;name=value\r\n%s\r\n" % (len(part), part)
        for part in (body[start : start + 50_000] for start in range(0, size, 50_000))
    )
    head = f"POST /length HTTP/1.1\r\nHost: {site}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    said = node.raw(head.encode() + chunks + b"0\r\nTrailer: x\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200"), said[:300]
    told, read, encoding = json.loads(_body(said))
    assert read == size and int(told or 0) == size
    assert encoding is None  # nginx has put it together; Werkzeug and Bottle would look for chunks


def _body(said: bytes) -> bytes:
    """The body of a raw answer."""
    head, _, rest = said.partition(b"\r\n\r\n")
    if b"chunked" not in head:
        return rest
    body = b""
    while rest:
        length, _, rest = rest.partition(b"\r\n")
        if not (number := int(length, 16)):
            break
        body, rest = body + rest[:number], rest[number + 2 :]
    return body


def test_hundreds_of_request_headers(node: Node, site: str) -> None:
    many = {f"X-Many-{number:03}": "v" for number in range(500)}
    assert len(ask(node, site, "/headers", headers=many)) == 500


def test_reading_past_the_end(node: Node, site: str) -> None:
    assert ask(node, site, "/past", method="POST", body=b"whole") == ["whole", "", "", "", []]
    assert ask(node, site, "/past") == ["", "", "", "", []]
    lines = b"first\nsecond\nthird\nlast"
    assert ask(node, site, "/lines", method="POST", body=lines) == [
        "first\n",
        ["second\n", "third\n", "last"],
    ]


def test_names_and_values_are_bytes_in_disguise(node: Node, site: str) -> None:
    environ = ask(node, site, "/environ")
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1" and environ["REQUEST_METHOD"] == "GET"
    assert (
        environ["SCRIPT_NAME"] == ""
        and environ["QUERY_STRING"] == ""
        and environ["SERVER_NAME"]
        and environ["SERVER_PORT"]
    )
    said = node.raw(
        b"GET /environ?q=%C3%BC&r=\xc3\xbc HTTP/1.1\r\nHost: "
        + site.encode()
        + b"\r\nX-Name: J\xfcrgen\r\nX-Many: a\r\nX-Many: b\r\nX-Empty:\r\n"
        + b"Content-Type: text/x\r\nConnection: close\r\n\r\n"
    )
    environ = json.loads(_body(said))
    assert environ["HTTP_X_NAME"] == "J\xfcrgen"
    assert environ["HTTP_X_MANY"] in ("a, b", "a,b", "b")  # nginx before 1.23 does not join them
    assert environ["HTTP_X_EMPTY"] == ""
    assert environ["CONTENT_TYPE"] == "text/x"
    assert environ["QUERY_STRING"] == "q=%C3%BC&r=\xc3\xbc"


def test_the_path_is_decoded_once(node: Node) -> None:
    code = "def application(e, s):\n    s('200 OK', [])\n    return [e['PATH_INFO'].encode('latin-1')]\n"
    node.app("paths.test", code)
    assert node.get("paths.test", "/%C3%BC/%2541/a%2Fb").body == "/ü/%41/a/b".encode()


def test_what_the_server_brings(node: Node, site: str) -> None:
    types = ask(node, site, "/types")
    assert types["wsgi.version"] == "tuple" and types["wsgi.url_scheme"] == "str"
    assert {"wsgi.input", "wsgi.errors", "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once"} <= set(
        types
    )


def test_a_program_that_is_started_by_a_thread_hears_signals(node: Node) -> None:
    code = """
import subprocess
def application(environ, start_response):
    child = subprocess.Popen(["sleep", "60"])
    child.terminate()
    start_response("200 OK", [])
    return [str(child.wait(timeout=5)).encode()]
"""
    node.app("signals.test", code, app="threads = 4")
    for _ in range(8):
        assert node.get("signals.test").text == "-15"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_threads_processes_and_asyncio_inside_a_wsgi_app(node: Node, site: str, method: str) -> None:
    assert ask(node, site, f"/parallel?{method}") == [[2, 4], [1, 2], "async", "sub", "popen"]
