"""Reading ahead: the code of modules that only an app itself can import, and the regular expressions they compile.

Django's models and all that uses them want a project's settings, so they can't be imported beforehand; but their
code can be there, which saves each start looking for the files, reading and decoding them. What it is worth to
have is found out by a process that starts a small project (see `rehearsal`) and tells what that took.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import re
import sys
from functools import partial
from types import CodeType, ModuleType
from typing import Any, Callable, Dict, List, Optional, Sequence

from innkeeper.zygote import trial


def learn(start: Callable[[], Any], packages: str) -> None:
    """Have what `start` needs at hand, as far as it comes from the directory `packages`. Call it once."""
    told = json.loads(trial.hear(lambda: json.dumps(_watch(start)), "{}"))
    for pattern, flags in told.get("patterns", ()):
        trial.reason_of(partial(re.compile, pattern, flags))
    files = told.get("files", {})
    codes = {name: code for name, path in files.items() if (code := _read(name, path, packages)) is not None}
    if codes:
        sys.meta_path.insert(0, Codes(codes, {name: files[name] for name in codes}))


def _watch(start: Callable[[], Any]) -> Dict[str, Any]:
    """Start, whatever comes of it, and tell the files of the modules that were imported, and what was compiled."""
    modules, patterns = set(sys.modules), set(_compiled())
    trial.reason_of(start)
    files = {}
    for name, module in list(sys.modules.items()):
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        if name not in modules and "." in name and isinstance(origin, str) and origin.endswith(".py"):
            files[name] = origin
    new = [key for key in _compiled() if key not in patterns]
    return {"files": files, "patterns": [[key[1], int(key[2])] for key in new if isinstance(key[1], str)]}


def _compiled() -> List[Any]:
    """What `re` keeps: type, pattern and flags of each. Python's own affair, so there may be nothing."""
    return list(getattr(re, "_cache", ()))


def _read(name: str, path: str, packages: str) -> Optional[CodeType]:
    if not os.path.realpath(path).startswith(os.path.realpath(packages) + "/"):
        return None
    try:
        return importlib.machinery.SourceFileLoader(name, path).get_code(name)
    except (ImportError, OSError, SyntaxError, ValueError):
        return None


class Codes(importlib.abc.MetaPathFinder):
    """Finds the modules whose code was read: only where the app's own package would have found the same file."""

    def __init__(self, codes: Dict[str, CodeType], files: Dict[str, str]) -> None:
        self._codes = codes
        self._files = files

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        file = self._files.get(fullname)
        if file is None or path is None:
            return None
        place, name = os.path.split(file)
        inside = [place] if name == "__init__.py" else None
        if list(path) != [os.path.dirname(place) if inside else place]:
            return None
        loader = _Loader(fullname, file, self._codes[fullname])
        return importlib.util.spec_from_file_location(
            fullname, file, loader=loader, submodule_search_locations=inside
        )


class _Loader(importlib.machinery.SourceFileLoader):
    """As Python's own, but for the code, which is here."""

    def __init__(self, fullname: str, path: str, code: CodeType) -> None:
        super().__init__(fullname, path)
        self._code = code

    def get_code(self, fullname: str) -> Optional[CodeType]:
        return self._code
