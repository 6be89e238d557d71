"""The routing tree: what nginx finds under sites/HOST/ for each host name it is asked for.

A site's tree is built whole beside the old one and switched to by renaming one link; nobody ever meets half
of it. What outlives a generation (the listening socket, flags) lies in live/DOMAIN/.

    sites/DOMAIN → ../trees/DOMAIN.N      sites/ALIAS → DOMAIN
    trees/DOMAIN.N/  up | locked | off    the site is on, on behind a password, or switched off; what it was made from
                     aliases, password    the aliases; "USER:HASH"
                     live → ../../live/DOMAIN      of a site with an app: its socket and flags
                     http                          its app is asked in HTTP (socket "http"), else in uwsgi ("sock")
                     whole                         …and gets a request's body when all of it is here
                     log  → the site's log directory
                     first/SEGMENT         it is up, and all its static mappings have one segment
                     mapped                it is up, and has others, or what nginx knows of older ones holds yet
                     to-sock | to-http     all but first/ goes right to its app: it is up, and not mapped;
                                           while it is marked as failed, these have ~ at their end
                     static/mark1, 2, 4    which round of mappings this is, modulo 8, in binary
                     static/DEPTH/PREFIX…  links of the tenant's to what is mapped

nginx remembers for a second what it found at a path below static/. So that this is never used for another
generation, it writes the path in another way for each round (with "/." in it). By first/ it comes with one look,
and with the plain path; a tree that follows another therefore has "first~" until nothing is remembered of the
plain path, and is `mapped` meanwhile; then `settle` opens first/, and after that the way to the app.

The links to a tenant's directories are the tenant's own, so that nginx (disable_symlinks if_not_owner)
follows them only to what is the tenant's. Their targets are never opened here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections import OrderedDict
from collections.abc import Collection
from typing import NamedTuple

from innkeeper.spec.node import Layout

_MARKS = (1, 2, 4)
_ROUNDS = 8
FORGOTTEN = 2.0  # seconds after which nginx remembers nothing of a path: it does so for one
UWSGI_SOCKET, HTTP_SOCKET = "sock", "http"
_SHAPE = 7  # of the trees; another number has all of them made anew
_FLAGS = ("failed", "busy", "slow")
_WAYS = {False: "to-sock", True: "to-http"}  # by whether the app speaks HTTP
_SHUT = "~"  # at the end of a name, for as long as it shall not be found


class Route(NamedTuple):
    """What the edge needs to know of a site.

    `static` holds URL prefix and host path of each mapping, `password` a user's name and bcrypt hash.
    """

    domain: str
    aliases: tuple[str, ...]
    enabled: bool
    has_app: bool
    speaks_http: bool
    whole: bool
    static: tuple[tuple[str, str], ...]
    uid: int
    gid: int
    password: tuple[str, str] | None = None


class Routes:
    """The writer of the routing tree. All of it is safe to be killed at any point and done again."""

    def __init__(self, layout: Layout) -> None:
        self._run = str(layout.run)
        self._logs = str(layout.logs)
        self._generation = 0
        self._left: OrderedDict[str, float] = OrderedDict()  # host names that lead nowhere, and since when
        for name in ("sites", "trees", "live"):
            layout.run.joinpath(name).mkdir(mode=0o755, exist_ok=True)

    def publish(self, route: Route) -> str | None:
        """Have nginx serve the site like this from now on; what is so already is left alone.

        What comes back is a tree that `settle` shall be told of after FORGOTTEN seconds.
        """
        link = f"{self._run}/sites/{route.domain}"
        before = self._tree_of(link)
        marker, made_from = _marker(route), repr((_SHAPE, *route))
        if before is not None and _read(f"{before}/{marker}") == made_from:
            self._link_aliases(route)
            return _unsettled(before)
        is_first = before is None and not self._are_known((route.domain, *route.aliases))
        number = self._next_round(before)
        tree = self._new_tree(route.domain)
        self._fill(tree, route, number, settled=is_first)
        _write(f"{tree}/{marker}", made_from)
        _replace_link(link, f"../trees/{os.path.basename(tree)}")
        self._link_aliases(route)
        self._drop_aliases(route.domain, keep=route.aliases, before=before)
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)
        return _unsettled(tree)

    def settle(self, tree: str) -> bool:
        """Take the next step to the short ways through a tree, if it is still the one that holds.

        True if there is another step to take, FORGOTTEN seconds later: a request that has not found a mapping
        in first/ because it was not there yet, must not find the way to the app.
        """
        domain = os.path.basename(tree).rpartition(".")[0]
        if self._tree_of(f"{self._run}/sites/{domain}") != tree:
            return False
        if os.path.exists(f"{tree}/first{_SHUT}"):
            os.rename(f"{tree}/first{_SHUT}", f"{tree}/first")
            return True
        if os.path.exists(f"{tree}/first"):
            _open_way(tree)
        return False

    def withdraw(self, domain: str) -> None:
        """Have nginx know nothing of the site from now on."""
        link = f"{self._run}/sites/{domain}"
        tree = self._tree_of(link)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)
            self._note_left(domain)
        self._drop_aliases(domain, keep=(), before=tree)
        if tree is not None:
            shutil.rmtree(tree, ignore_errors=True)

    def forget(self, domain: str) -> None:
        """Remove what outlives generations: the socket's name and the flags."""
        shutil.rmtree(f"{self._run}/live/{domain}", ignore_errors=True)

    def set_flag(self, domain: str, flag: str) -> None:
        """Mark a site: "failed", "busy" or "slow"; nginx shows visitors the page that fits.

        Where that can't be done, such as on a full disk, the page is a more general one.
        """
        with contextlib.suppress(OSError):
            _write(self._flag(domain, flag), "")
            if flag == "failed":
                self._rename_way(domain, "", _SHUT)

    def clear_flag(self, domain: str, flag: str) -> None:
        if flag == "failed" and os.path.exists(self._flag(domain, flag)):
            self._rename_way(domain, _SHUT, "")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._flag(domain, flag))

    def _flag(self, domain: str, flag: str) -> str:
        return f"{self._run}/live/{domain}/{flag}"

    def _rename_way(self, domain: str, before: str, after: str) -> None:
        """Open or shut the short way to the app: where there is none, nginx looks what the matter is."""
        tree = self._tree_of(f"{self._run}/sites/{domain}")
        for way in _WAYS.values():
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{tree}/{way}{before}", f"{tree}/{way}{after}")

    def sweep(self, domains: Collection[str]) -> None:
        """Remove all that belongs to none of `domains`: what a killed supervisor or an older node left."""
        used: set[str] = set()
        for entry in list(os.scandir(f"{self._run}/sites")):
            target = os.readlink(entry.path) if entry.is_symlink() else ""
            tree = target.removeprefix("../trees/")
            if entry.name in domains and tree != target:
                used.add(tree)
            elif tree != target or target not in domains or not self._is_alias(entry.name, target):
                os.unlink(entry.path)
        for tree_entry in list(os.scandir(f"{self._run}/trees")):
            if tree_entry.name not in used:
                shutil.rmtree(tree_entry.path, ignore_errors=True)
        for live_entry in list(os.scandir(f"{self._run}/live")):
            if live_entry.name not in domains:
                shutil.rmtree(live_entry.path, ignore_errors=True)

    def _is_alias(self, name: str, domain: str) -> bool:
        tree = self._tree_of(f"{self._run}/sites/{domain}")
        return tree is not None and name in _aliases(tree)

    def _tree_of(self, link: str) -> str | None:
        """The tree that a site's link leads to; None for an alias's link, or none."""
        try:
            target = os.readlink(link)
        except OSError:
            return None
        return f"{self._run}/trees/{os.path.basename(target)}" if target.startswith("../trees/") else None

    def _note_left(self, name: str) -> None:
        now = time.monotonic()
        self._left[name] = now
        self._left.move_to_end(name)
        while now - next(iter(self._left.values())) >= FORGOTTEN:
            self._left.popitem(last=False)

    def _are_known(self, names: Collection[str]) -> bool:
        """Whether nginx may remember something of one of these host names."""
        since = time.monotonic() - FORGOTTEN
        return any(
            self._left.get(name, since) > since or os.path.lexists(f"{self._run}/sites/{name}")
            for name in names
        )

    def _next_round(self, before: str | None) -> int:
        """The number that comes after that of the tree before."""
        if before is None:
            return self._generation % _ROUNDS
        marked = sum(mark for mark in _MARKS if os.path.exists(f"{before}/static/mark{mark}"))
        return (marked + 1) % _ROUNDS

    def _new_tree(self, domain: str) -> str:
        while True:
            self._generation += 1
            tree = f"{self._run}/trees/{domain}.{self._generation}"
            try:
                os.mkdir(tree, 0o755)
            except FileExistsError:
                continue
            return tree

    def _fill(self, tree: str, route: Route, number: int, *, settled: bool) -> None:
        if route.has_app:
            os.symlink(f"../../live/{route.domain}", f"{tree}/live")
        if route.speaks_http:
            _write(f"{tree}/http", "")
        if route.whole:
            _write(f"{tree}/whole", "")
        os.symlink(f"{self._logs}/{route.domain}", f"{tree}/log")
        if route.aliases:
            _write(f"{tree}/aliases", "\n".join(route.aliases))
        if route.password:
            _write(f"{tree}/password", ":".join(route.password) + "\n", mode=0o640)
            os.chown(f"{tree}/password", 0, os.stat(self._run).st_gid)
        if route.static:
            self._fill_static(f"{tree}/static", route, number)
        if _marker(route) == "up":
            _tell_way(tree, route, settled=settled)

    def _fill_static(self, folder: str, route: Route, number: int) -> None:
        os.mkdir(folder, 0o755)
        for mark in _MARKS:
            if number & mark:
                _write(f"{folder}/mark{mark}", "")
        for url, path in route.static:
            segments = _segments(url)
            link = "/".join((folder, str(len(segments)), *segments))
            os.makedirs(os.path.dirname(link), mode=0o755, exist_ok=True)
            os.symlink(path, link)
            os.lchown(link, route.uid, route.gid)

    def _link_aliases(self, route: Route) -> None:
        for alias in route.aliases:
            _replace_link(f"{self._run}/sites/{alias}", route.domain)

    def _drop_aliases(self, domain: str, *, keep: Collection[str], before: str | None) -> None:
        for alias in _aliases(before) if before is not None else ():
            link = f"{self._run}/sites/{alias}"
            if alias not in keep:
                with contextlib.suppress(OSError):
                    if os.readlink(link) == domain:
                        os.unlink(link)
                        self._note_left(alias)


