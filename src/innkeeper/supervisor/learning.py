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
        for name in modules[:_MOST_MODULES] if isinstance(modules, list) else ():
            if not _is_module(name):
                continue
            sites = told.get(name)
            if sites is None:
                if len(told) >= _MOST_MODULES and not _forget_single(told):
                    return
                sites = told[name] = []
            site, own = f"{tenant}/{domain}", sum(each.startswith(f"{tenant}/") for each in sites)
            if len(sites) < _MOST_SITES and own < ENOUGH and site not in sites:
                sites.append(site)
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


def _forget_single(told: Told) -> bool:
    """Make room by what one site alone has told of: nobody fills the memory with names of their own."""
    single = [name for name, sites in told.items() if len(sites) < ENOUGH]
    for name in single:
        del told[name]
    return bool(single)


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
