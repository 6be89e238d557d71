"""What an app imports from its runtime, told so that the zygote may have it imported beforehand."""

from __future__ import annotations

import contextlib
import itertools
import sys
import sysconfig
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, List, Set, Tuple

_MOST = 1000  # names told at once: a message holds them
_known: Set[str] = set()  # what the zygote had imported, and what was told already
_places: List[str] = []  # the directories of the runtime's packages and of the standard library


def remember(packages: str) -> None:
    """In a zygote: all that is imported by now is there for every worker. `packages` are the runtime's."""
    _known.update(sys.modules)
    paths = sysconfig.get_paths()
    _places[:] = [f"{packages}/", f"{paths['stdlib']}/", f"{paths['platstdlib']}/lib-dynload/"]


def news() -> List[str]:
    """The modules of the runtime's packages and of Python itself that were imported since `remember`."""
    if not _places:  # executed, not forked
        return []
    places, found = tuple(_places), []
    for name in _new_names():
        if isinstance(name, str):
            _known.add(name)
            origin = _origin_of(sys.modules.get(name))
            if isinstance(origin, str) and origin.startswith(places) and _is_own_name(name, origin):
                found.append(name)
    return sorted(found)[:_MOST]


def own_modules() -> List[str]:
    """The names of the app's modules, as far as it has got."""
    return [name for name in _new_names() if type(sys.modules.get(name)) is ModuleType]


def _new_names() -> List[str]:
    """What stands at the end of `sys.modules`. What was there before is not looked at: to look is to write."""
    while True:
        with contextlib.suppress(RuntimeError):  # another thread has imported something meanwhile
            return list(itertools.takewhile(lambda name: name not in _known, reversed(sys.modules)))


def _origin_of(module: Any) -> Any:
    """The file of a module, if it has one. What the app may have put in a module's place is not asked."""
    if not issubclass(type(module), ModuleType):
        return None
    spec = object.__getattribute__(module, "__dict__").get("__spec__")
    return spec.origin if type(spec) is ModuleSpec else None


def _is_own_name(name: str, origin: str) -> bool:
    """Whether the module would be found by this name; an alias in sys.modules would not."""
    parts: Tuple[str, ...] = tuple(name.split("."))
    return parts[-1] != "__main__" and f"/{'/'.join(parts)}" in origin


def reseed() -> None:
    """After a fork: random numbers are not to be those of all other workers."""
    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        numbers.seed()