def _tell_way(tree: str, route: Route, *, settled: bool) -> None:
    """What nginx looks for first: whether a path is mapped, and whether all others go to the app."""
    mappings = [_segments(url) for url, _ in route.static]
    can_be_short = all(len(segments) == 1 for segments in mappings)
    if mappings and can_be_short:
        first = f"{tree}/first{'' if settled else _SHUT}"
        os.mkdir(first, 0o755)
        for (segment,) in mappings:
            _write(f"{first}/{segment}", "")
    if mappings and not (settled and can_be_short):
        _write(f"{tree}/mapped", "")
    else:
        _open_way(tree)


def _open_way(tree: str) -> None:
    """Have all that is not in first/ go right to the app, if there is one."""
    if os.path.lexists(f"{tree}/live"):
        way = _WAYS[os.path.exists(f"{tree}/http")]
        _write(f"{tree}/{way}{_SHUT if os.path.exists(f'{tree}/live/failed') else ''}", "")


def _unsettled(tree: str) -> str | None:
    """The tree, if `settle` has, or may have, something to do with it."""
    names = ("first", f"first{_SHUT}")
    has_first = any(os.path.exists(f"{tree}/{name}") for name in names)
    return tree if has_first and os.path.exists(f"{tree}/mapped") else None


def _segments(url: str) -> list[str]:
    return url.strip("/").split("/") if url != "/" else []


def _marker(route: Route) -> str:
    """The name of the file that says how the site is served."""
    if not route.enabled:
        return "off"
    return "locked" if route.password else "up"


def _aliases(tree: str) -> list[str]:
    return (_read(f"{tree}/aliases") or "").split()


def _read(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def _write(path: str, text: str, mode: int = 0o644) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _replace_link(link: str, target: str) -> None:
    beside = f"{link}~"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)
    os.symlink(target, beside)
    os.rename(beside, link)
