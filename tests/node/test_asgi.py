"""ASGI apps: woken, streamed, reloaded under load; WebSockets, event streams, start-up and shutdown."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.node.harness import Load, Node, await_true

APP = """
import asyncio, contextlib, os, time
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from starlette.responses import PlainTextResponse, StreamingResponse

@contextlib.asynccontextmanager
async def lifespan(app):
    print("started up", flush=True)
    yield {"shared": "from the start-up"}
    print("shut down", flush=True)

app = FastAPI(lifespan=lifespan)

@app.get("/")
async def index(): return {"version": "VERSION"}

@app.get("/pid")
async def pid(): return os.getpid()

@app.get("/state")
async def state(request: Request): return request.state.shared

@app.get("/who")
async def who(request: Request):
    return {"client": request.client.host, "url": str(request.url), "server": request.scope["server"]}

@app.post("/length")
async def length(request: Request): return len(await request.body())

@app.post("/caught")
async def caught(request: Request):
    try: return len(await request.body())
    except Exception as error: raise RuntimeError("no body") from error

@app.get("/download")
async def download():
    async def pieces():
        for _ in range(400): yield b"x" * 100_000
    return StreamingResponse(pieces())

@app.post("/unread")
async def unread(): return "not read"

@app.post("/echo")
async def echo(request: Request): return StreamingResponse(request.stream())

@app.post("/pieces")
async def pieces(request: Request):
    times = [time.time() async for piece in request.stream() if piece]
    return PlainTextResponse(" ".join(map(str, times)))

@app.get("/events")
async def events():
    async def stream():
        for number in range(10_000):
            yield f"data: {number}\\n\\n"
            await asyncio.sleep(0.2)
    return StreamingResponse(stream(), media_type="text/event-stream")

@app.get("/never")
async def never(): await asyncio.sleep(3600)

@app.get("/wrong")
async def wrong(): raise RuntimeError("a fault of the app's")

