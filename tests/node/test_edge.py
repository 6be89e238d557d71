"""What nginx passes on of a request and of an answer: to the three kinds of apps the same, and nothing made up."""

from __future__ import annotations

import base64
import json
import socket

import pytest

from tests.node.harness import Node

# Each tells what it was told. What comes after "/type/" is the answer's Content-Type, the number after "/head/" how
# many bytes there are in a header of it.
WSGI = """
import json
def application(environ, start_response):
    _, kind, value = (environ["REQUEST_URI"] + "//").split("/", 2)
    value = value.rstrip("/")
    told = {"host": environ.get("HTTP_HOST"), "forwarded": environ.get("HTTP_X_FORWARDED_HOST"),
            "name": environ["SERVER_NAME"], "path": environ["PATH_INFO"], "cookie": environ.get("HTTP_COOKIE")}
    headers = [("Content-Type", value)] if kind == "type" else []
    headers += [("X-Large", "x" * int(value))] if kind == "head" else []
    start_response("200 OK", headers)
    return [json.dumps(told).encode()]
"""
ASGI = """
import json
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    told = {"host": headers.get("host"), "forwarded": headers.get("x-forwarded-host"), "name": scope["server"][0],
            "path": scope["path"]}
    if scope["type"] == "websocket":
        await receive()
        return await send({"type": "websocket.accept", "headers": [(b"x-told", json.dumps(told).encode())]})
    _, kind, value = (scope["path"] + "//").split("/", 2)
    value = value.rstrip("/").encode()
    headers = [(b"Content-Type", value)] if kind == "type" else []
    headers += [(b"X-Large", b"x" * int(value))] if kind == "head" else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
"""
COMMAND = """
import http.server, json, os, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        _, kind, value = (self.path + "//").split("/", 2)
        value = value.rstrip("/")
        self.send_response(200)
        if kind == "type":
            self.send_header("Content-Type", value)
        elif kind == "head":
            self.send_header("X-Large", "x" * int(value))
        self.end_headers()
        told = {"host": self.headers["Host"], "forwarded": self.headers["X-Forwarded-Host"], "path": self.path}
        self.wfile.write(json.dumps(told).encode())
    do_POST = do_GET
    def address_string(self):
        return "visitor"
socketserver.ThreadingUnixStreamServer(os.environ["DOMAIN_SOCKET"], Handler).serve_forever()
"""
FLASK = """
from flask import Flask, request
app = Flask(__name__)
@app.post("/")
def measure():
    told = {"length": request.content_length, "chunked": "Transfer-Encoding" in request.headers}
    return {"read": len(request.get_data()), **told}
@app.post("/form")
def form():
    return {"name": request.form["name"]}
application = app
"""
KINDS = ["wsgi", "asgi", "command"]


@pytest.fixture(scope="module")
def edge(node: Node) -> Node:
    """KIND.edge.test for each kind of app, with static files, and flask.edge.test."""
    node.tenant("alice")
    node.put("alice", "/home/alice/edge/command.py", COMMAND)
    node.put("alice", "/home/alice/edge/public/page.html", "<p>page")
    node.put("alice", "/home/alice/edge/public/.env", "SECRET=1")
    static = '[[static]]\nurl = "/static/"\npath = "/home/alice/edge/public"\n'
    node.app("wsgi.edge.test", WSGI, more=static)
    node.app("asgi.edge.test", ASGI, more=static, kind="asgi")
    node.app("flask.edge.test", FLASK)
    started = 'tenant = "alice"\n[app]\ncommand = "exec python3 ~/edge/command.py"\n'
    node.site("command.edge.test", started + static)
    node.await_route("command.edge.test")
    return node


def ask(node: Node, line: str, *headers: str, body: str = "") -> tuple[str, str]:
    """The head and the body of the answer to a request whose first line, headers and body are sent just so."""
    sent = "\r\n".join((line, *headers, "Connection: close", "", body)).encode("latin-1")
    head, _, answer = node.raw(sent, timeout=30).decode("latin-1").partition("\r\n\r\n")
    if "\r\nTransfer-Encoding: chunked" in head:  # of all that is short, one chunk
        answer = answer.partition("\r\n")[2].partition("\r\n")[0]
    return head, answer


