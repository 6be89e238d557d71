"""What an app may rely on when its worker ends: threads, atexit, open files, hooks, tasks."""

from __future__ import annotations

import gzip

import pytest

from tests.node.harness import Node, await_true

COMMON = """
import atexit, concurrent.futures, gzip, threading, time
folder = "/home/alice/NAME"
def write(name, text):
    with open(folder + "/" + name, "w") as file:
        file.write(text)
def late():
    time.sleep(2.5)
    write("thread", "finished")
    packed.write("and threads")
pool = concurrent.futures.ThreadPoolExecutor()
@atexit.register
def farewell():
    write("atexit", "called")
@atexit.register
def broken():
    raise LookupError("nobody is at home")
text = open(folder + "/text", "w")
packed = gzip.open(folder + "/packed.gz", "wt")
def work():
    text.write("kept")
    packed.write("packed ")
    threading.Thread(target=late, daemon=False).start()  # or as who starts it: those of uWSGI are daemons
    pool.submit(lambda: (time.sleep(2), write("pool", "finished")))
"""

WSGI = (
    COMMON
    + """
import uwsgi
def forked():
    write("forked", "called")
    raise OverflowError("the fork is full")
def left():
    write("hook", "called")
    raise SystemExit("the hook leaves")
uwsgi.post_fork_hook, uwsgi.atexit = forked, left
def application(environ, start_response):
    work()
    start_response("200 OK", [])
    return [b"served"]
"""
)

ASGI = (
    COMMON
    + """
import asyncio
async def rest():
    try:
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(0.1)
        write("cancelled", "cleared up")
        raise SystemExit("the task leaves")
tasks = []
async def app(scope, receive, send):
    assert scope["type"] == "http"
    work()
    tasks.append(asyncio.create_task(rest()))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})
"""
)


@pytest.mark.parametrize(
    ("kind", "code", "more", "errors"),
    [
        ("wsgi", WSGI, {"hook": "called", "forked": "called"}, ["the fork is full", "the hook leaves"]),
        ("asgi", ASGI, {"cancelled": "cleared up"}, ["the task leaves"]),
    ],
)
def test_an_app_that_falls_asleep_ends_as_python_does(
    node: Node, kind: str, code: str, more: dict[str, str], errors: list[str]
) -> None:
    domain = f"ending-{kind}.test"
    node.tenant("alice")
    marker = node.put("alice", f"/home/alice/ending-{kind}/marker", "")
    folder = marker.parent
    node.app(domain, code.replace("NAME", f"ending-{kind}"), kind=kind, app="idle = 1")
    assert node.get(domain).text == "served"
    node.await_state(domain, "asleep")
    expected = {"thread": "finished", "pool": "finished", "atexit": "called", "text": "kept", **more}
    await_true(lambda: (folder / "atexit").exists(), 10)
    await_true(lambda: (folder / "text").read_text(), 10)
    assert {name: (folder / name).read_text() for name in expected} == expected
    with gzip.open(folder / "packed.gz", "rt") as packed:
        assert packed.read() == "packed and threads"
    log = node.log(domain, "error")
    assert [text for text in ["LookupError: nobody is at home", *errors] if text not in log] == []
    assert node.get(domain).status == 200


FAILING_SHUTDOWN = """
import atexit, contextlib
from fastapi import FastAPI
folder = "/home/alice/ending-badly/"
atexit.register(lambda: open(folder + "atexit", "w").write("called"))
@contextlib.asynccontextmanager
async def lifespan(app):
    yield
    raise LookupError("the pool has run dry")
app = FastAPI(lifespan=lifespan)
files = []
@app.get("/")
async def index():
    files.extend(open(folder + str(number), "wb", buffering=0) for number in range(4))
    return "served"
"""


def test_an_app_that_fails_at_its_shutdown_is_heard_in_its_log_and_ends_as_others_do(node: Node) -> None:
    domain = "ending-badly.test"
    node.tenant("alice")
    folder = node.put("alice", "/home/alice/ending-badly/marker", "").parent
    node.app(domain, FAILING_SHUTDOWN, kind="asgi", app="idle = 1")
    assert node.get(domain).status == 200
    node.await_state(domain, "asleep")
    await_true(lambda: "LookupError: the pool has run dry" in node.log(domain, "error"), 10)
    assert "/innkeeper/worker/" not in node.log(domain, "error")
    await_true(lambda: (folder / "atexit").exists(), 10)
    assert [(folder / str(number)).read_bytes() for number in range(4)] == [b""] * 4
