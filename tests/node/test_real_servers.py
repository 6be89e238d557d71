"""Servers that people run, from a virtualenv of their own: woken by a large POST, asleep, woken again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.node.harness import Load, Node, await_true

pytestmark = pytest.mark.timeout(300)  # packages are installed

LOCKS = Path(__file__).parents[2] / "requirements"
TENANT = "sara"
HOME = f"/home/{TENANT}"
WSGI = """
import hashlib, os
from flask import Flask, request

app = Flask(__name__)

@app.route("/", methods=["GET", "POST"])
def index():
    told = {"version": "VERSION", "sum": hashlib.sha256(request.get_data()).hexdigest(), "pid": os.getpid()}
    return {**told, "url": request.url, "headers": dict(request.headers)}
"""
ASGI = """
import hashlib, json

async def app(scope, receive, send):
    await {"http": answer, "websocket": echo, "lifespan": live}[scope["type"]](scope, receive, send)

async def live(scope, receive, send):
    for _ in range(2):
        await send({"type": (await receive())["type"] + ".complete"})

async def echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"]})

async def answer(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = {name.decode().title(): value.decode() for name, value in scope["headers"]}
    told = {"version": "VERSION", "sum": hashlib.sha256(body).hexdigest(), "headers": headers}
    text = json.dumps({**told, "url": f"{scope['scheme']}://{headers['Host']}{scope['path']}"}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})