# ── which host was asked ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelled", ["{}", "{}:8080", "{}.", "{}.:80"])
def test_an_app_is_told_its_host_as_the_visitor_spelled_it(edge: Node, kind: str, spelled: str) -> None:
    for domain in (f"{kind}.edge.test", f"{kind}.EDGE.Test"):
        host = spelled.format(domain)
        told = json.loads(ask(edge, "GET / HTTP/1.1", f"Host: {host}")[1])
        assert (told["host"], told["forwarded"]) == (host, host)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "said", ["evil.example", "{}:@evil.example", "{}.evil.example", "x.{}", "{}x", "{}:"]
)
def test_an_app_is_told_of_no_host_but_the_one_that_was_routed_by(edge: Node, kind: str, said: str) -> None:
    """Who asks for a whole URL is routed by that, whatever else the header Host says."""
    domain = f"{kind}.edge.test"
    host = said.format(domain)
    _, body = ask(edge, f"GET http://{domain}/ HTTP/1.1", f"Host: {host}")
    told = json.loads(body)
    assert (told["host"], told["forwarded"]) == (domain, domain)
    assert told.get("name", domain) == domain


@pytest.mark.parametrize("kind", KINDS)
def test_an_app_is_told_its_host_where_there_is_no_header(edge: Node, kind: str) -> None:
    domain = f"{kind}.edge.test"
    told = json.loads(ask(edge, f"GET http://{domain.upper()}/ HTTP/1.0")[1])
    assert (told["host"], told["forwarded"]) == (domain, domain)


def test_a_websocket_is_told_of_no_host_but_the_one_that_was_routed_by(edge: Node) -> None:
    asked = (
        "GET http://asgi.edge.test/ HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    for host, told in (("evil.example", "asgi.edge.test"), ("asgi.edge.test:81", "asgi.edge.test:81")):
        with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
            connection.sendall(asked.format(host).encode())
            head = connection.recv(65536).decode()
        assert head.startswith("HTTP/1.1 101 "), head
        assert f'"host": "{told}", "forwarded": "{told}"' in head


# ── which path was asked for ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    [
        "/env/http://example.org//x",
        "/env/a/../b/./c//d",
        "//two",
        "/a/..",
        "/..a/.b/",
        "/",
        "/J\xc3\xbcrgen//x",
    ],
)
def test_a_wsgi_app_is_told_the_path_as_it_was_sent(edge: Node, path: str) -> None:
    for sent in (path, f"{path}?a=/../b%20c?d", f"http://wsgi.edge.test{path}"):
        told = json.loads(ask(edge, f"GET {sent} HTTP/1.1", "Host: wsgi.edge.test")[1])
        assert told["path"] == path


def test_a_wsgi_app_is_told_a_path_with_percent_signs_decoded(edge: Node) -> None:
    pairs = (
        ("/a%20b/%2541?%2F", "/a b/%41"),
        ("/a//b%2F%2e%2e//c", "/a//b/..//c"),
        ("/a#b//c", "/a"),
        ("/%20#", "/ "),
    )
    for sent, path in (*pairs, ("/go/http:%2F%2Fexample.org", "/go/http://example.org")):
        told = json.loads(ask(edge, f"GET {sent} HTTP/1.1", "Host: wsgi.edge.test")[1])
        assert told["path"] == path


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_found_by_the_path_in_order(edge: Node, kind: str) -> None:
    """…so that what may not be read is found in no other way either."""
    host = f"Host: {kind}.edge.test"
    for path in ("//static//page.html", "/a/../static/./page.html", "/%73tatic/x/%2e%2e/page.html"):
        assert ask(edge, f"GET {path} HTTP/1.1", host)[1] == "<p>page"
    for path in ("//static//.env", "/static/./.env", "/a/../static/x/../.env", "/static/%2eenv"):
        assert ask(edge, f"GET {path} HTTP/1.1", host)[0].startswith("HTTP/1.1 404 ")


def test_a_wsgi_app_is_told_of_all_cookies(edge: Node) -> None:
    """Also when they come in several headers, as HTTP/2 has it, of which uWSGI keeps the last."""
    host = "Host: wsgi.edge.test"
    told = json.loads(ask(edge, "GET / HTTP/1.1", host, "Cookie: a=1", "Cookie: b=2; c=3")[1])
    assert told["cookie"] == "a=1; b=2; c=3"
    assert json.loads(ask(edge, "GET / HTTP/1.1", host)[1])["cookie"] is None


# ── the answer's head ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "said", ["text/html", "application/json", "text/plain;charset=latin-1", "Text/HTML;x=y", "image/svg+xml"]
)
def test_what_an_app_says_of_its_answer_is_passed_on_as_it_is(edge: Node, kind: str, said: str) -> None:
    head, _ = ask(edge, f"GET /type/{said} HTTP/1.1", f"Host: {kind}.edge.test")
    assert f"\r\nContent-Type: {said}\r\n" in f"{head}\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_app_does_not_say_is_not_made_up(edge: Node, kind: str) -> None:
    head, _ = ask(edge, "GET / HTTP/1.1", f"Host: {kind}.edge.test")
    assert head.startswith("HTTP/1.1 200 ") and "content-type" not in head.lower()


