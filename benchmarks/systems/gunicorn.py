"""gunicorn behind nginx, started by its socket as systemd does it; and HTTP servers asked without any front."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.systems import nginx
from benchmarks.systems.base import PACKAGES, PEOPLE, PROCESSES, PYTHON, THREADS, App, System, Unavailable

_AS_PEOPLE: dict[str, Any] = {"user": PEOPLE, "group": PEOPLE, "extra_groups": []}
_ENVIRONMENT = {**nginx.ENVIRONMENT, "PYTHONPATH": str(PACKAGES)}
_LISTENS = 0x10000  # a flag in /proc/net/unix


class SocketActivated(nginx.ByHand):
    """Each site's socket is held by a process that becomes gunicorn at the first connection.

    With .socket units systemd holds them all, and listens to a socket again when its gunicorn has ended.
    """

    name = "nginx + socket-activated gunicorn"
    wakes = True
    most_sites = 1_000  # a process for each, even asleep
    passing: ClassVar[str] = nginx.HTTP

    def launch(self, app: App) -> subprocess.Popen[bytes]:
        holder = shutil.which("systemd-socket-activate")
        if holder is None:
            raise Unavailable("systemd")
        variables = (word for name, value in _ENVIRONMENT.items() for word in ("-E", f"{name}={value}"))
        return self.run(
            *(holder, "--listen", str(self.socket_of(app)), *variables, *_gunicorn(app)),
            ready=lambda: True,
            env=nginx.ENVIRONMENT,
            cwd=app.folder,
            **_AS_PEOPLE,
        )

    def takes(self, app: App) -> bool:
        return str(self.socket_of(app)) in _listening()

    def reload(self, app: App) -> None:
        process = self.processes[app]
        if _is_awake(process):  # else there is nothing to reload, and the signal would end the holder
            process.send_signal(signal.SIGHUP)

    def sleep(self) -> None:
        """End each gunicorn, and have its socket held again: another one at the same path, as nobody asks meanwhile.

        Neither gunicorn nor systemd does so by itself when a site is not used.
        """
        awake = {app: process for app, process in self.processes.items() if _is_awake(process)}
        for process in awake.values():
            process.send_signal(signal.SIGTERM)
        for app, process in awake.items():
            process.wait()
            self._processes.remove(process)
            self.processes[app] = self.launch(app)
        self.wait_for(awake)


class _Bare(System):
    """One process with one site, asked at its own port."""

    serves_static = False
    most_sites = 1

    def command(self, app: App) -> list[str]:
        raise NotImplementedError

    def start(self, sites: Sequence[App]) -> None:
        app = sites[0]
        options = {"env": _ENVIRONMENT, "cwd": app.folder, **_AS_PEOPLE}
        self.run(*self.command(app), ready=lambda: self.answers(app), **options)

    def give(self, path: Path) -> None:
        super().give(path)
        nginx.give_to_people(path)

    def add(self, app: App) -> None:
        raise Unavailable("it has one site")


class GunicornBare(_Bare):
    """gunicorn as it is behind nginx, at a port of its own."""

    name = "gunicorn, bare"

    def command(self, app: App) -> list[str]:
        return _gunicorn(app, "--bind", f"127.0.0.1:{self.port}")

    def reload(self, app: App) -> None:
        self._processes[0].send_signal(signal.SIGHUP)

    def workers(self) -> set[int]:
        return self.pids()


class UvicornBare(_Bare):
    """One process without a supervisor, with the event loop and the parser that the runtime has."""

    name = "uvicorn, bare"
    kinds = ("FastAPI",)

    def command(self, app: App) -> list[str]:
        return [
            *(str(PYTHON), "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--no-access-log", "--log-level", "warning", app.entry),
        ]

    def reload(self, app: App) -> None:
        """It has no way but to end and to begin anew."""
        self.stop()
        self.start([app])

    def workers(self) -> set[int]:
        return self.pids()


def _gunicorn(app: App, *more: str) -> list[str]:
    """Without its control socket, whose path all that run as one user would share."""
    if not (PACKAGES / "gunicorn").is_dir():
        raise Unavailable("gunicorn")
    return [
        *(str(PYTHON), "-m", "gunicorn", "--workers", str(PROCESSES)),
        *("--worker-class", "gthread", "--threads", str(THREADS)),
        *("--no-control-socket", *more, app.entry),
    ]


def _is_awake(process: subprocess.Popen[bytes]) -> bool:
    """Whether the holder of a socket has become gunicorn."""
    return Path(f"/proc/{process.pid}/exe").resolve() == PYTHON.resolve()


def _listening() -> set[str]:
    """The paths of Unix sockets that somebody listens at."""
    rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return {row[7] for row in rows if len(row) > 7 and int(row[3], 16) & _LISTENS}
