"""What a zygote imports before it forks: the runtime's common modules, and nothing that would do harm."""

from __future__ import annotations

import gc
import importlib
import importlib.machinery
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
    found = [*settings["preload"], *(name for name in settings["wanted"] if _is_there(name))]
    return list(dict.fromkeys(found))


def _is_there(name: str) -> bool:
    """Whether there is a file of the module: sites may have told of any name, and each trial takes its time."""
    top, *inner = name.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not inner:
        return spec is not None
    endings = (*importlib.machinery.all_suffixes(), "/__init__.py")
    places = [os.path.join(place, *inner) for place in spec.submodule_search_locations or ()]
    return any(os.path.exists(place + ending) for place in places for ending in endings)
