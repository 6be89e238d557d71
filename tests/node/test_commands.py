"""Commands: any program that listens, woken, held for, drained and put to sleep like every app."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from innkeeper.kernel import firewall
from tests.node.harness import Load, Node, await_true, socket_ports

SERVER = """
import http.server, json, os, socketserver, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(1)
        elif self.path == "/stuck":
            time.sleep(60)
        elif self.path == "/die":
            os._exit(3)
        elif self.path == "/stream":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for number in range(1000):
                self.wfile.write(b"data: %d\\n\\n" % number)
                self.wfile.flush()
                time.sleep(0.1)
            return
        elif self.path == "/big":
            return self.answer(b"x" * 20_000_000)
        self.answer(json.dumps({"pid": os.getpid(), "env": dict(os.environ), "version": VERSION,
                                "headers": dict(self.headers), "cwd": os.getcwd()}).encode())
    def do_POST(self):
        if self.path == "/early":
            return self.answer(b"not wanted")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        chunked = "Transfer-Encoding" in self.headers
        self.answer(json.dumps({"length": len(body), "sum": sum(body), "chunked": chunked}).encode())
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "visitor"

VERSION = "one"
time.sleep(float(os.environ.get("SLOWNESS", "0")))
if "tcp" in sys.argv:
    http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
if "tcp6" in sys.argv:
    class Six(http.server.ThreadingHTTPServer):
        import socket
        address_family = socket.AF_INET6
    Six(("::1", int(os.environ["PORT"])), Handler).serve_forever()
