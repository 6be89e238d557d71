"""Packages with machine code, which are known to quarrel with forks and with each other, in one app."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.node.harness import Node, running

pytestmark = pytest.mark.timeout(300)  # packages are installed

PACKAGES = ["psycopg2-binary", "cryptography", "numpy", "pillow", "lxml", "grpcio", "sentry-sdk", "flask"]
MODULES = [
    "psycopg2",
    "cryptography.fernet",
    "numpy",
    "PIL.Image",
    "lxml.etree",
    "grpc",
    "sentry_sdk",
    "flask",
]
APP = """
import concurrent.futures, io, json, os, sys, threading
before = set(sys.modules)
import grpc, numpy, psycopg2, sentry_sdk
from cryptography.fernet import Fernet
from flask import Flask
from lxml import etree
from PIL import Image, ImageDraw

sent = []
sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", transport=lambda event: sent.append(event))
app = Flask(__name__)

def of_psycopg2():
    try:
        psycopg2.connect("host=127.0.0.1 port=1 sslmode=require connect_timeout=2")
    except psycopg2.OperationalError:
        return "refused"

def of_grpc():
    class Echo(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: request.upper())
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), handlers=[Echo()])
    server.add_insecure_port("unix:/tmp/grpc-%d.sock" % os.getpid())
    server.start()
    with grpc.insecure_channel("unix:/tmp/grpc-%d.sock" % os.getpid()) as channel:
        answer = channel.unary_unary("/echo/Echo")(b"hello", timeout=10)
    server.stop(0).wait()
    return answer.decode()

@app.get("/")
def front():
    key = Fernet(Fernet.generate_key())
    picture = Image.new("RGB", (64, 64)); ImageDraw.Draw(picture).line((0, 0, 63, 63), fill=(255, 0, 0))
    file = io.BytesIO(); picture.save(file, "JPEG")
    matrix = numpy.random.rand(300, 300)
    tree = etree.fromstring("<a><b>text</b></a>")
    sentry_sdk.capture_message("told")
    return json.dumps({
        "psycopg2": of_psycopg2(),
        "cryptography": key.decrypt(key.encrypt(b"secret")).decode(),
        "pillow": Image.open(io.BytesIO(file.getvalue())).size,
        "numpy": bool(numpy.allclose(numpy.linalg.inv(matrix) @ matrix, numpy.eye(300))),
        "lxml": tree.xpath("//b/text()"),
        "grpc": of_grpc(),
        "sentry": len(sent) > 0,
        "random": float(numpy.random.rand()),
        "preloaded": [name for name in os.environ["MODULES"].split(",") if name in before],
        "prefix": sys.prefix,
    })
"""
RIGHT = {
    "psycopg2": "refused",
    "cryptography": "secret",
    "pillow": [64, 64],
    "numpy": True,
    "lxml": ["text"],
    "grpc": "HELLO",
    "sentry": True,
}


@pytest.fixture(scope="module")
def heavy() -> Iterator[Node]:
    """A node with all of them in a runtime, which imports them beforehand, and in a virtualenv of alice's."""
    with running(settings="first_uid = 60000\nlast_uid = 60999\n") as node:
        (node.root / "heavy.txt").write_text("\n".join(PACKAGES))
        preload = [part for module in MODULES for part in ("--preload", module)]
        node.cli(
            "runtime", "add", "heavy", "--requirements", str(node.root / "heavy.txt"), *preload, timeout=400
        )
        node.tenant("alice")
        for command in (["-m", "venv", "env"], ["-m", "pip", "-q", "install", *PACKAGES]):
            python = "python3" if "venv" in command else "/home/alice/env/bin/python"
            node.cli("tenant", "run", "alice", "--", python, *command, timeout=400)
        yield node


@pytest.mark.parametrize("ground", ["preloaded", "not preloaded", "own virtualenv"])
def test_they_all_work(heavy: Node, ground: str) -> None:
    domain = f"{ground.replace(' ', '-')}.test"
    more = f'[env]\nMODULES = "{",".join(MODULES)}"\n'
    told = json.loads(heavy.cli("runtime", "show", "heavy", "--json").stdout)
    if ground == "own virtualenv":
        app = 'virtualenv = "/home/alice/env"'
    else:
        app = 'runtime = "heavy"'
        if (
            ground == "not preloaded"
        ):  # what decides about a module that is preloaded keeps a site from sharing it
            more += f'{told["reads"][0]} = "other"\n'
    heavy.app(
        domain, APP.replace("app = Flask", "application = app = Flask"), app=f"{app}\nthreads = 4", more=more
    )
    numbers = set()
    for _ in range(2):
        for _ in range(4):
            answer = heavy.get(domain, timeout=60)
            assert answer.status == 200, heavy.log(domain, "error")
            found = json.loads(answer.body)
            assert {key: found[key] for key in RIGHT} == RIGHT
            numbers.add(found["random"])
        if ground == "preloaded":
            left_out = set(told["left_out"])
            assert set(found["preloaded"]) == set(MODULES) - left_out, told["left_out"]
            assert {"numpy", "PIL.Image", "flask"} <= set(found["preloaded"])
        elif ground == "not preloaded":
            assert found["preloaded"] == []
        else:
            assert found["prefix"] == "/home/alice/env"
        heavy.cli("site", "reload", domain)
        heavy.await_state(domain, "serving")
    assert len(numbers) == 8
