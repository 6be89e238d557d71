"""What a zygote imports before it forks: the runtime's common modules, and nothing that would do harm.

A thread that is alive while we fork would leave its locks held for ever in every worker. So after each module
the threads are counted; a module that left one can't be taken back, and so the zygote is started again without.
"""

from __future__ import annotations

import gc
import importlib
import sys
from pathlib import Path
from typing import Any, Dict, Iterable

from innkeeper.kernel import processes
from innkeeper.worker import interpreter, kinds, virtualenv
from innkeeper.worker.stock import STOCK, Misses

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


def stock(settings: Dict[str, Any]) -> Dict[str, str]:
    """Import what is to be shared; a reason for each module that was left out. ThreadLeft as for `_preload`.

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
    left_out = _preload(settings["preload"])
    sys.meta_path.remove(misses)
    sys.path.remove(source)
    STOCK.take(virtualenv.packages_of(prefix), misses.by_module)
    if bare:
        STOCK.hide()
        virtualenv.leave()
    gc.collect()
    gc.freeze()
    return left_out


def _preload(modules: Iterable[str]) -> Dict[str, str]:
    """Import the modules; a reason for each that was left out. Raises ThreadLeft when one started a thread."""
    left_out: Dict[str, str] = {}
    before = dict(sys.modules)
    for name in (*COMMON, *modules):
        try:
            importlib.import_module(name)
        except Exception as error:  # a package of the operator's may fail in any way; the node must not
            left_out[name] = f"{type(error).__name__}: {error}"
            for added in set(sys.modules) - set(before):
                if added == name or added.startswith(name + "."):
                    del sys.modules[added]
        if processes.thread_count() > 1:
            raise ThreadLeft(name)
        before = dict(sys.modules)
    return left_out


class ThreadLeft(Exception):
    """A module started a thread when it was imported; its name is the argument."""