@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True: await socket.send_text(await socket.receive_text())
"""
DOMAIN = "asgi.test"


def websocket(node: Node, domain: str, path: str = "/ws") -> ClientConnection:
    link = socket.create_connection(("127.0.0.1", node.port), timeout=10)
    return connect(f"ws://{domain}{path}", sock=link, proxy=None, compression=None)


@pytest.fixture(scope="module")
def site(node: Node) -> Iterator[str]:
    node.app(DOMAIN, APP, kind="asgi", app="timeout = 2")
    yield DOMAIN
    node.remove(DOMAIN)


def test_an_asgi_app_is_woken_and_answers(node: Node, site: str) -> None:
    answer = node.get(site)
    assert (answer.status, answer.text) == (200, '{"version":"VERSION"}')
    assert "server" not in answer.headers or "uvicorn" not in answer.headers["server"]


def test_start_up_shares_its_state_with_requests(node: Node, site: str) -> None:
    assert node.get(site, "/state").text == '"from the start-up"'
    assert "started up" in node.log(site, "server")


def test_the_app_sees_the_visitor_and_not_nginx(node: Node, site: str) -> None:
    said = node.get(
        site, "/who?a=%2F", headers={"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}
    ).text
    assert '"client":"127.0.0.1"' in said
    assert f'"url":"http://{site}/who?a=%2F"' in said
    assert "live/" not in said


@pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
def test_bodies_arrive_whole(node: Node, site: str, size: int) -> None:
    assert node.get(site, "/length", method="POST", body=b"x" * size).text == str(size)


def test_an_answer_comes_though_the_body_was_not_read(node: Node, site: str) -> None:
    for _ in range(5):
        assert node.get(site, "/unread", method="POST", body=b"x" * 3_000_000).text == '"not read"'


def test_an_upload_reaches_the_app_while_it_is_sent(node: Node, site: str) -> None:
    """And once the answer has begun, the rest of the body is there for the app, too."""
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    connection.putrequest("POST", "/pieces", skip_host=True)
    connection.putheader("Host", site)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    for _ in range(3):
        connection.send(b"5\r\npiece\r\n")
        time.sleep(0.5)
    connection.send(b"0\r\n\r\n")
    times = [float(seen) for seen in connection.getresponse().read().split()]
    assert len(times) == 3
    assert times[2] - times[0] > 0.8
    connection.close()


def test_a_visitor_who_pauses_is_not_the_apps_neglect(node: Node, site: str) -> None:
    head = f"HTTP/1.1\r\nHost: {site}\r\nConnection: close\r\n".encode()
    with (
        socket.create_connection(("127.0.0.1", node.port), timeout=10) as up,
        socket.create_connection(("127.0.0.1", node.port), timeout=10) as down,
    ):
        up.sendall(b"POST /length " + head + b"Content-Length: 10\r\n\r\n12345")
        down.sendall(b"GET /download " + head + b"\r\n")
        got = len(down.recv(1000))
        time.sleep(5)  # longer than a request may take
        up.sendall(b"67890")
        answer = b"".join(iter(lambda: up.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"10")
        end = b""
        while piece := down.recv(1 << 20):
            got, end = got + len(piece), (end + piece)[-5:]
    assert got > 400 * 100_000 and end == b"0\r\n\r\n"
    assert not node.show(site)["problems"]


@pytest.mark.parametrize("path", ["/length", "/caught", "/unread", "/echo"])
def test_a_body_in_chunks_that_is_too_large_is_refused_whatever_the_app_makes_of_it(
    node: Node, path: str
) -> None:
    node.app("small.test", APP, kind="asgi", more='[limits]\nbody = "1M"')
    head = (
        f"POST {path} HTTP/1.1\r\nHost: small.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    chunk = b"%x\r\n%s\r\n" % (500_000, b"x" * 500_000)
    answer = node.raw(head.encode() + chunk * 5 + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413") and b"too large" in answer
    assert node.raw(head.encode() + chunk + b"0\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_an_answer_may_begin_before_the_body_was_read(node: Node, site: str, size: int) -> None:
    body = b"0123456789" * (size // 10)
    assert node.get(site, "/echo", method="POST", body=body).body == body


def test_events_come_when_they_happen(node: Node, site: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    connection.request("GET", "/events", headers={"Host": site})
    response = connection.getresponse()
    began = time.monotonic()
    assert [response.readline() for _ in range(3)] == [b"data: 0\n", b"\n", b"data: 1\n"]
    assert time.monotonic() - began < 2
    time.sleep(3)  # longer than a request may take
    assert node.get(site).status == 200
    assert response.readline() == b"\n"
    connection.close()


def test_a_websocket_echoes_and_lasts_longer_than_a_request_may(node: Node, site: str) -> None:
    with websocket(node, site) as ws:
        for text in ("one", "two", "x" * 100_000):
            ws.send(text)
            assert ws.recv(timeout=5) == text
        time.sleep(3)
        ws.send("still there")
        assert ws.recv(timeout=5) == "still there"


def test_a_refused_websocket_is_refused(node: Node, site: str) -> None:
    with pytest.raises(InvalidStatus):
        websocket(node, site, "/nowhere")


def test_a_request_that_is_never_answered_gets_504_and_the_others_live(node: Node, site: str) -> None:
    pid = node.get(site, "/pid").text
    answer = node.get(site, "/never")
    assert answer.status == 504
    assert "took too long" in answer.text
    assert node.get(site, "/pid").text == pid
    problems = [problem["code"] for problem in node.show(site)["problems"]]
    assert "request-too-slow" in problems


def test_a_fault_in_a_request_gives_500_and_its_traceback(node: Node, site: str) -> None:
    assert node.get(site, "/wrong").status == 500
    await_true(lambda: "RuntimeError: a fault of the app's" in node.log(site, "error"), 5)
    assert node.get(site).status == 200


def test_reloads_under_load_lose_nothing_and_websockets_are_told(node: Node) -> None:
    domain = "reloading-asgi.test"
    node.app(domain, APP, kind="asgi", app="processes = 2")
    node.get(domain)
    codes: list[int | None] = []

    def hold() -> None:
        with websocket(node, domain) as ws:
            try:
                while True:
                    ws.send("x")
                    ws.recv(timeout=10)
                    time.sleep(0.01)
            except ConnectionClosed as closed:
                codes.append(closed.rcvd.code if closed.rcvd else None)

    with Load(node, domain) as load:
        for number in range(20):
            holder = threading.Thread(target=hold)
            holder.start()
            time.sleep(0.1)
            node.touch(domain, APP.replace("VERSION", str(number)))
            wanted = f'{{"version":"{number}"}}'
            await_true(lambda wanted=wanted: node.get(domain).text == wanted, 15)  # type: ignore[misc]
            holder.join(15)
            assert not holder.is_alive()
    assert not load.failures
    assert load.answers > 100
    assert codes == [1012] * 20
    await_true(lambda: node.log(domain, "server").count("shut down") >= 20, 10)


def test_an_event_stream_ends_cleanly_at_a_reload(node: Node) -> None:
    domain = "stream-ends.test"
    node.app(domain, APP, kind="asgi")
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=20)
    connection.request("GET", "/events", headers={"Host": domain})
    response = connection.getresponse()
    assert (response.readline(), response.readline()) == (b"data: 0\n", b"\n")
    node.touch(domain, APP.replace("VERSION", "next"))
    rest = response.read()  # raises IncompleteRead when it was cut off
    assert rest == b"" or rest.endswith(b"\n\n")
    connection.close()


FAILING = """
import contextlib
from fastapi import FastAPI
@contextlib.asynccontextmanager
async def lifespan(app):
    raise RuntimeError("the database is not there")
    yield
