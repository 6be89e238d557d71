"""What a zygote has imported beforehand, by distribution: what of it a worker may keep, and what it must lose.

An app is to find exactly the packages of its own environment. A module that is there already stays only when
the environment has the very same version of its distribution, lacks what the module has looked for in vain, and
when all modules stay that it refers to. Everything else is taken away before the app's first line runs.
"""

from __future__ import annotations

import ast
import csv
import importlib.abc
import importlib.machinery
import os
import sys
from types import FunctionType, ModuleType
from typing import AbstractSet, Any, Dict, FrozenSet, Iterable, List, Optional, Sequence, Set, Tuple

from innkeeper.worker.virtualenv import Unfit

_ORPHANS = ""  # the distribution of modules that belong to none
_graveyard: List[ModuleType] = []  # modules taken away: nothing of theirs is to be freed, for that takes time


class Part:
    """One distribution, as far as it has been imported."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.modules: List[str] = []
        self.tops: Set[str] = set()


class Stock:
    """All that was imported from one directory of packages. Empty when nothing was."""

    def __init__(self) -> None:
        self.parts: Dict[str, Part] = {}
        self._owners: Dict[
            str, Set[str]
        ] = {}  # by module: the distributions that have it, or share its package
        self._users: Dict[str, Set[str]] = {}  # by module: those that refer to it, or are in it
        self._missed: Dict[str, Set[str]] = {}  # by module: the top-level modules that it looked for in vain
        self._names: FrozenSet[str] = frozenset()  # the top-level modules that are there, or were looked for
        self._binary: Set[str] = set()  # extension modules, which can't be loaded a second time

    def take(self, packages: str, missed: Dict[str, Set[str]]) -> None:
        """Look at all modules that were imported from the directory `packages`.

        `missed` has, by module, the top-level modules that it looked for in vain.
        """
        owners, versions = _owners(packages)
        for name, module in list(sys.modules.items()):
            inside = [file for file in _files(module) if file.startswith(packages + "/")]
            if inside:
                relative = inside[0][len(packages) + 1 :]
                self._owners[name] = owners.get(relative, {_ORPHANS})
                for owner in self._owners[name]:
                    part = self.parts.setdefault(owner, Part(versions.get(owner, "")))
                    part.modules.append(name)
                    part.tops.add(name.partition(".")[0])
                if relative.endswith(".so"):
                    self._binary.add(name)
        tops = {top for part in self.parts.values() for top in part.tops}
        self._names = frozenset(tops.union(*missed.values()))
        for name in self._owners:
            self._missed.update({name: missed[name]} if name in missed else {})
            for used in (*_mentioned(sys.modules[name]), name.rpartition(".")[0]):
                if used in self._owners and used != name:
                    self._users.setdefault(used, set()).add(name)

    def keep_what_fits(self, packages: Optional[str], own: Iterable[str]) -> None:
        """Take away what is not of the environment whose packages are in `packages` (None: the runtime's own).

        `own` are the app's directories, which come before any packages. Raises Unfit when a module can't be
        taken away, because the app may load another one of that name and its machine code is loaded already.
        """
        if not self.parts:
            return
        found = _importable(own, self._names)
        if packages is None and not found:
            return  # nothing was even looked at: in a forked process, to look is to write
        kept = {name for name, part in self.parts.items() if not part.tops & found}
        if packages is not None:
            installed, importable = _installed(packages)
            kept = {name for name in kept if self._is_same(name, installed, packages)}
            found |= importable
        self._take_away(self._unfit(kept, found), found)

    def give_way(self, directories: Iterable[str], modules: Iterable[str]) -> None:
        """Take away what the directories have as well, and what refers to that, but for what the app uses already.

        `modules` are the app's own. Raises Unfit as `keep_what_fits` does.
        """
        found = _importable(directories, self._names) if self._owners else set()
        if found:
            kept = {name for name, part in self.parts.items() if not part.tops & found}
            self._take_away(self._unfit(kept, found) - self._used_by(modules), found)

    def hide(self) -> None:
        """Take everything away."""
        _forget(self._owners)
        self.parts.clear()
        self._owners.clear()

    def _take_away(self, unfit: Set[str], found: Set[str]) -> None:
        """Take modules away, of which the app can import those of the top-level names in `found` from elsewhere."""
        for name in unfit & self._binary:
            if name.partition(".")[0] in found:
                owner = min(self._owners[name])
                raise Unfit(f"{owner} is another one than the runtime's {self.parts[owner].version}")
        _forget(unfit)
        for name in unfit:
            del self._owners[name]

    def _used_by(self, modules: Iterable[str]) -> Set[str]:
        """What of ours the modules refer to, and all that this in turn refers to."""
        uses: Dict[str, Set[str]] = {}
        for used, users in self._users.items():
            for user in users:
                uses.setdefault(user, set()).add(used)
        spreading = [
            used
            for name in modules
            if name not in self._owners
            for used in _mentioned(sys.modules[name])
            if used in self._owners
        ]
        found = set(spreading)
        while spreading:
            more = uses.get(spreading.pop(), set()) - found
            found |= more
            spreading += more
        return found

    def _unfit(self, kept: Set[str], found: Set[str]) -> Set[str]:
        """The modules that are not of distributions that are kept, miss what is there, or use such a module."""
        unfit = {name for name, owners in self._owners.items() if not owners <= kept}
        unfit.update(name for name, missed in self._missed.items() if missed & found and name in self._owners)
        spreading = list(unfit)
        while spreading:
            users = self._users.get(spreading.pop(), set()) & self._owners.keys() - unfit
            unfit |= users
            spreading += users
        return unfit

    def _is_same(self, name: str, installed: Dict[str, Tuple[str, str]], packages: str) -> bool:
        version, entry = installed.get(name, ("", ""))
        return bool(version) and version == self.parts[name].version and not _is_own_make(packages, entry)


STOCK = Stock()  # of this process's zygote


class Misses(importlib.abc.MetaPathFinder):
    """The last one to be asked for a module: notes who has looked for what in vain."""

    def __init__(self) -> None:
        self.by_module: Dict[str, Set[str]] = {}

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if path is None:
            frame = sys._getframe(1)
            while frame.f_back is not None and "importlib" in frame.f_code.co_filename:
                frame = frame.f_back
            self.by_module.setdefault(str(frame.f_globals.get("__name__")), set()).add(fullname)
        return None


def normalized(name: str) -> str:
    """A distribution's name as all ways to write it have in common."""
    return name.lower().replace("-", "_").replace(".", "_")


def _forget(modules: Iterable[str]) -> None:
    for name in modules:
        module = sys.modules.pop(name, None)
        if module is not None:
            _graveyard.append(module)
            package, _, child = name.rpartition(".")
            if vars(sys.modules.get(package, module)).get(child) is module:
                delattr(sys.modules[package], child)


def _files(module: Any) -> List[str]:
    """Where a module was loaded from; of a namespace package, its directories."""
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None) or getattr(module, "__file__", None)
    if isinstance(origin, str) and origin.startswith("/"):
        return [origin]
    try:
        return [str(entry) + "/" for entry in getattr(spec, "submodule_search_locations", None) or ()]
    except Exception:  # a namespace whose parent is gone
        return []


