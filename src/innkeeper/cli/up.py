"""innkeeper up: a whole node in the foreground."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import pwd
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from innkeeper.cli.app import context, fail
from innkeeper.cli.printing import stderr, tell
from innkeeper.edge import nginx, way
from innkeeper.keeper import Keeper
from innkeeper.kernel import cgroups, files, firewall, namespaces, processes, sockets
from innkeeper.spec import values
from innkeeper.spec.node import Layout, NodeSettings
from innkeeper.spec.problem import SpecError
from innkeeper.supervisor import confines, facilities, runtimes
from innkeeper.supervisor import main as supervisor

HELP = "Run a whole node in the foreground; prints [bold]innkeeper: ready[/] when it serves."
EPILOG = "Example: innkeeper --root /srv/node up --http 0.0.0.0:80"

_FIRST_INHERITED = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
_RESOLVER = Path("/etc/resolv.conf")


def up(
    ctx: typer.Context,
    http: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDR:PORT",
            help="Serve HTTP here; may be given more than once. Without it: at the sockets that systemd hands over, "
            "or at 0.0.0.0:80.",
        ),
    ] = None,
    https: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDR:PORT", help="Serve HTTPS here; comes with a later version."),
    ] = None,
) -> None:
    layout = context(ctx, makes_root=True).layout
    if os.geteuid() != 0:
        fail(
            "a node needs root: it binds ports, makes sandboxes and becomes other users", "Run it with sudo."
        )
    if https:
        fail("--https is not served by this version yet", "Leave it out, and use --http for now.")
    settings = _read_settings(layout)
    _check_edge()
    closed = _find_way(layout, settings)
    lock = _prepare(layout, settings)
    _check_runtime(layout, settings)
    open_files = processes.raise_file_limit(supervisor.WANTED_FILES)
    listeners = [_listen(address) for address in http or ()] or _inherit() or [_listen("0.0.0.0:80")]
    addresses = [listener.getsockname()[:2] for listener in listeners]
    no_rules = _close_network(layout, settings, addresses)
    try:
        isolation = _check_host(layout, settings, no_rules)
        nginx.install(layout, settings, addresses, open_files=open_files)
    except BaseException:
        _open_network(layout)
        raise
    doors: list[int] = []
    with contextlib.suppress(OSError):  # said already, and the supervisor goes on without limits
        doors = confines.settle(layout)
    keeper = Keeper(
        listeners,
        lambda channel: _start_supervisor(layout, channel, isolation, settings),
        lambda: _start_nginx(layout, listeners, closed, doors),
        pwd.getpwnam(settings.nginx_user).pw_uid,
        supervisor.log,
        lambda: _announce(addresses),
    )
    processes.prefer_to_keep()
    status = keeper.run()
    _open_network(layout)
    with contextlib.suppress(OSError):
        cgroups.leave(cgroups.find(confines.group_name(layout)))
    lock.close()
    raise typer.Exit(status)


def _announce(addresses: list[tuple[str, int]]) -> None:
    for host, port in addresses:
        supervisor.log(f"serving http://{f'[{host}]' if ':' in host else host}:{port}")
    with contextlib.suppress(OSError):  # a node that nobody listens to serves
        print("innkeeper: ready", flush=True)


def _read_settings(layout: Layout) -> NodeSettings:
    try:
        return supervisor.read_settings(layout)
    except SpecError as error:
        fail(error.problem.message, error.problem.hint, status=2)


def _check_edge() -> None:
    """Refuse a machine without nginx: the keeper would try for ever what it takes for a want of processes."""
    if nginx.program() is None:
        fail(
            "there is no nginx on this machine, and a node serves by it", "Install it: apt-get install nginx"
        )


def _check_runtime(layout: Layout, settings: NodeSettings) -> None:
    """Refuse a `default_runtime` that is not there: no site that names none could be served."""
    wanted = settings.default_runtime
    if wanted and wanted not in (
        known := runtimes.load(runtimes.lasting_folder(layout, supervisor.log), settings, lambda _: None)[0]
    ):
        fail(
            f"innkeeper.toml: `default_runtime` is {wanted!r}, and this node has no runtime of that name",
            f"Runtimes of this node: {', '.join(sorted(known)) or 'none'}. Name one of them, or leave the line out.",
            status=2,
        )


def _find_way(layout: Layout, settings: NodeSettings) -> Path | None:
    """The directory above the root, if any, that nginx's user can't enter, and has to be led around."""
    try:
        user = pwd.getpwnam(settings.nginx_user)
    except KeyError:
        fail(
            f"there is no user {settings.nginx_user!r}, which nginx is to run as",
            "Create the user and group, or name others as `nginx_user` in innkeeper.toml.",
        )
    layout.root.mkdir(mode=0o755, parents=True, exist_ok=True)
    closed = way.closed_above(layout.root, user)
    if closed is not None and namespaces.permitted() is not None:
        fail(
            f"{closed} is closed to {settings.nginx_user}, nginx's user, who so can't serve {layout.root}",
            f"Open the way with `chmod o+x {closed}`, or choose another --root, such as /srv/innkeeper.",
        )
    return closed


def _prepare(layout: Layout, settings: NodeSettings) -> socket.socket:
    """Make the node's directories, and make sure that this is the only node here; returns the lock."""
    try:
        edge = grp.getgrnam(settings.nginx_user).gr_gid
    except KeyError:
        fail(
            f"there is no group {settings.nginx_user!r}, which nginx is to run as",
            "Create the user and group, or name others as `nginx_user` in innkeeper.toml.",
        )
    for directory in (layout.sites, layout.tenants, layout.runtimes):
        files.ensure_directory(directory, mode=0o755)
    files.ensure_directory(layout.tenants_data, mode=0o711)
    files.ensure_directory(layout.logs, mode=0o711)
    files.ensure_directory(layout.run, mode=0o750, gid=edge)
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"a node is up at {layout.root} already", "Stop that one first, or choose another --root.")
    return os.fdopen(descriptor, "w")  # type: ignore[return-value]