app = FastAPI(lifespan=lifespan)
"""


def test_a_failing_start_up_leaves_the_old_code_serving(node: Node) -> None:
    domain = "rollback-asgi.test"
    node.app(domain, APP, kind="asgi")
    assert node.get(domain).status == 200
    node.touch(domain, FAILING)
    await_true(lambda: node.show(domain)["problems"], 10)
    problem = node.show(domain)["problems"][0]
    assert problem["code"] == "load-failed"
    assert "the database is not there" in problem["message"]
    assert node.get(domain).status == 200
    assert "RuntimeError: the database is not there" in node.log(domain, "error")
    node.touch(domain, APP.replace("VERSION", "mended"))
    await_true(lambda: node.get(domain).text == '{"version":"mended"}', 10)


PLAIN_ASGI = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"plain"})
"""


def test_an_app_without_lifespan_is_served(node: Node) -> None:
    node.app("plain-asgi.test", PLAIN_ASGI, kind="asgi")
    assert node.get("plain-asgi.test").text == "plain"


def test_an_app_of_the_other_kind_is_told_apart(node: Node) -> None:
    node.app("mistaken-asgi.test", "def app(environ, start_response): ...", kind="asgi")
    assert node.get("mistaken-asgi.test").status == 500
    assert "write `wsgi = …`" in node.show("mistaken-asgi.test")["problems"][0]["message"]
    node.app("mistaken-wsgi.test", PLAIN_ASGI)
    assert node.get("mistaken-wsgi.test").status == 500
    assert "write `asgi = …`" in node.show("mistaken-wsgi.test")["problems"][0]["message"]


def test_an_open_websocket_keeps_the_site_awake_until_it_has_lasted_long_enough(node: Node) -> None:
    domain = "awake-asgi.test"
    node.app(domain, APP, kind="asgi", app="idle = 1\nlongest = 4")
    with websocket(node, domain) as ws:
        time.sleep(2.5)
        assert node.state(domain) == "serving"
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    node.await_state(domain, "asleep")
    assert node.get(domain).status == 200


BACKGROUND = """
import asyncio, os
from fastapi import BackgroundTasks, FastAPI
app = FastAPI()

async def work():
    try: await asyncio.sleep(6)
    except BaseException as error: print(repr(error), flush=True); raise
    with open(os.path.expanduser("~/done"), "a") as file: file.write("VERSION")

@app.get("/")
async def index(): return "VERSION"

@app.get("/work")
async def start(tasks: BackgroundTasks):
    tasks.add_task(work)
    return "queued"
"""


LINGERING = """
import asyncio
from fastapi import FastAPI, WebSocket
from starlette.responses import StreamingResponse
app = FastAPI()

@app.get("/")
async def index(): return "well"

@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    await socket.send_text("come in")
    await asyncio.sleep(3600)

@app.get("/events")
async def events():
    async def stream():
        yield "data: come in\\n\\n"
        await asyncio.sleep(3600)
    return StreamingResponse(stream(), media_type="text/event-stream")
"""


def test_who_has_gone_keeps_no_site_awake(node: Node) -> None:
    """Although the app does not notice that the visitor has gone: it waits for something else."""
    domain = "lingering-asgi.test"
    node.app(domain, LINGERING, kind="asgi", app="idle = 1")
    with websocket(node, domain) as ws:
        assert ws.recv(timeout=10) == "come in"
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    connection.request("GET", "/events", headers={"Host": domain})
    assert connection.getresponse().readline() == b"data: come in\n"
    connection.close()
    node.await_state(domain, "asleep")


def test_a_background_task_is_neither_late_nor_cut_off(node: Node) -> None:
    """By `timeout`, by falling asleep, or by a reload: the visitor has had the answer long ago."""
    domain = "tasks-asgi.test"
    node.app(domain, BACKGROUND, kind="asgi", app="timeout = 2\nidle = 1")
    done = node.layout.on_host("alice", "/home/alice/done")
    assert node.get(domain, "/work").text == '"queued"'
    time.sleep(4)
    assert node.state(domain) == "serving"
    assert node.get(domain, "/work").text == '"queued"'
    node.app(domain, BACKGROUND.replace("VERSION", "2"), kind="asgi", app="timeout = 2\nidle = 1")
    await_true(lambda: node.get(domain).text == '"2"', 5)
    await_true(lambda: done.exists() and done.read_text() == "VERSION" * 2, 15)
    assert node.show(domain)["problems"] == []
    node.await_state(domain, "asleep")


def test_a_site_changes_from_wsgi_to_asgi_and_back_without_a_failed_request(node: Node) -> None:
    domain = "kinds.test"
    node.app(domain)
    node.get(domain)
    with Load(node, domain) as load:
        for _ in range(3):
            time.sleep(0.3)
            node.app(domain, PLAIN_ASGI, kind="asgi")
            await_true(lambda: node.get(domain).text == "plain", 10)
            time.sleep(0.3)
            node.app(domain)
            await_true(lambda: node.get(domain).text == "hello", 10)
    assert not load.failures
