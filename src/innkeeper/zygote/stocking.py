"""What a zygote imports before it forks: the runtime's common modules, and nothing that would do harm."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Any, Dict, List

from innkeeper.worker import imports, interpreter, kinds, virtualenv
from innkeeper.worker.stock import STOCK, Misses
from innkeeper.zygote import readahead, rehearsal, trial

# What uWSGI and every worker need at once.
COMMON = (
    "pyuwsgi",
    "wsgiref.headers",
    "wsgiref.util",
    "encodings.idna",
    "email.parser",
    "http.cookies",
    "hashlib",
    "html",
    "json",
    "logging.config",
    "sqlite3",
    "tempfile",
    "urllib.parse",
    "uuid",
    "zoneinfo",
)


# Read by libraries that would start threads when they are imported; a worker's own environment lacks it.
_WHILE_IMPORTING = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def stock(settings: Dict[str, Any]) -> trial.Sifted:
    """Import what is to be shared, and tell what came of that.

    `settings["preload"]` is named by the operator; of `settings["wanted"]` what the runtime lacks is passed over.
    A bare zygote keeps nothing of its runtime's packages but our hold on those that serve.
    """
    source, bare = settings["source"], settings["bare"]
    prefix = str(Path(settings["python"]).parents[1])
    virtualenv.begin(prefix, source)
    interpreter.remember(source)
    misses = Misses()
    sys.meta_path.append(misses)
    sys.path.append(source)
    for kind, reason in kinds.learn().items():
        print(f"no {kind} apps can be served: {reason}", file=sys.stderr)
    for name in COMMON:
        importlib.import_module(name)
    sys.path.remove(source)
    signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # the supervisor's children are reaped by the kernel, ours not
    os.environ.update(_WHILE_IMPORTING)
    sifted = trial.sift(_wanted(settings))
    for name, reason in rehearsal.rehearse().items():
        print(f"{name} is not rehearsed: {reason}", file=sys.stderr)
    for name in _WHILE_IMPORTING:
        del os.environ[name]
    sys.meta_path.remove(misses)
    packages = virtualenv.packages_of(prefix)
    STOCK.take(packages, misses.by_module)
    if bare:
        STOCK.hide()
        virtualenv.leave()
    elif "django" in sys.modules:
        readahead.learn(rehearsal.start_project, packages)
    imports.remember(packages)
    gc.collect()
    gc.freeze()
    return sifted


def _wanted(settings: Dict[str, Any]) -> List[str]:
    """What is to be tried. Of what sites tell, only what there is a file of: each that fails costs a process."""
    inside: Dict[str, Dict[str, List[str]]] = {}
    there = [name for name in settings["wanted"] if _places(name, inside)]
    return list(dict.fromkeys([*settings["preload"], *there]))


def _places(name: str, inside: Dict[str, Dict[str, List[str]]]) -> List[str]:
    """The files and directories that a module may lie in; nothing is imported to find that out.

    `inside` keeps what the packages hold that were looked into.
    """
    package, _, last = name.rpartition(".")
    if not package:
        try:
            spec = importlib.util.find_spec(name)
        except ValueError:  # it is there, and was made without a file
            return []
        return [] if spec is None else list(spec.submodule_search_locations or [name])
    if package not in inside:
        inside[package] = _modules_in(_places(package, inside))
    return inside[package].get(last, [])


def _modules_in(places: List[str]) -> Dict[str, List[str]]:
    found: Dict[str, List[str]] = {}
    for place in places:
        with contextlib.suppress(OSError):  # it is a file
            for entry in os.listdir(place):
                found.setdefault(entry.partition(".")[0], []).append(f"{place}/{entry}")
    return found