def _mentioned(module: ModuleType) -> Set[str]:
    """The modules that a module's own names refer to: themselves, or by their classes and functions.

    Values are not asked for anything, only their types: many are lazy, and would wake. A package has its modules
    by name as soon as anybody has imported them; it refers to those that its own code names.
    """
    found: Set[str] = set()
    inner = module.__name__ + "."
    named = _named_modules(module) if hasattr(module, "__path__") else None
    for key, value in list(vars(module).items()):
        kind = type(value)
        if issubclass(kind, ModuleType):
            if named is None or value.__name__ != inner + key or key in named:
                found.add(value.__name__)
        elif kind is FunctionType:
            found.add(str(value.__module__))
        elif issubclass(kind, type):
            found.update(str(base.__module__) for base in type.mro(value))
        else:
            found.add(str(kind.__module__))
    return found


def _named_modules(package: ModuleType) -> AbstractSet[str]:
    """The names in a package's own code that may be modules of its; all it has, where the code can't be read."""
    try:
        with open(str(package.__file__), "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return vars(package).keys()
    found: Set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found.update(alias.name for alias in node.names)
            found.update(str(node.module).split("."))
        elif isinstance(node, ast.Import):
            found.update(part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(node.value.lstrip(".").split("."))
    return vars(package).keys() if "*" in found else found


def _owners(packages: str) -> Tuple[Dict[str, Set[str]], Dict[str, str]]:
    """By file or "directory/": the distributions that it is of; by distribution: its version."""
    owners: Dict[str, Set[str]] = {}
    versions: Dict[str, str] = {}
    for name, (version, entry) in _installed(packages)[0].items():
        versions[name] = version
        try:
            with open(f"{packages}/{entry}/RECORD", newline="", encoding="utf-8") as file:
                for row in csv.reader(file):
                    if row and row[0].endswith((".py", ".so")):
                        place = row[0]
                        while place:
                            owners.setdefault(place, set()).add(name)
                            place = place.rstrip("/").rpartition("/")[0]
                            place = place and place + "/"
        except (OSError, csv.Error):
            continue
    return owners, versions


def _installed(packages: str) -> Tuple[Dict[str, Tuple[str, str]], Set[str]]:
    """By distribution: its version and its directory's name; and all top-level modules that can be imported."""
    found: Dict[str, Tuple[str, str]] = {}
    tops: Set[str] = set()
    for entry in os.listdir(packages):
        if entry.endswith((".dist-info", ".egg-info")):
            name, _, version = entry.rpartition(".")[0].partition("-")
            if normalized(name) in found:
                version = ""  # remains of an update that went wrong: nobody knows which one it is
            found[normalized(name)] = (version, entry)
        elif entry.endswith(".pth"):
            tops.update(_named_by_pth(f"{packages}/{entry}"))
        else:
            tops.add(entry.partition(".")[0])
    return found, tops


def _named_by_pth(path: str) -> Set[str]:
    """What can be imported from the directories that a .pth file adds."""
    tops: Set[str] = set()
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                directory = os.path.join(os.path.dirname(path), line.strip())
                if (
                    line.strip()
                    and not line.startswith(("import ", "import\t", "#"))
                    and os.path.isdir(directory)
                ):
                    tops.update(entry.partition(".")[0] for entry in os.listdir(directory))
    except OSError:
        pass
    return tops


def _importable(directories: Iterable[str], names: AbstractSet[str]) -> Set[str]:
    """Which of the top-level names lead to a module or a regular package in one of the directories."""
    found: Set[str] = set()
    for directory in directories:
        try:
            entries = os.listdir(directory)
        except OSError:
            continue
        for entry in entries:
            top, dot, _ = entry.partition(".")
            if top in names and (
                entry.endswith((".py", ".so")) if dot else os.path.exists(f"{directory}/{entry}/__init__.py")
            ):
                found.add(top)
    return found


def _is_own_make(packages: str, entry: str) -> bool:
    """Whether a distribution came from a checkout or an archive, and not by its name and version alone."""
    return entry.endswith(".egg-info") or os.path.exists(f"{packages}/{entry}/direct_url.json")
