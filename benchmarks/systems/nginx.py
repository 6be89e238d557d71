"""nginx as the peers have it in front of them: tuned as Innkeeper's own is, written as an administrator would.

Static files are guarded as those of strangers have to be (`disable_symlinks`); nginx's cache of open files, which
is off unless one asks for it, is left off.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.systems.base import PEOPLE, App, System, Unavailable
from tests.node.harness import descendants

ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8"}  # of what serves apps: that of the bench is its own
BACKLOG = 1024  # connections that may wait at a site's socket, where a system lets one choose
_CONNECTIONS = 16_384  # of each nginx worker, as in Innkeeper's
LIMIT = 300.0  # seconds until all sites serve that were started together, and until an answer
_MAIN = """
user @people@;
worker_processes auto;
worker_rlimit_nofile @open_files@;
daemon off;
pid @place@/nginx.pid;
error_log @place@/error.log error;
pcre_jit on;

events {
    worker_connections @connections@;
    multi_accept on;
}

http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    charset utf-8;
    sendfile on;
    tcp_nopush on;
    server_tokens off;
    keepalive_timeout 65s;
    keepalive_requests 100000;
    reset_timedout_connection on;
    client_header_buffer_size 4k;
    large_client_header_buffers 8 16k;
    server_names_hash_max_size 65536;
    server_names_hash_bucket_size 128;

    client_body_temp_path @place@/body;
    proxy_temp_path @place@/proxy;
    fastcgi_temp_path @place@/fastcgi;
    uwsgi_temp_path @place@/uwsgi;
    scgi_temp_path @place@/scgi;

    gzip on;
    gzip_static on;
    gzip_vary on;
    gzip_proxied any;
    gzip_min_length 1000;
    gzip_types text/plain text/css text/javascript application/javascript application/json application/xml
               application/manifest+json application/rss+xml image/svg+xml;

    log_format site '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
                    '"$http_referer" "$http_user_agent" $request_time $upstream_header_time';
    open_log_file_cache max=2000 inactive=20s valid=30s min_uses=1;

    server {
        listen 127.0.0.1:@port@ default_server backlog=4096;
        server_name _;
        access_log off;
        return 404;
    }
    include @place@/sites/*.conf;
}
"""
_SITE = """
server {
    listen 127.0.0.1:@port@;
    server_name @host@;
    root @folder@;
    access_log @log@ site;

    location / {
        @pass@
    }
    location /static/ {
        alias @folder@/static/;
        disable_symlinks if_not_owner from=@folder@/static;
        log_not_found off;
    }
}
"""
# A late answer is to be seen in the figures, and not to become an error because nginx's default is a minute.
UWSGI = f"""
        include /etc/nginx/uwsgi_params;
        uwsgi_read_timeout {LIMIT:.0f}s;
        uwsgi_pass unix:@socket@;
"""
HTTP = f"""
        proxy_set_header Host $http_host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_read_timeout {LIMIT:.0f}s;
        proxy_pass http://unix:@socket@;
"""


class BehindNginx(System):
    """A system with nginx in front, which reads a folder of server blocks."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.sockets = place / "sockets"
        self.logs = place / "logs"
        self._nginx = place / "nginx"

    def prepare(self) -> None:
        """Make the folders; nginx and the apps run as the same user."""
        for folder in (self.sockets, self.logs, self._nginx, self._nginx / "sites"):
            folder.mkdir()
            folder.chmod(0o755)
        for folder in (self.sockets, self.logs):
            give_to_people(folder)

    def give(self, path: Path) -> None:
        super().give(path)
        give_to_people(path)

    def write_server(self, file: str, host: str, *, folder: str, log: str, passing: str, socket: str) -> None:
        """Write one server block: what is static from `folder`, the rest passed on to `socket`."""
        about = {"port": self.port, "host": host, "folder": folder, "log": log}
        text = _fill(_SITE, **about, **{"pass": _fill(passing, socket=socket).strip()})
        (self._nginx / f"sites/{file}.conf").write_text(text)

    def start_nginx(self) -> None:
        open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        connections = min(_CONNECTIONS, open_files // 2)
        about = {"people": PEOPLE, "port": self.port, "place": self._nginx}
        text = _fill(_MAIN, **about, open_files=open_files, connections=connections)
        (self._nginx / "nginx.conf").write_text(text)
        self.run(*self._command(), ready=self._listens)

    def reload_nginx(self) -> None:
        """As its manual says: it reads all server blocks, and starts its workers anew."""
        subprocess.run([*self._command(), "-s", "reload"], check=True, stdin=subprocess.DEVNULL)

    def takes(self, app: App) -> bool:
        """Whether the site takes requests, if only to start by them."""
        return self.answers(app)

    def wait_for(self, sites: Iterable[App]) -> None:
        """Wait until they all take requests, which may take longer than `run` gives one process."""
        end = time.monotonic() + LIMIT
        for app in sites:
            while not self.takes(app):
                if time.monotonic() > end:
                    said = (self.place / "words.log").read_text(errors="replace")[-2000:]
                    raise SystemExit(f"bench: {self.name} does not serve {app.host}: {said}")
                time.sleep(0.05)

    def _command(self) -> list[str]:
        program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/sbin")
        if program is None:
            raise Unavailable("nginx")
        return [program, "-c", str(self._nginx / "nginx.conf"), "-e", str(self._nginx / "error.log")]

    def _listens(self) -> bool:
        with socket.socket() as visitor:
            return visitor.connect_ex(("127.0.0.1", self.port)) == 0


class ByHand(BehindNginx):
    """A server block and a process tree for each site, put there one by one."""

    passing: ClassVar[str]

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.processes: dict[App, subprocess.Popen[bytes]] = {}

    def launch(self, app: App) -> subprocess.Popen[bytes]:
        """Start what is to serve this site at its socket; returns at once."""
        raise NotImplementedError

    def start(self, sites: Sequence[App]) -> None:
        self.prepare()
        for app in sites:
            self._put(app)
        self.start_nginx()
        self.wait_for(sites)

    def stop(self) -> None:
        for process in self.processes.values():  # all of them at once: each may take its time
            process.send_signal(signal.SIGTERM)
        super().stop()
        self.processes.clear()

    def add(self, app: App) -> None:
        self._put(app)
        self.reload_nginx()

    def workers(self) -> set[int]:
        trees = [descendants(process.pid) for process in self.processes.values()]
        return {pid for tree in trees if len(tree) > 1 for pid in tree}  # who is alone only listens

    def socket_of(self, app: App) -> Path:
        return self.sockets / f"{app.name}.sock"

    def _put(self, app: App) -> None:
        self.processes[app] = self.launch(app)
        about = {"folder": str(app.folder), "log": str(self.logs / f"{app.name}.log")}
        self.write_server(app.name, app.host, passing=self.passing, socket=str(self.socket_of(app)), **about)


def give_to_people(path: Path) -> None:
    """Let apps write beside their code: Python keeps there what it has compiled."""
    shutil.chown(path, PEOPLE, PEOPLE)


def _fill(text: str, **values: Any) -> str:
    """Put values in the place of @name@; nginx needs all other marks that a template could use."""
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text
