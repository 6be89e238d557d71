"""What all systems under measure have in common: sites with the same apps, asked by name at one port."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import apps
from tests.node.harness import descendants, free_port

PROCESSES, THREADS = 1, 4  # of each site, in every system that lets one choose
PEOPLE = "www-data"  # the user that apps of the peers run as: one for all, where Innkeeper has one for each
PYTHON = next(iter(sorted(Path(sys.prefix, "runtimes").iterdir()))) / "bin/python"  # the same for all systems
PACKAGES = Path(sys.prefix, "bench")  # what peers need beside the runtime's packages: a folder for sys.path
_START_LIMIT = 60.0  # seconds


@dataclass(frozen=True)
class App:
    """One site's app: `entry` is "module:callable" in `folder`, whose `static/` is served below /static/."""

    name: str
    kind: str
    folder: Path
    entry: str

    @property
    def host(self) -> str:
        return f"{self.name}.localhost"

    @property
    def module(self) -> str:
        return self.entry.partition(":")[0]

    @property
    def callable(self) -> str:
        return self.entry.partition(":")[2]


class Unavailable(Exception):
    """The system can't be measured here; the text says why."""


class System:
    """One system: started with some sites, asked at `port` by Host, stopped. A subclass says how."""

    name: ClassVar[str]
    wakes: ClassVar[bool] = False  # whether a request starts a site's process, and nothing before it does
    kinds: ClassVar[tuple[str, ...]] = ("plain WSGI", "Flask", "Django")
    reload_pause: ClassVar[float] = 1.0  # seconds between two reloads, so that each is noticed
    serves_static: ClassVar[bool] = True
    most_sites: ClassVar[int] = 100_000  # beyond which its own start takes minutes

    def __init__(self, place: Path) -> None:
        """`place`: an empty directory of its own, which all may enter."""
        self.place = place
        self.port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, sites: Sequence[App]) -> None:
        """Serve these sites; returns when it answers. Unavailable where it is not installed."""
        raise NotImplementedError

    def stop(self) -> None:
        """End all of its processes."""
        for process in reversed(self._processes):
            _end(process)
        self._processes.clear()

    def add(self, app: App) -> None:
        """Put one more site there in the way that its manual gives, and return at once."""
        raise NotImplementedError

    def reload(self, app: App) -> None:
        """Have one site load its code anew, as its manual advises."""
        raise NotImplementedError

    def sleep(self) -> None:
        """End the processes of all sites, so that the next request starts one; only where `wakes`."""
        raise NotImplementedError

    def workers(self) -> set[int]:
        """The processes that are there for the apps that are awake, such as a master of each; and nothing else."""
        raise NotImplementedError

    def pids(self) -> set[int]:
        """All of its processes."""
        return {pid for process in self._processes for pid in descendants(process.pid)}

    # ── for all ──────────────────────────────────────────────────────────────────────────────────────────

    def make(self, name: str, kind: str) -> App:
        """Write the app of a site that is to be."""
        folder = self.folder_of(name)
        entry = apps.write(folder, kind, PYTHON)
        for path in (folder, *folder.rglob("*")):
            self.give(path)
        return App(name, kind, folder, entry)

    def folder_of(self, name: str) -> Path:
        """Where a site's app is to lie."""
        return self.place / "apps" / name

    def give(self, path: Path) -> None:
        """Make a file of a site's the site's own."""
        path.chmod(0o755 if path.is_dir() else 0o644)

    def run(self, *command: str, ready: Callable[[], bool], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process of the system's, in the foreground, and wait until it is ready."""
        with (self.place / "words.log").open("ab") as words:
            options = {"stdout": words, "stderr": words, "stdin": subprocess.DEVNULL, **options}
            process = subprocess.Popen(command, **options)
        self._processes.append(process)
        end = time.monotonic() + _START_LIMIT
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                said = (self.place / "words.log").read_text(errors="replace")[-2000:]
                raise SystemExit(f"bench: {self.name} does not start: {said}")
            time.sleep(0.01)
        return process

    def ask(self, app: App, path: str = "/") -> tuple[int, bytes, float]:
        """One request on a connection of its own: status, body, milliseconds to the first byte."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        began = time.perf_counter()
        try:
            connection.request("GET", path, headers={"Host": app.host})
            answer = connection.getresponse()
            elapsed = (time.perf_counter() - began) * 1000
            return answer.status, answer.read(), elapsed
        finally:
            connection.close()

    def answers(self, app: App) -> bool:
        """Whether a site gives what it is to give."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask(app)[0] == 200
        return False


def end_all(pids: Iterable[int]) -> None:
    """End processes that a system of ours has started, at once, and wait until they are gone."""
    left = set(pids)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while left and time.monotonic() < end:
        left = {pid for pid in left if os.path.exists(f"/proc/{pid}")}
        time.sleep(0.005)


def _end(process: subprocess.Popen[bytes]) -> None:
    tree = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    end_all(tree - {process.pid})