def _check_host(layout: Layout, settings: NodeSettings, no_rules: str | None) -> str:
    """Say loudly what this machine does not permit, or refuse; returns the isolation that is to be had.

    `no_rules`: why the tenants' network rules are not in force, if so.
    """
    missing = [facility for facility in facilities.walls(layout, no_rules) if not facility.ok]
    if missing and settings.isolation == "full":
        reasons = "; ".join(f"{facility.name}: {facility.found}" for facility in missing)
        fail(
            f'isolation = "full" is asked for, and is not to be had on this machine: {reasons}',
            'See `innkeeper doctor` for what to do, or set isolation = "best" in innkeeper.toml.',
            status=2,
        )
    if missing:
        stderr.print(
            "[bold yellow]innkeeper: WARNING: reduced isolation.[/] Do not host strangers like this."
        )
    for facility in missing:
        tell(stderr, f"{facility.name}: {facility.found}: {facility.cost}.", "  ")
        tell(stderr, facility.remedy, "  → ")
    depth = sockets.somaxconn()
    if depth < facilities.DEEP_ENOUGH:
        stderr.print(
            f"[yellow]innkeeper: net.core.somaxconn is {depth}[/]: bursts of more requests than that to one site "
            "are refused. → sysctl -w net.core.somaxconn=4096"
        )
    return "reduced" if missing else "full"


def _close_network(layout: Layout, settings: NodeSettings, served: list[tuple[str, int]]) -> str | None:
    """Put the tenants' network rules in force; why that can't be done, or None.

    The node's own sites may be reached by all: a site may well ask another one that happens to be here.
    """
    openings = [firewall.Opening(host, port) for host, port in served]
    openings += [firewall.Opening(*values.split_opening(text)) for text in settings.reach]
    servers = firewall.name_servers(_RESOLVER.read_text()) if _RESOLVER.exists() else []
    rules = firewall.render(
        layout.table, settings.first_uid, settings.last_uid, openings, servers, smtp=settings.smtp
    )
    try:
        firewall.install(rules)
    except OSError as error:
        return str(error)
    return None


def _open_network(layout: Layout) -> None:
    """Take the tenants' network rules away, where there are any."""
    with contextlib.suppress(OSError):
        firewall.remove(layout.table)


def _listen(address: str) -> socket.socket:
    """Bind ADDR:PORT; held by the keeper, so that connections wait while nginx is restarted."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not port.isdigit() or int(port) > 65535:
        fail(
            f"{address!r} is no address", "Write ADDR:PORT, such as 0.0.0.0:80, [::]:80 or 127.0.0.1:8000.", 2
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listener.bind((host or "0.0.0.0", int(port)))
    except OSError as error:
        hint = f"See who has it with `ss -ltnp 'sport = :{port}'`, or choose another port."
        fail(f"{address} can't be bound: {error.strerror}", hint)
    listener.listen(sockets.BACKLOG)
    listener.setblocking(False)  # nginx takes inherited sockets as they are
    return listener


def _inherit() -> list[socket.socket]:
    """The listening sockets of a systemd .socket unit, at which visitors wait between two nodes: sd_listen_fds(3)."""
    count = os.environ.pop("LISTEN_FDS", "")
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()) or not count.isdigit():
        return []
    os.environ.pop("LISTEN_FDNAMES", None)
    listeners = [socket.socket(fileno=_FIRST_INHERITED + number) for number in range(int(count))]
    for listener in listeners:
        is_tcp = listener.family in (socket.AF_INET, socket.AF_INET6) and listener.type == socket.SOCK_STREAM
        if not is_tcp or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            fail(
                f"descriptor {listener.fileno()}, handed over by systemd, is not a listening TCP socket",
                "Have only lines such as `ListenStream=0.0.0.0:80` in the .socket unit, and no `Accept=yes`.",
                2,
            )
        listener.setblocking(False)
        listener.set_inheritable(False)
    return listeners


def _start_supervisor(
    layout: Layout, channel: socket.socket, isolation: str, settings: NodeSettings
) -> subprocess.Popen[bytes]:
    """The supervisor, with the settings of the node's start: innkeeper.toml may be another one by now."""
    arguments = [str(layout.root), str(channel.fileno()), isolation, msgspec.json.encode(settings).decode()]
    return subprocess.Popen(
        [sys.executable, "-m", "innkeeper.supervisor.main", *arguments],
        pass_fds=[channel.fileno()],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # what a terminal signals is for the keeper to act on
    )


def _start_nginx(
    layout: Layout, listeners: list[socket.socket], closed: Path | None, doors: list[int]
) -> subprocess.Popen[bytes]:
    """nginx, with the listening sockets inherited; it ends with the keeper."""
    descriptors = [listener.fileno() for listener in listeners]

    def prepare() -> None:
        processes.die_with_parent(signal.SIGTERM)
        processes.be_prompt()
        with contextlib.suppress(OSError):  # to serve without a share of its own is better than not to serve
            cgroups.enter(doors)
        if closed is not None:
            way.open_way(closed, layout)

    return subprocess.Popen(
        nginx.command(layout),
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "NGINX": "".join(f"{descriptor};" for descriptor in descriptors)},
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509 — the keeper has no threads
    )