class Local(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 100
Local(os.environ["DOMAIN_SOCKET"], Handler).serve_forever()
"""


def command(node: Node, domain: str, line: str, *, app: str = "", more: str = "", code: str = SERVER) -> str:
    node.tenant("carol")
    node.put("carol", "/home/carol/server.py", code)
    node.site(domain, f"tenant = 'carol'\n[app]\ncommand = '''{line}'''\n{app}\n{more}")
    node.await_route(domain)
    return domain


@pytest.mark.parametrize("how", ["unix", "tcp", "tcp6"])
def test_wakes_sleeps_and_wakes(node: Node, how: str) -> None:
    domain = command(
        node,
        f"{how}-command.test",
        f"python3 ~/server.py {how}",
        app="idle = 1",
        more='[env]\nSLOWNESS = "0.5"',
    )
    body = os.urandom(5_000_000)
    for _ in range(2):  # the body of the request that wakes it is all there
        answer = node.get(domain, method="POST", body=body)
        assert answer.status == 200, (node.show(domain)["problems"], node.log(domain, "error"))
        assert json.loads(answer.text) == {"length": len(body), "sum": sum(body), "chunked": False}
        told = json.loads(node.get(domain).text)
        assert told["env"]["DOMAIN"] == domain
        assert told["env"]["USER"] == "carol"
        assert told["cwd"] == "/home/carol"
        assert told["headers"]["Host"] == domain
        node.await_state(domain, "asleep")
        await_true(lambda pid=told["pid"]: not _is_there(node, "server.py " + how), 5)


def _is_there(node: Node, part: str) -> bool:
    return any(
        part.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        for pid in node.pids()
        if Path(f"/proc/{pid}").exists()
    )


def test_many_wake_it_at_once(node: Node) -> None:
    domain = command(node, "crowd-command.test", "python3 ~/server.py", more='[env]\nSLOWNESS = "0.5"')
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(node.get(domain).status)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 50
    assert node.show(domain)["wakes"] == 1


def test_a_body_without_a_length_arrives_with_one(node: Node) -> None:
    domain = command(node, "chunked-command.test", "python3 ~/server.py")
    data = (
        b"POST / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        % domain.encode()
    )
    answer = node.raw(data + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
    assert json.loads(answer.rpartition(b"\r\n")[2]) == {
        "length": 7,
        "sum": sum(b"abcdefg"),
        "chunked": False,
    }


def test_an_answer_before_the_body_is_read_arrives(node: Node) -> None:
    domain = command(node, "early-command.test", "python3 ~/server.py")
    for _ in range(20):
        answer = node.get(domain, "/early", method="POST", body=b"x" * 3_000_000)
        assert (answer.status, answer.text) == (200, "not wanted")


def test_limits_of_body_and_time(node: Node) -> None:
    domain = command(
        node, "limits-command.test", "python3 ~/server.py", app="timeout = 1", more='[limits]\nbody = "1M"'
    )
    assert node.get(domain, method="POST", body=b"x" * 2_000_000).status == 413
    answer = node.get(domain, "/stuck")
    assert answer.status == 504
    assert answer.seconds < 5
    assert "too-slow" in str(node.show(domain)["problems"])
    assert node.get(domain).status == 200
    assert len(node.get(domain, "/big").body) == 20_000_000
    node.cli("site", "reload", domain)
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as visitor:
        visitor.sendall(f"GET /big HTTP/1.1\r\nHost: {domain}\r\nConnection: close\r\n\r\n".encode())
        got = len(visitor.recv(1000))
        time.sleep(4)  # longer than a request may take
        while piece := visitor.recv(1 << 20):
            got += len(piece)
    assert got > 20_000_000
    assert not node.show(domain)["problems"]


def test_reload_loses_nothing(node: Node) -> None:
    domain = command(node, "reload-command.test", "exec python3 ~/server.py", more='[env]\nSLOWNESS = "0.2"')
    assert node.get(domain).status == 200
    with Load(node, domain, threads=4) as load:
        slow: list[int] = []
        for number in range(5):
            asking = threading.Thread(target=lambda: slow.append(node.get(domain, "/slow").status))
            asking.start()
            time.sleep(0.2)
            code = SERVER.replace('"one"', f'"version {number}"')
            node.put("carol", "/home/carol/server.py", code)
            assert node.cli("site", "reload", domain).returncode == 0
            assert json.loads(node.get(domain).text)["version"] == f"version {number}"
            asking.join()
    assert not load.failures
    assert slow == [200] * 5


def test_a_command_that_does_not_listen_is_told_of(node: Node) -> None:
    domain = command(node, "ends-command.test", "echo out; echo trouble >&2; exit 7")
    assert node.get(domain).status == 500
    (problem,) = node.show(domain)["problems"]
    assert "exit status 7" in problem["message"]
    assert "$DOMAIN_SOCKET" in problem["hint"]
    await_true(lambda: "trouble" in node.log(domain, "error") and "out" in node.log(domain, "server"), 5)


def test_a_failing_new_version_leaves_the_old_one_serving(node: Node) -> None:
    domain = command(node, "roll-command.test", "python3 ~/server.py")
    assert node.get(domain).status == 200
    node.put("carol", "/home/carol/server.py", "raise SystemExit('no')")
    reloaded = node.cli("site", "reload", domain, check=False)
    assert "exit status 1" in reloaded.stdout
    assert node.get(domain).status == 200


def test_a_crash_is_told_of_and_the_next_request_wakes_it(node: Node) -> None:
    domain = command(node, "crash-command.test", "python3 ~/server.py")
    first = json.loads(node.get(domain).text)["pid"]
    assert node.get(domain, "/die").status == 502
    await_true(lambda: node.show(domain)["problems"], 5)
    answer = node.get(domain)
    assert answer.status == 200
    assert json.loads(answer.text)["pid"]
    assert first
    assert "the command has ended: exit status 3" in node.log(domain, "server") + node.log(domain, "error")


def test_a_stream_keeps_it_awake_and_ends_with_it(node: Node) -> None:
    domain = command(node, "stream-command.test", "python3 ~/server.py", app="idle = 1\nlongest = 3")
    with socket.create_connection(("127.0.0.1", node.port), timeout=20) as visitor:
        visitor.sendall(b"GET /stream HTTP/1.1\r\nHost: %s\r\n\r\n" % domain.encode())
        began = time.monotonic()
        received = b""
        while piece := visitor.recv(65536):
            received += piece
            if b"0\r\n\r\n" in piece and time.monotonic() - began > 2:
                break
        assert 2.5 < time.monotonic() - began < 8
    assert received.count(b"data:") > 15


WEBSOCKETS = """
import asyncio, os, signal
from websockets.asyncio.server import unix_serve

async def echo(socket):
    async for message in socket:
        await socket.send(message)

async def main():
    async with unix_serve(echo, os.environ["DOMAIN_SOCKET"]) as server:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
        await server.wait_closed()

asyncio.run(main())
"""


def test_websockets(node: Node) -> None:
    domain = command(node, "ws-command.test", "exec python ~/ws.py", app="idle = 1")
    node.put("carol", "/home/carol/ws.py", WEBSOCKETS)
    with connect(
        f"ws://{domain}/", sock=socket.create_connection(("127.0.0.1", node.port)), max_size=None
    ) as visitor:
        for size in (1, 100, 70_000, 1_000_000):
            visitor.send(b"x" * size)
            assert len(visitor.recv(timeout=10)) == size
        time.sleep(2.5)
        assert node.state(domain) == "serving"  # though nothing was said
        node.cli("site", "reload", domain)
        with pytest.raises(ConnectionClosed) as closed:
            visitor.recv(timeout=15)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001  # as this server says it
    node.await_state(domain, "asleep")


def test_another_tenant_does_not_reach_the_port(node: Node) -> None:
    domain = command(node, "private-command.test", "python3 ~/server.py tcp")
    port = int(json.loads(node.get(domain).text)["env"]["PORT"])
    look = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3); print('REACHED')"
    node.tenant("mallory")
    stranger = node.cli("tenant", "run", "mallory", "--", "python3", "-c", look, check=False)
    assert "REACHED" not in stranger.stdout
    assert "refused" in stranger.stderr
    owner = node.cli("tenant", "run", "carol", "--", "python3", "-c", look)
    assert "REACHED" in owner.stdout, owner.stderr
    node.remove(domain)
    await_true(lambda: node.get(domain).status == 404, 10)
    await_true(
        lambda: (
            "refused" in node.cli("tenant", "run", "carol", "--", "python3", "-c", look, check=False).stderr
        ),
        10,
    )


@pytest.fixture
def outside() -> Iterator[tuple[str, str]]:
    """Another host, in a network namespace: its name, and this machine's address as it sees it."""
    if not shutil.which("ip"):
        pytest.skip("ip (of iproute2) is not installed")
    name, link = f"ik{os.getpid()}", f"ikv{os.getpid()}"
    lines = (
        f"netns add {name}",
        f"link add {link} type veth peer name outside netns {name}",
        f"addr add 192.0.2.9/30 dev {link}",
        f"link set {link} up",
        f"-n {name} addr add 192.0.2.10/30 dev outside",
        f"-n {name} link set outside up",
    )
    try:
        for line in lines:
            subprocess.run(["ip", *line.split()], check=True)
        yield name, "192.0.2.9"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_nobody_outside_reaches_a_port_that_is_bound_to_all_addresses(
    node: Node, outside: tuple[str, str]
) -> None:
    domain = command(node, "wide-command.test", "exec python3 -m http.server --bind 0.0.0.0 $PORT")
    assert node.get(domain).status == 200
    port = max(socket_ports(node.show(domain)["pid"]))
    host, address = outside
    look = (
        "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); print('REACHED')"
    )

    def reached(at: int) -> str:
        asked = ["ip", "netns", "exec", host, "python3", "-c", look, address, str(at)]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    with socket.socket() as service:  # the other host does reach this one
        service.bind(("0.0.0.0", 0))
        service.listen()
        assert "REACHED" in reached(service.getsockname()[1])
    assert "refused" in reached(port)
    assert node.get(domain).status == 200


def test_a_stranger_at_the_port_is_not_taken_for_the_command(node: Node) -> None:
    """Whoever listens first on the port that a site is about to get gains nothing by it."""
    domain = command(node, "squat-command.test", "python3 ~/server.py tcp")
    port = int(json.loads(node.get(domain).text)["env"]["PORT"])
    squat = (
        "import socket, time\n"
        f"for port in range({port + 1}, {port + 30}):\n"
        "    s = socket.socket(); s.bind(('127.0.0.1', port)); s.listen(); globals()[f's{port}'] = s\n"
        "print('listening', flush=True); time.sleep(20)"
    )
    node.tenant("mallory")
    with subprocess.Popen(
        node.command("tenant", "run", "mallory", "--", "python3", "-c", squat), stdout=subprocess.PIPE
    ) as squatter:
        assert squatter.stdout is not None
        squatter.stdout.readline()
        for _ in range(3):
            node.cli("site", "reload", domain)
            time.sleep(0.3)
            answer = node.get(domain)
            assert answer.status == 200
        squatter.send_signal(signal.SIGTERM)


NODE_SERVER = """
const http = require('http')
http.createServer((request, response) => {
  const parts = []
  request.on('data', part => parts.push(part))
  request.on('end', () => {
    const body = Buffer.concat(parts)
    response.end(JSON.stringify({ length: body.length, node: process.version }))
  })
}).listen(process.env.DOMAIN_SOCKET)
process.on('SIGTERM', () => process.exit(0))
"""


@pytest.mark.skipif(not shutil.which("node"), reason="there is no Node.js on this machine")
def test_a_node_server(node: Node) -> None:
    domain = command(node, "node-command.test", "exec node ~/server.js", app="idle = 1")
    node.put("carol", "/home/carol/server.js", NODE_SERVER)
    for _ in range(2):
        answer = node.get(domain, method="POST", body=b"x" * 2_000_000)
        assert json.loads(answer.text)["length"] == 2_000_000
        node.await_state(domain, "asleep")


def test_supervisor_killed_while_a_command_serves(node: Node) -> None:
    domain = command(node, "adopted-command.test", "python3 ~/server.py tcp", app="idle = 2")
    pid = json.loads(node.get(domain).text)["pid"]
    before = node.status()["supervisor_pid"]
    os.kill(before, signal.SIGKILL)
    await_true(lambda: node.status()["supervisor_pid"] != before, 15)
    assert json.loads(node.get(domain).text)["pid"] == pid
    node.await_state(domain, "asleep")
    assert json.loads(node.get(domain).text)["pid"]


def test_a_port_is_closed_whose_command_ended_while_no_supervisor_was_there(node: Node) -> None:
    domain = command(node, "orphaned-command.test", "python3 ~/server.py tcp")
    stays = command(node, "staying-command.test", "python3 ~/server.py tcp")
    port, kept = (int(json.loads(node.get(each).text)["env"]["PORT"]) for each in (domain, stays))

    def granted(to: int) -> bool:
        nft = [str(firewall.program()), "list", "table", "inet", node.layout.table]
        pair, told = f"{node.uid('carol')} . {to}", subprocess.check_output(nft, text=True)
        return pair in told

    await_true(lambda: granted(port) and granted(kept), 5)
    before = node.status()["supervisor_pid"]
    worker = node.show(domain)["pid"]
    os.kill(before, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    os.kill(before, signal.SIGKILL)
    await_true(lambda: node.status()["supervisor_pid"] != before, 15)
    assert not granted(port)
    assert granted(kept)
    for each in (domain, stays):
        assert node.get(each).status == 200
