"""Learning what to preload: which modules of its runtime are imported by several sites.

Each worker tells what it had to import itself. What two sites or more told of is wanted of the runtime's next
zygote; whether it may be had there is found out in the zygote's trial.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from innkeeper.kernel import files
from innkeeper.spec import names

ENOUGH = 2  # sites that have to import a module before it is preloaded for all
_MOST_SITES = 8  # that are remembered for a module
_MOST_MODULES = 4000  # that are remembered for a runtime
_MOST_OWN = 2000  # of them, those that one tenant alone told of
_MOST_WANTED = 1500  # that are preloaded: each costs memory, and every fork a little time
_MOST_TEXT = 32 * 1024  # characters of their names: they go into messages, which have a limit
_MOST_NAME = 100  # characters of one

Told = dict[str, list[str]]  # by module, the first sites that told of it, each as "tenant/domain"


class Learning:
    """By runtime, what its sites import. Kept in a file, so that a node does not learn the same twice."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._told: dict[str, Told] = _read(file)
        self._unsaved = False

    def hear(self, runtime: str, tenant: str, domain: str, modules: Any) -> None:
        """What a worker of a site's says. It is the tenant's word: at most a list of names is taken from it.

        However many sites a tenant has, they count as no more than are enough.
        """
        told = self._told.setdefault(runtime, {})
        heard = modules[:_MOST_MODULES] if isinstance(modules, list) else []
        said = dict.fromkeys(filter(_is_module, heard))
        site = f"{tenant}/{domain}"
        fresh = []
        for name in said:
            sites = told.get(name)
            if sites is None:
                fresh.append(name)
            elif len(sites) < _MOST_SITES and site not in sites and _own(sites, tenant) < ENOUGH:
                sites.append(site)
                self._unsaved = True
        if len(fresh) > _room(told, tenant):
            _forget_single(told)
        for name in fresh[: _room(told, tenant)]:
            told[name] = [site]
            self._unsaved = True

    def wanted(self, runtime: str) -> tuple[str, ...]:
        """The modules to preload; a package comes before its parts."""
        counted = [
            (-len(sites), name) for name, sites in self._told.get(runtime, {}).items() if len(sites) >= ENOUGH
        ]
        found, room = [], _MOST_TEXT
        for _, name in sorted(counted)[:_MOST_WANTED]:
            room -= len(name)
            if room < 0:
                break
            found.append(name)
        return tuple(sorted(found))

    def keep_only(self, runtimes: set[str]) -> None:
        """Forget runtimes that are gone."""
        for name in set(self._told) - runtimes:
            del self._told[name]
            self._unsaved = True

    def save(self) -> None:
        """Write down what is new."""
        if self._unsaved:
            files.write_atomically(self._file, msgspec.json.encode(self._told).decode())
            self._unsaved = False


def _own(sites: list[str], tenant: str) -> int:
    """How many of them are the tenant's."""
    return sum(site.startswith(f"{tenant}/") for site in sites)


def _room(told: Told, tenant: str) -> int:
    """How many further names are taken of a tenant: nobody fills the memory alone."""
    own = sum(_own(sites, tenant) == len(sites) for sites in told.values())
    return max(0, min(_MOST_MODULES - len(told), _MOST_OWN - own))


def _forget_single(told: Told) -> None:
    """Make room by what one site alone has told of. It takes a look at all that is known: once for all new names."""
    for name in [name for name, sites in told.items() if len(sites) < ENOUGH]:
        del told[name]


def _is_module(name: Any) -> bool:
    if not isinstance(name, str) or len(name) > _MOST_NAME or not name.isascii():
        return False
    try:
        return names.module(name) == name and not name.endswith("__main__")
    except ValueError:
        return False


def _read(file: Path) -> dict[str, Told]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Told])
    except (OSError, msgspec.DecodeError):  # it begins anew
        return {}
