"""uWSGI's Emperor behind one wildcard server: a vassal file for each site, started up-front or by a request."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.systems import handwritten, nginx
from benchmarks.systems.base import App
from innkeeper.kernel import libc, processes
from tests.node.harness import await_true, descendants

_WILDCARD = r"~^(?<name>[a-z0-9-]+)\.localhost$"
_SPARE_FILES = 1024  # beside a socket and a link for each site
_IDLE = 900  # seconds, as long as Innkeeper's sites stay awake by default
_PIDFD_GETFD = 438
_LINK = b"UWSGI_EMPEROR_FD="
_IS_IDLE = bytes([22])  # what a vassal's master says to the Emperor when `idle` seconds have passed


class EmperorUpFront(nginx.BehindNginx):
    """All vassals start with the Emperor."""

    name = "uWSGI Emperor"
    reload_pause = 4.0  # it looks for changes every three seconds
    most_sites = 300  # each holds about 25 MB from its start on
    suffix: ClassVar[str] = "sock"  # of sockets

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self._vassals = place / "vassals"
        self._emperor = 0

    def start(self, sites: Sequence[App]) -> None:
        self.prepare()
        self._vassals.mkdir()
        for app in sites:
            self.add(app)
        files = 2 * len(sites) + _SPARE_FILES  # no more, for each vassal closes all of them one by one
        process = self.run(
            *(handwritten.program(), "--emperor", str(self._vassals), *self.options()),
            *("--binary-path", handwritten.program()),  # what it executes for a vassal
            *("--listen", str(nginx.BACKLOG), "--max-fd", str(files)),
            ready=lambda: True,
            env=nginx.ENVIRONMENT,
        )
        self._emperor = process.pid
        self.write_server(
            "all",
            _WILDCARD,
            folder=str(self.folder_of("$name")),
            log=str(self.logs / "$name.log"),
            passing=nginx.UWSGI,
            socket=str(self.sockets / f"$name.{self.suffix}"),
        )
        self.start_nginx()
        self.wait_for(sites)

    def options(self) -> tuple[str, ...]:
        """What the Emperor is told beside its folder."""
        return ()

    def vassal(self, app: App) -> str:
        """A site's file."""
        return handwritten.settings(app, f"socket = {self.sockets / app.name}.{self.suffix}")

    def add(self, app: App) -> None:
        beside = self._vassals / f"{app.name}.new"  # a name that the Emperor passes over
        beside.write_text(self.vassal(app))
        beside.rename(self._file_of(app))

    def reload(self, app: App) -> None:
        file = self._file_of(app)
        later = max(time.time(), int(file.stat().st_mtime) + 1)  # it compares whole seconds
        os.utime(file, (later, later))

    def workers(self) -> set[int]:
        return descendants(self._emperor) - {self._emperor}

    def _masters(self) -> list[int]:
        return processes.children_of(self._emperor)

    def _file_of(self, app: App) -> Path:
        return self._vassals / f"{app.name}.ini"


class EmperorOnDemand(EmperorUpFront):
    """The Emperor listens at all sockets; a vassal, which may name none itself, gets its own as descriptor 0."""

    name = "uWSGI Emperor, on demand"
    wakes = True
    most_sites = 8_000  # each turn of the Emperor's loop compares every file with every vassal
    suffix: ClassVar[str] = "socket"  # the Emperor's own choice

    def options(self) -> tuple[str, ...]:
        return ("--emperor-on-demand-directory", str(self.sockets))

    def vassal(self, app: App) -> str:
        return handwritten.settings(app, f"idle = {_IDLE}", "die-on-idle = true")

    def takes(self, app: App) -> bool:
        return (self.sockets / f"{app.name}.{self.suffix}").exists()

    def sleep(self) -> None:
        """Tell the Emperor of each vassal what its own master says when it has been idle for long.

        Only then does the Emperor keep the socket with all who wait at it, and listen there again. A vassal that a
        signal has ended counts as crashed: its socket is replaced, and who waits at the old one gets no answer.
        """
        for master in self._masters():
            with contextlib.suppress(ProcessLookupError):
                _say_idle(master)
        await_true(self._has_buried_all, nginx.LIMIT, step=0.02)

    def _has_buried_all(self) -> bool:
        os.kill(self._emperor, signal.SIGWINCH)  # it looks at once, and not within 3 seconds
        return not self._masters()


def _say_idle(master: int) -> None:
    """Write to the Emperor, at the vassal's own end of their pair of sockets."""
    variables = Path(f"/proc/{master}/environ").read_bytes().split(b"\0")
    number = next(int(each[len(_LINK) :]) for each in variables if each.startswith(_LINK))
    process = os.pidfd_open(master)
    try:
        link = libc.call("syscall", _PIDFD_GETFD, process, number, 0)
        os.write(link, _IS_IDLE)
        os.close(link)
    finally:
        os.close(process)
