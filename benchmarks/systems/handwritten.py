"""What one has without any manager of sites: a server block and a uWSGI for each, written by hand."""

from __future__ import annotations

import signal
import subprocess
from typing import ClassVar

from benchmarks.systems import nginx
from benchmarks.systems.base import PEOPLE, PROCESSES, PYTHON, THREADS, App, Unavailable

UWSGI = PYTHON.parent / "pyuwsgi"  # the same build that Innkeeper's workers are


class Handwritten(nginx.ByHand):
    """One uWSGI with a master for each site, all started up-front: the floor for requests to sites that are awake."""

    name = "nginx + uWSGI, by hand"
    most_sites = 300  # each holds about 25 MB from its start on
    passing: ClassVar[str] = nginx.UWSGI

    def launch(self, app: App) -> subprocess.Popen[bytes]:
        file = self.place / f"{app.name}.ini"
        file.write_text(settings(app, f"socket = {self.socket_of(app)}", f"chown-socket = {PEOPLE}:{PEOPLE}"))
        return self.run(program(), "--ini", str(file), ready=lambda: True, env=nginx.ENVIRONMENT)

    def reload(self, app: App) -> None:
        self.processes[app].send_signal(signal.SIGHUP)


def program() -> str:
    if not UWSGI.exists():
        raise Unavailable("pyuwsgi")
    return str(UWSGI)


def settings(app: App, *more: str) -> str:
    """A site's file for uWSGI: with a master, as its manual advises, and otherwise like Innkeeper's workers."""
    lines = [
        "[uwsgi]",
        f"chdir = {app.folder}",
        f"module = {app.module}",
        f"callable = {app.callable}",
        "master = true",
        f"processes = {PROCESSES}",
        f"threads = {THREADS}",
        f"uid = {PEOPLE}",
        f"gid = {PEOPLE}",
        f"listen = {nginx.BACKLOG}",
        f"buffer-size = {0xFFFF}",
        "need-app = true",
        "single-interpreter = true",
        "die-on-term = true",
        "disable-logging = true",  # nginx has logged the request
        f"binary-path = {PYTHON}",  # a reload executes this, with pyuwsgi, a script, as its first argument
        *more,
    ]
    return "\n".join(lines) + "\n"
