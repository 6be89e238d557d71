"""Making a forked interpreter that of a virtualenv, as if the virtualenv's own `bin/python` had started it."""

from __future__ import annotations

import ctypes
import os
import re
import site
import sys
from typing import Dict, List, NoReturn, Optional

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_bare_path: List[str] = []  # sys.path without any packages
_places: Dict[str, str] = {}  # "runtime": its prefix, "entered": that of the packages that can be imported
# What -I and -S say, which zygotes are started with.
_OPTIONS = ("isolated", "no_site", "ignore_environment", "no_user_site", "safe_path")
_STALE = ("sitecustomize", "usercustomize", "sysconfig")  # what they found out holds for another prefix


class Unfit(Exception):
    """This process can't run the app with exactly its own packages; `python` names the version that could."""

    def __init__(self, reason: str, python: str = "") -> None:
        super().__init__(reason)
        self.python = python


class Broken(Exception):
    """There is no working virtualenv; the text is for its owner."""


def begin(prefix: str, hidden: str) -> None:
    """In an interpreter that was started without `site`: note its bare path, and enter the runtime's packages.

    `hidden` is the directory of our own source, which no app is to look into.
    """
    _lose_flags()
    _places["runtime"] = prefix
    _bare_path[:] = [entry for entry in sys.path if entry != hidden]
    enter(None)


def _lose_flags() -> None:
    """Have `sys.flags` as of an ordinary start: libraries start their children with the options that it tells of."""
    set_item = ctypes.pythonapi.PyStructSequence_SetItem
    set_item.argtypes, set_item.restype = [ctypes.py_object, ctypes.c_ssize_t, ctypes.py_object], None
    for index, name in enumerate(re.findall(r"(\w+)=", repr(sys.flags))):
        if name in _OPTIONS:
            none = type(getattr(sys.flags, name))(0)
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(none))  # the reference that is put there
            set_item(sys.flags, index, none)


def leave() -> None:
    """Have no packages at all."""
    _places.pop("entered", None)
    sys.path[:] = _bare_path


def enter(prefix: Optional[str]) -> None:
    """Have `sys.prefix`, `sys.path`, `sys.executable` and what .pth files do from there (None: the runtime)."""
    prefix = prefix or _places["runtime"]
    sys.executable = f"{prefix}/bin/python"
    if _places.get("entered") == prefix:
        return
    _places["entered"] = prefix
    for name in _STALE:
        sys.modules.pop(name, None)
    sys.path[:] = _bare_path
    sys.prefix, sys.exec_prefix = sys.base_prefix, sys.base_exec_prefix
    site.PREFIXES = [sys.base_prefix, sys.base_exec_prefix]
    site.ENABLE_USER_SITE = None
    site.main()  # reads pyvenv.cfg beside the executable, as the interpreter does at its start
    site.USER_BASE = site.USER_SITE = None  # they depend on HOME, and whoever asks has them made
    spawning = sys.modules.get("multiprocessing.spawn")
    if spawning is not None:
        spawning.set_executable(sys.executable)


def packages() -> str:
    """The directory of the packages that can be imported."""
    return f"{_places['entered']}/lib/python{VERSION}/site-packages"


def packages_of(prefix: str) -> str:
    """The directory of a virtualenv's packages. Raises Broken, or Unfit when it is another Python's."""
    if not os.path.isdir(prefix):
        _refuse(prefix, "there is no such directory")
    if not os.path.isfile(f"{prefix}/pyvenv.cfg"):
        _refuse(prefix, "it has no pyvenv.cfg, so it is no virtualenv")
    python = f"{prefix}/bin/python"
    found = f"{prefix}/lib/python{VERSION}/site-packages"
    versions = _versions(prefix)
    if not os.path.lexists(python):
        _refuse(prefix, "it has no bin/python")
    if versions and VERSION not in versions:
        if not os.access(python, os.X_OK):
            _refuse(prefix, _dangling(python, versions[-1]))
        raise Unfit(f"it was made with Python {versions[-1]}", versions[-1])
    if not versions or not os.path.isdir(found):
        _refuse(prefix, f"it has no lib/python{VERSION}/site-packages")
    if not os.access(python, os.X_OK):
        _refuse(prefix, _dangling(python, VERSION))
    return found


def _versions(prefix: str) -> List[str]:
    """The Pythons that the virtualenv has packages for, the youngest last."""
    try:
        names = os.listdir(f"{prefix}/lib")
    except OSError:
        return []
    found = [match.group(1) for match in (re.fullmatch(r"python(\d+\.\d+)", name) for name in names) if match]
    return sorted(found, key=lambda version: [int(part) for part in version.split(".")])


def _dangling(python: str, version: str) -> str:
    target = os.path.realpath(python)
    return f"its bin/python leads to {target}, which is not here (it was made with Python {version})"


def _refuse(prefix: str, what: str) -> NoReturn:
    raise Broken(f"the virtualenv {prefix} can't be used: {what}")
