"""nginx's one constant configuration: rendered and installed when a node starts, and never again."""

from __future__ import annotations

import ipaddress
import os
import pwd
import shutil
import string
from collections.abc import Sequence
from importlib import resources
from typing import Any, ClassVar

from innkeeper.edge import mime, pages
from innkeeper.kernel import files, sockets
from innkeeper.spec import limits, names
from innkeeper.spec.node import Layout, NodeSettings

Address = tuple[str, int]
_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/sbin"
_CONNECTIONS = 32_768  # of each nginx worker, of which a request to an app takes two


class _Template(string.Template):
    """@name@ is replaced; $variables are nginx's own."""

    delimiter = "@"
    pattern: ClassVar[Any] = r"@(?:(?P<named>[a-z_]+)@|(?P<escaped>\0)|(?P<braced>\0)|(?P<invalid>\0))"


def render(
    layout: Layout, settings: NodeSettings, http: Sequence[Address], *, open_files: int, cpus: int
) -> str:
    """The configuration's text for a node that listens at `http` and may open so many files a process.

    If the settings do not say otherwise, one nginx process serves for two CPUs: apps need more of them than nginx
    does, and the visitors of one process are answered in the order in which they ask.
    """
    return _Template(_read("nginx.conf")).substitute(
        workers=settings.nginx_workers or (cpus + 1) // 2,
        open_files=open_files,
        connections=min(_CONNECTIONS, open_files // 2),
        user=settings.nginx_user,
        run=names.root(str(layout.run)),
        node_logs=names.root(str(layout.node_logs)),
        cache=names.root(str(layout.lib / "edge")),
        max_body=settings.max_body,
        site_connections=settings.connections,
        max_domain=limits.MAX_DOMAIN,
        # deferred: whoever connects and says nothing yet is the kernel's for a second; nginx is woken once, not twice
        listen="\n".join(
            f"        listen {_spell(address)} default_server backlog={sockets.BACKLOG} deferred;"
            for address in http
        ),
        uwsgi=_indented(_read("uwsgi.conf")),
        http=_indented(_read("http.conf")),
    )


def install(layout: Layout, settings: NodeSettings, http: Sequence[Address], *, open_files: int) -> None:
    """Write the configuration and all that it names: types, pages, directories for what is too big for memory."""
    user = pwd.getpwnam(settings.nginx_user)
    files.ensure_directory(layout.node_logs, mode=0o750, gid=user.pw_gid)
    files.ensure_directory(layout.lib / "edge", mode=0o700, uid=user.pw_uid)
    layout.routes.mkdir(mode=0o755, exist_ok=True)  # nginx stands in it
    files.write_atomically(layout.run / "mime.types", mime.render())
    text = render(layout, settings, http, open_files=open_files, cpus=len(os.sched_getaffinity(0)))
    files.write_atomically(layout.nginx_conf, text)
    folder = layout.pages / ".innkeeper"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.render_all().items():
        files.write_atomically(folder / f"{name}.html", text)


def program() -> str | None:
    """Where nginx is installed, if it is."""
    return shutil.which("nginx", path=_PATH) or shutil.which("nginx")


def command(layout: Layout) -> list[str]:
    """How nginx is started, in the foreground."""
    return [program() or "nginx", "-c", str(layout.nginx_conf), "-e", str(layout.node_logs / "error.log")]


def _read(name: str) -> str:
    return resources.files("innkeeper.edge").joinpath(name).read_text()


def _indented(lines: str) -> str:
    return "\n".join(f"            {line}" for line in lines.splitlines() if line and line[0] != "#")


def _spell(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port} ipv6only=on" if ipaddress.ip_address(host).version == 6 else f"{host}:{port}"
