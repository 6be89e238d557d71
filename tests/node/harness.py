"""A whole node for tests: real nginx, real workers, at a root and port of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from innkeeper.kernel import processes
from innkeeper.spec.node import Layout

START_LIMIT = 40.0
_HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""
PLAIN = """
import os, sys
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{answer}"]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Answer:
    """One HTTP answer, and how long its first byte took (seconds)."""

    status: int
    body: bytes
    headers: http.client.HTTPMessage
    seconds: float

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


class Node:
    """`innkeeper up` at a root of its own; `close` ends it and deletes the root."""

    def __init__(
        self,
        root: Path | None = None,
        *,
        settings: str = "",
        prefix: tuple[str, ...] = (),
        listener: socket.socket | None = None,
    ) -> None:
        # Not pytest's tmp_path: nginx's user has to get through, and socket paths are short.
        self.root = root or Path(tempfile.mkdtemp(prefix="ik", dir="/tmp"))
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o755)
        self.layout = Layout(self.root)
        self.listener = listener  # handed over as systemd does it, in place of --http
        self.port = listener.getsockname()[1] if listener else free_port()
        self.prefix = prefix
        self.process: subprocess.Popen[bytes] | None = None
        self.words = self.root / "node.log"
        if "hibernate" not in settings:  # else what is tested would depend on the machine's swap space
            settings = f"hibernate = false\n{settings}"
        self.layout.etc.mkdir(parents=True, exist_ok=True)
        self.layout.settings_file.write_text(settings)

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> float:
        """Start it; returns the seconds until it was ready."""
        began = time.monotonic()
        with self.words.open("ab") as words:
            self.process = subprocess.Popen(
                [*self.prefix, *self._up()],
                stdout=subprocess.PIPE,
                stderr=words,
                stdin=subprocess.DEVNULL,
                pass_fds=(self.listener.fileno(),) if self.listener else (),
            )
        assert self.process.stdout is not None
        lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=_read_lines, args=(self.process.stdout, lines), daemon=True)
        self._reader.start()
        while True:
            with contextlib.suppress(queue.Empty):
                line = lines.get(timeout=max(0.01, began + START_LIMIT - time.monotonic()))
                if line == b"innkeeper: ready\n":
                    return time.monotonic() - began
                assert line, f"the node ended: {self.words.read_text()}"
            assert time.monotonic() - began < START_LIMIT, f"not ready: {self.words.read_text()}"

    def _up(self) -> list[str]:
        if self.listener is None:
            return self.command("up", "--http", f"127.0.0.1:{self.port}")
        return [sys.executable, "-c", _HAND_OVER, str(self.listener.fileno()), *self.command("up")]

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end, which something else has caused; the exit status."""
        assert self.process is not None
        assert self.process.stdout is not None
        status = self.process.wait(timeout=30)
        self._reader.join()
        self.process.stdout.close()
        self.process = None
        return status

    def close(self) -> None:
        if self.process is not None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                _kill_tree(self.process.pid)
        for path in self.layout.tenants_data.glob("*/*"):  # nothing of a test's is mounted here
            assert not os.path.ismount(path)
        shutil.rmtree(self.root, ignore_errors=True)

    # ── what is asked of it ──────────────────────────────────────────────────────────────────────────────

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "innkeeper", "--root", str(self.root), *arguments]

    def cli(
        self, *arguments: str, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cli("status", "--json").stdout)
        return found

    def show(self, domain: str) -> dict[str, Any]:
        """One site of the status."""
        return next(site for site in self.status()["sites"] if site["domain"] == domain)

    def state(self, domain: str) -> str:
        return str(self.show(domain)["state"])

    def await_state(self, domain: str, *states: str, limit: float = 15.0) -> dict[str, Any]:
        """Wait until the site is in one of the states."""
        return await_true(lambda: (found := self.show(domain))["state"] in states and found, limit)

    # ── what is put into it ──────────────────────────────────────────────────────────────────────────────

    def tenant(self, name: str) -> str:
        if not self.layout.tenant_file(name).exists():
            self.cli("tenant", "add", name)
        return name

    def uid(self, tenant: str) -> int:
        return self.layout.tenant_home(tenant).stat().st_uid

    def put(self, tenant: str, path: str, content: str | bytes) -> Path:
        """Write a file as the tenant names it, owned by the tenant."""
        target = self.layout.on_host(tenant, path)
        uid = self.uid(tenant)
        for parent in reversed(target.relative_to(self.layout.tenant_data(tenant)).parents):
            directory = self.layout.tenant_data(tenant) / parent
            if not directory.exists():
                directory.mkdir(mode=0o755)
                os.chown(directory, uid, uid)
        beside = target.with_name(target.name + "~")
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.chown(beside, uid, uid)
        beside.rename(target)
        return target

    def site(self, domain: str, text: str) -> None:
        path = self.layout.site_file(domain)
        beside = path.with_name(f".{path.name}")
        beside.write_text(text)
        beside.rename(path)

    def app(
        self,
        domain: str,
        code: str = "",
        *,
        tenant: str = "alice",
        app: str = "",
        more: str = "",
        answer: str = "hello",
        kind: str = "wsgi",
    ) -> None:
        """A site with a WSGI (or ASGI) file; returns when it is served."""
        self.tenant(tenant)
        entry = f"/var/www/{domain.replace('.', '_')}.py"
        self.put(tenant, entry, code or PLAIN.replace("{answer}", answer))
        self.site(domain, f'tenant = "{tenant}"\n[app]\n{kind} = "{entry}"\n{app}\n{more}')
        self.await_route(domain)

    def touch(self, domain: str, code: str, *, tenant: str = "alice") -> None:
        """Put other code in the place of an app's."""
        self.put(tenant, f"/var/www/{domain.replace('.', '_')}.py", code)

    def remove(self, domain: str) -> None:
        self.layout.site_file(domain).unlink()

    def await_gone(self) -> None:
        """Wait until no site is left, nor any tenant's process."""
        await_true(
            lambda: not (told := self.status())["sites"] and not any(t["tasks"] for t in told["tenants"]), 60
        )

    def await_route(self, domain: str) -> None:
        await_true(lambda: any((self.layout.route(domain) / name).exists() for name in ("up", "locked")), 10)

    def log(self, domain: str, kind: str) -> str:
        path = self.layout.log_dir(domain) / f"{kind}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────

    def get(
        self,
        domain: str,
        path: str = "/",
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        began = time.monotonic()
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", domain)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            seconds = time.monotonic() - began
            return Answer(response.status, response.read(), response.headers, seconds)
        finally:
            connection.close()

    def raw(self, data: bytes, *, timeout: float = 10.0) -> bytes:
        """Bytes sent as they are; all that comes back until the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(data)
            parts = []
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65536):
                    parts.append(part)
        return b"".join(parts)

    # ── its processes ────────────────────────────────────────────────────────────────────────────────────

    def pids(self) -> set[int]:
        """All processes of the node, its keeper included."""
        assert self.process is not None
        return descendants(self.process.pid)

    def nginx_workers(self) -> set[int]:
        return {pid for pid in self.pids() if b"nginx: worker" in command_line(pid)}


def _read_lines(stream: Any, lines: queue.Queue[bytes]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(b"")


def descendants(pid: int) -> set[int]:
    found, queued = {pid}, [pid]
    while queued:
        for child in processes.children_of(queued.pop()):
            if child not in found:
                found.add(child)
                queued.append(child)
    return found


def socket_ports(pid: int) -> set[int]:
    """The TCP ports that the processes of a sandbox listen on, and their UDP ports."""
    ports = {}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            row = line.split()
            if row[3] == "0A" or table.startswith("udp"):
                ports[row[9]] = int(row[1].partition(":")[2], 16)
    found = set()
    for each in descendants(pid):
        for name in os.listdir(f"/proc/{each}/fd"):
            target = os.readlink(f"/proc/{each}/fd/{name}")
            found |= {ports[target[8:-1]]} if target[8:-1] in ports else set()
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _kill_tree(pid: int) -> None:
    for one in descendants(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def await_true(condition: Callable[[], Any], limit: float, step: float = 0.01) -> Any:
    """The first true value of `condition`; fails when there is none within `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"not within {limit} seconds"
        time.sleep(step)


class Load:
    """Requests to one site by some threads, each on a connection of its own, until stopped; failures are kept."""

    def __init__(self, node: Node, domain: str, *, threads: int = 4, path: str = "/") -> None:
        self.answers = 0
        self.bodies: dict[bytes, int] = {}
        self.failures: list[str] = []
        self._node, self._domain, self._path = node, domain, path
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._ended.is_set():
            try:
                answer = self._node.get(self._domain, self._path)
                failure = "" if answer.status == 200 else f"{answer.status} {answer.text[:200]}"
            except (OSError, http.client.HTTPException) as error:
                failure, answer = repr(error), None
            with self._lock:
                self.answers += 1
                if failure:
                    self.failures.append(failure)
                elif answer is not None:
                    self.bodies[answer.body] = self.bodies.get(answer.body, 0) + 1


@contextlib.contextmanager
def running(**options: Any) -> Iterator[Node]:
    node = Node(**options)
    try:
        node.start()
        yield node
    finally:
        node.close()