"""
SERVERS = {
    "gunicorn": "exec gunicorn --bind unix:$DOMAIN_SOCKET wsgi:app",
    "gunicorn-port": "exec gunicorn --workers 2 --threads 4 wsgi:app",  # it listens on $PORT by itself
    "hypercorn": "exec hypercorn --bind unix:$DOMAIN_SOCKET asgi:app",
    "hypercorn-port": "hypercorn --workers 2 --bind 127.0.0.1:$PORT asgi:app",
    "daphne": "exec daphne -u $DOMAIN_SOCKET --proxy-headers asgi:app",
    "daphne-port": "exec daphne --bind 127.0.0.1 --port $PORT asgi:app",
}


def environment(node: Node, name: str) -> str:
    """A virtualenv of the tenant's with the packages of one of the lock files; skips where they can't be had."""
    node.tenant(TENANT)
    path, lock = f"{HOME}/{name}", f"{HOME}/{name}.lock"
    node.put(TENANT, lock, (LOCKS / f"{name}.lock").read_bytes())
    node.cli("tenant", "run", TENANT, "--", "python3", "-m", "venv", path)
    pip = (
        f"{path}/bin/pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
        "--quiet",
        "--retries",
        "1",
    )
    options = ("--no-compile", "--no-deps", "--require-hashes", "-r", lock)
    done = node.cli("tenant", "run", TENANT, "--", *pip, *options, check=False, timeout=300)
    if done.returncode:
        pytest.skip(f"no packages can be installed here: {done.stderr.strip().rpartition(chr(10))[2]}")
    return path


@pytest.fixture(scope="module")
def servers(node: Node) -> str:
    path = environment(node, "servers")
    node.put(TENANT, f"{HOME}/wsgi.py", WSGI)
    node.put(TENANT, f"{HOME}/asgi.py", ASGI)
    return path


def command(node: Node, domain: str, line: str, virtualenv: str = "", idle: int = 1, more: str = "") -> str:
    own = f'virtualenv = "{virtualenv}"\n' if virtualenv else ""
    node.site(domain, f"tenant = '{TENANT}'\n[app]\ncommand = '''{line}'''\nidle = {idle}\n{own}{more}")
    node.await_route(domain)
    return domain


def websocket(node: Node, domain: str, path: str = "/", **options: Any) -> ClientConnection:
    link = socket.create_connection(("127.0.0.1", node.port), timeout=20)
    return connect(f"ws://{domain}{path}", sock=link, proxy=None, **options)


def wake(node: Node, domain: str, path: str = "/", body: bytes | None = None) -> str:
    answer = node.get(domain, path, method="GET" if body is None else "POST", body=body, timeout=60)
    assert answer.status == 200, (node.show(domain)["problems"], node.log(domain, "error"))
    return answer.text


@pytest.mark.timeout(240)  # with the making of the virtualenv
@pytest.mark.parametrize("name", SERVERS)
def test_wakes_sleeps_and_wakes(node: Node, servers: str, name: str) -> None:
    domain = command(node, f"{name}.test", SERVERS[name], servers)
    body = os.urandom(5_000_000)
    for _ in range(2):
        told = json.loads(wake(node, domain, body=body))
        assert told["sum"] == hashlib.sha256(body).hexdigest()
        assert told["url"] == f"http://{domain}/"
        assert told["headers"]["X-Forwarded-For"] == told["headers"]["X-Real-Ip"] == "127.0.0.1"
        node.await_state(domain, "asleep")
    assert node.show(domain)["wakes"] == 2
    assert not node.show(domain)["problems"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["gunicorn", "hypercorn"])
def test_reloads_lose_nothing(node: Node, servers: str, name: str) -> None:
    domain = command(node, f"{name}-reload.test", SERVERS[name], servers, idle=60)
    file, code = ("wsgi", WSGI) if name == "gunicorn" else ("asgi", ASGI)
    wake(node, domain)
    with Load(node, domain, threads=2) as load:
        for version in (
            "1",
            "10",
            "100",
        ):  # of other lengths, for within a second Python looks at nothing else
            node.put(TENANT, f"{HOME}/{file}.py", code.replace("VERSION", version))
            node.cli("site", "reload", domain)
            assert json.loads(node.get(domain).text)["version"] == version
    assert not load.failures


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("name", "code"), [("hypercorn", 1011), ("daphne", None)])
def test_websockets_stay_open_and_are_ended_as_the_server_does_it(
    node: Node, servers: str, name: str, code: int | None
) -> None:
    """Told to end, Hypercorn closes them after three seconds, Daphne drops them."""
    domain = command(node, f"{name}-socket.test", SERVERS[name], servers)
    with websocket(node, domain) as visitor:
        for size in (1, 100_000):
            visitor.send("x" * size)
            assert len(visitor.recv(timeout=10)) == size
        time.sleep(2.5)
        assert node.state(domain) == "serving"
        node.cli("site", "reload", domain)
        with pytest.raises(ConnectionClosed) as closed:
            visitor.recv(timeout=15)
    assert (closed.value.rcvd and closed.value.rcvd.code) == code
    node.await_state(domain, "asleep")


STREAMLIT = """
import pandas, streamlit
streamlit.title("A real app")
streamlit.dataframe(pandas.DataFrame({"column": [1, 2]}))
file = streamlit.file_uploader("A file")
streamlit.write("that is all")
"""
RERUN = b"\x5a\x00"  # BackMsg of Streamlit's protocol: rerun_script, with no state


@pytest.fixture(scope="module")
def streamlit(node: Node) -> str:
    path = environment(node, "streamlit")
    node.put(TENANT, f"{HOME}/streamlit_app.py", STREAMLIT)
    return path


@pytest.mark.timeout(360)
def test_streamlit(node: Node, streamlit: str) -> None:
    line = "streamlit run streamlit_app.py --server.port $PORT --server.address 127.0.0.1"
    domain = command(node, "streamlit.test", line, streamlit, idle=2, more="[limits]\nbody = '20M'\n")
    assert wake(node, domain, "/_stcore/health") == "ok"
    assert "<title>Streamlit</title>" in wake(node, domain)
    node.await_state(domain, "asleep")
    origin = f"http://{domain}"
    options = {"origin": origin, "subprotocols": ["streamlit"], "open_timeout": 30, "max_size": None}
    with websocket(node, domain, "/_stcore/stream", **options) as visitor:  # which wakes it
        visitor.send(RERUN)
        said = b""
        while b"that is all" not in said:
            said += visitor.recv(timeout=60, decode=False)
        assert b"A real app" in said
        assert _upload(node, domain, said, os.urandom(5_000_000))
        time.sleep(4)
        assert node.state(domain) == "serving"  # though nothing is said
    node.await_state(domain, "asleep")
    assert wake(node, domain, "/_stcore/health") == "ok"
    assert not node.show(domain)["problems"]


def _upload(node: Node, domain: str, said: bytes, content: bytes) -> bool:
    """Upload a file as the page does, for the session that is one of the names in what was said."""
    token = node.get(domain, "/_stcore/health").headers["Set-Cookie"].partition(";")[0]
    headers = {
        "Cookie": token,
        "X-Xsrftoken": token.partition("=")[2],
        "Content-Type": "multipart/form-data; boundary=border",
    }
    part = (
        b'--border\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%s\r\n--border--\r\n'
    )
    names = {found[0].decode() for found in re.finditer(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", said)}
    paths = [f"/_stcore/upload_file/{name}/1" for name in names]
    answers = [
        node.get(domain, path, method="PUT", body=part % content, headers=headers).status for path in paths
    ]
    return answers.count(204) == 1


PACKAGE = '{"name": "web", "version": "1.0.0", "scripts": {"start": "node server.js"}}'
NODE_SERVER = """
let events
const server = require('http').createServer((request, response) => {
  if (request.url === '/events') {
    response.setHeader('Content-Type', 'text/event-stream')
    response.write('data: 1\\n\\n')
    events = response
    return
  }
  let length = 0
  request.on('data', part => { length += part.length })
  request.on('end', () => response.end(String(length)))
})
server.listen(process.env.PORT)
process.on('SIGTERM', () => {
  if (events) events.end('data: farewell\\n\\n')
  server.close(() => process.exit(0))
})
"""


@pytest.mark.skipif(not shutil.which("npm"), reason="there is no npm on this machine")
@pytest.mark.parametrize("line", ["npm start", "cd ~/web; npm start; echo 'never reached'"])
def test_npm_start(node: Node, line: str) -> None:
    """A program behind two others: the word that it is to end reaches it, and its last words the visitors."""
    node.tenant(TENANT)
    node.put(TENANT, f"{HOME}/web/package.json", PACKAGE)
    node.put(TENANT, f"{HOME}/web/server.js", NODE_SERVER)
    domain = command(node, "npm.test", line, idle=1, more=f'directory = "{HOME}/web"\n')
    for _ in range(2):
        assert wake(node, domain, body=b"x" * 3_000_000) == "3000000"
        node.await_state(domain, "asleep")
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as visitor:
        visitor.sendall(b"GET /events HTTP/1.1\r\nHost: npm.test\r\nConnection: close\r\n\r\n")
        said = visitor.recv(65536)
        node.cli("site", "reload", domain)
        while piece := visitor.recv(65536):
            said += piece
    assert b"data: 1" in said
    assert b"data: farewell" in said
    node.await_state(domain, "asleep")
    await_true(lambda: not _runs(node, b"server.js"), 10)


def _runs(node: Node, part: bytes) -> bool:
    return any(
        part in Path(f"/proc/{pid}/cmdline").read_bytes()
        for pid in node.pids()
        if Path(f"/proc/{pid}/cmdline").exists()
    )
