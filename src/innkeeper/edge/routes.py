"""The routing tree: what nginx finds under sites/HOST/ for each host name it is asked for.

A site's tree is built whole beside the old one and switched to by renaming one link; nobody ever meets half
of it. What outlives a generation (the listening socket, flags) lies in live/DOMAIN/.

    sites/DOMAIN → ../trees/DOMAIN.N      sites/ALIAS → DOMAIN
    trees/DOMAIN.N/  up | locked | off    the site is on, on behind a password, or switched off
                     password             "USER:HASH"
                     app                  it has an app
                     sock → ../../live/DOMAIN/sock
                     live → ../../live/DOMAIN
                     log  → the site's log directory
                     static/mark1, mark2, mark4   which round of mappings this is, modulo 8, in binary
                     static/rROUND/DEPTH/PREFIX…  links of the tenant's to what is mapped

The round is part of the paths that nginx remembers for a second, so what it knows of an older generation is
never used.

The links to a tenant's directories are the tenant's own, so that nginx (disable_symlinks if_not_owner)
follows them only to what is the tenant's. Their targets are never opened here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from innkeeper.spec.node import Layout

_MARKS = (1, 2, 4)
_ROUNDS = 8
_FLAGS = ("failed", "busy", "slow")


class Route(NamedTuple):
    """What the edge needs to know of a site.

    `static` holds URL prefix and host path of each mapping, `password` a user's name and bcrypt hash.
    """

    domain: str
    aliases: tuple[str, ...]
    enabled: bool
    has_app: bool
    static: tuple[tuple[str, str], ...]
    uid: int
    gid: int
    password: tuple[str, str] | None = None


class Routes:
    """The writer of the routing tree. All of it is safe to be killed at any point and done again."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._run = layout.run
        for name in ("sites", "trees", "live"):
            (self._run / name).mkdir(mode=0o755, exist_ok=True)
        self._generation = 0

    def publish(self, route: Route) -> None:
        """Have nginx serve the site like this from now on."""
        link = self._run / "sites" / route.domain
        before = self._tree_of(link)
        number = self._next_round(before)
        tree = self._new_tree(route.domain)
        self._fill(tree, route, number)
        _replace_link(link, f"../trees/{tree.name}")
        for alias in route.aliases:
            _replace_link(self._run / "sites" / alias, route.domain)
        self._drop_aliases(route.domain, keep=route.aliases, before=before)
        (tree / "aliases").write_text("\n".join(route.aliases))
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)

    def withdraw(self, domain: str) -> None:
        """Have nginx know nothing of the site from now on."""
        link = self._run / "sites" / domain
        tree = self._tree_of(link)
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        self._drop_aliases(domain, keep=(), before=tree)
        if tree is not None:
            shutil.rmtree(tree, ignore_errors=True)

    def forget(self, domain: str) -> None:
        """Remove what outlives generations: the socket's name and the flags."""
        shutil.rmtree(self._run / "live" / domain, ignore_errors=True)

    def set_flag(self, domain: str, flag: str) -> None:
        """Mark a site: "failed", "busy" or "slow"; nginx shows visitors the page that fits."""
        with contextlib.suppress(FileNotFoundError):  # the site went away meanwhile
            os.close(
                os.open(self._run / "live" / domain / flag, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            )

    def clear_flag(self, domain: str, flag: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._run / "live" / domain / flag)

    def sweep(self, domains: Collection[str]) -> None:
        """Remove all that belongs to none of `domains`: what a killed supervisor or an older node left."""
        used: set[str] = set()
        for entry in list(os.scandir(self._run / "sites")):
            target = os.readlink(entry.path) if entry.is_symlink() else ""
            tree = target.removeprefix("../trees/")
            if entry.name in domains and tree != target:
                used.add(tree)
            elif tree != target or target not in domains or not self._is_alias(entry.name, target):
                os.unlink(entry.path)
        for tree_entry in list(os.scandir(self._run / "trees")):
            if tree_entry.name not in used:
                shutil.rmtree(tree_entry.path, ignore_errors=True)
        for live_entry in list(os.scandir(self._run / "live")):
            if live_entry.name not in domains:
                shutil.rmtree(live_entry.path, ignore_errors=True)

    def _is_alias(self, name: str, domain: str) -> bool:
        tree = self._tree_of(self._run / "sites" / domain)
        return tree is not None and name in _aliases(tree)

    def _tree_of(self, link: Path) -> Path | None:
        """The tree that a site's link leads to; None for an alias's link, or none."""
        try:
            target = os.readlink(link)
        except OSError:
            return None
        return self._run / "trees" / Path(target).name if target.startswith("../trees/") else None

    def _next_round(self, before: Path | None) -> int:
        """The number that comes after that of the tree before."""
        if before is None:
            return self._generation % _ROUNDS
        marked = sum(mark for mark in _MARKS if (before / f"static/mark{mark}").exists())
        return (marked + 1) % _ROUNDS

    def _new_tree(self, domain: str) -> Path:
        while True:
            self._generation += 1
            tree = self._run / "trees" / f"{domain}.{self._generation}"
            try:
                tree.mkdir(mode=0o755)
            except FileExistsError:
                continue
            return tree

    def _fill(self, tree: Path, route: Route, number: int) -> None:
        (tree / ("off" if not route.enabled else "locked" if route.password else "up")).touch()
        if route.password:
            self._write_password(tree / "password", route.password)
        if route.has_app:
            (tree / "app").touch()
            os.symlink(f"../../live/{route.domain}/sock", tree / "sock")
        os.symlink(f"../../live/{route.domain}", tree / "live")
        os.symlink(self._layout.log_dir(route.domain), tree / "log")
        marks = [mark for mark in _MARKS if number & mark]
        if route.static:
            (tree / "static").mkdir()
        for mark in marks if route.static else ():
            (tree / f"static/mark{mark}").touch()
        for url, path in route.static:
            segments = url.strip("/").split("/") if url != "/" else []
            link = tree.joinpath("static", "r" + "".join(map(str, marks)), str(len(segments)), *segments)
            link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            os.symlink(path, link)
            os.lchown(link, route.uid, route.gid)

    def _write_password(self, path: Path, password: tuple[str, str]) -> None:
        path.touch(mode=0o640)
        os.chown(path, 0, self._run.stat().st_gid)
        path.write_text(":".join(password) + "\n")

    def _drop_aliases(self, domain: str, *, keep: Collection[str], before: Path | None) -> None:
        for alias in _aliases(before) if before is not None else ():
            link = self._run / "sites" / alias
            if alias not in keep:
                with contextlib.suppress(OSError):
                    if os.readlink(link) == domain:
                        link.unlink()


def _aliases(tree: Path) -> list[str]:
    try:
        return (tree / "aliases").read_text().split()
    except FileNotFoundError:
        return []


def _replace_link(link: Path, target: str) -> None:
    beside = link.with_name(f"{link.name}~")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    os.symlink(target, beside)
    os.rename(beside, link)