@pytest.mark.parametrize("kind", KINDS)
def test_static_files_and_pages_of_ours_have_their_charset(edge: Node, kind: str) -> None:
    for path, status in (("/static/page.html", 200), ("/static/none.html", 404)):
        answer = edge.get(f"{kind}.edge.test", path)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_may_have_large_headers(edge: Node, kind: str) -> None:
    for size in (9_000, 17_000, 32_000):
        head, _ = ask(edge, f"GET /head/{size} HTTP/1.1", f"Host: {kind}.edge.test")
        assert head.startswith("HTTP/1.1 200 ") and f": {'x' * size}" in head


@pytest.mark.parametrize("kind", KINDS)
def test_of_larger_ones_it_is_said_that_they_are_too_large(edge: Node, kind: str) -> None:
    for size in (34_000, 64_000):
        answer = edge.get(f"{kind}.edge.test", f"/head/{size}")
        assert answer.status == 502
        assert "32 KB of headers" in answer.text


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────


def chunked(body: bytes) -> bytes:
    pieces = [body[start : start + 60_000] for start in range(0, len(body), 60_000)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


CHUNKED = ("Host: flask.edge.test", "Transfer-Encoding: chunked")


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_flask_reads_a_body_that_came_in_chunks(edge: Node, size: int) -> None:
    _, told = ask(edge, "POST / HTTP/1.1", *CHUNKED, body=chunked(b"x" * size).decode())
    assert json.loads(told) == {"read": size, "length": size, "chunked": False}


def test_flask_reads_a_form_that_came_in_chunks(edge: Node) -> None:
    kind = "Content-Type: application/x-www-form-urlencoded"
    _, told = ask(edge, "POST /form HTTP/1.1", *CHUNKED, kind, body=chunked(b"name=Ada").decode())
    assert json.loads(told) == {"name": "Ada"}


# ── pages of ours ────────────────────────────────────────────────────────────────────────────────────────────

NOT_FOUND = '[[static]]\nurl = "{}"\npath = "/home/alice/edge/none"\n'
SESAME = "$2y$05$oLe58IZMEU1UWp/FxcdDBuNud5lwONoMiIH/Uko5dcJbENn73Hami"
WAYS = {
    "plain": "",
    "front": NOT_FOUND.format("/"),
    "first": NOT_FOUND.format("/a/"),
    "deep": NOT_FOUND.format("/a/b/"),
    "locked": f'[password]\nuser = "guest"\nhash = "{SESAME}"\n',
}


@pytest.mark.parametrize(
    ("line", "header", "status", "title"),
    [
        ("POST / HTTP/1.1", "Transfer-Encoding: xchunked", 501, "This server can’t do what was asked"),
        ("GET / HTTP/2.0", "X: y", 505, "This version of HTTP is not spoken here"),
        ("TRACE / HTTP/1.1", "X: y", 405, "This can’t be done at this address"),
        ("POST /static/page.html HTTP/1.1", "Content-Length: 0", 405, "This can’t be done at this address"),
        ("GET /%zz HTTP/1.1", "X: y", 400, "This request can’t be understood"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_nginx_refuses_is_no_fault_of_the_site(
    edge: Node, kind: str, line: str, header: str, status: int, title: str
) -> None:
    head, page = ask(edge, line, f"Host: {kind}.edge.test", header)
    assert head.startswith(f"HTTP/1.1 {status} ")
    page = page.encode("latin-1").decode()
    assert f"<h1>{title}</h1>" in page and f">{status}<" in page


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_of_an_app_that_does_not_load_it_is_said_whatever_way_leads_to_it(
    node: Node, kind: str, way: str
) -> None:
    domain = f"{way}-{kind}.sick.test"
    node.app(domain, "import no_such_module\n", more=WAYS[way], kind=kind)
    letter = {"Authorization": "Basic " + base64.b64encode(b"guest:sesame").decode()}
    for path in ("/", "/page.html"):  # as the start fails, and while it is known to have failed
        answer = node.get(domain, path, headers=letter)
        assert answer.status == 500
        assert "This site can’t start right now" in answer.text


def test_a_fault_of_the_server_is_not_said_to_be_the_sites(own_node: Node) -> None:
    own_node.app("well.test")
    own_node.app("mapped.test", more='[[static]]\nurl = "/a/b/"\npath = "/home/alice/none"\n')
    folder = own_node.layout.lib / "edge" / "body"
    folder.rename(folder.with_name("elsewhere"))
    for domain in ("well.test", "mapped.test"):
        answer = own_node.get(domain, method="POST", body=b"x" * 1_000_000)
        assert answer.status == 500
        assert "Something went wrong on this server" in answer.text
