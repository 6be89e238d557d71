"""Landlock: what a process and its children may do to files, whatever the file system's own rights say.

https://docs.kernel.org/userspace-api/landlock.html. The numbers are those of the kernel's <linux/landlock.h>.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Iterable, List, Optional, Tuple

from innkeeper.kernel import libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
WRITE_FILE = 1 << 1
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK = 1 << 6, 1 << 7, 1 << 8, 1 << 9
MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = 1 << 10, 1 << 11, 1 << 12
REFER = 1 << 13  # since 2
TRUNCATE = 1 << 14  # since 3
_CHANGES = (
    REMOVE_DIR | REMOVE_FILE | MAKE_CHAR | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_BLOCK | MAKE_SYM
)
_SCOPE_ABSTRACT_SOCKETS = 1  # since 6
SCOPES_SINCE = 6
_USEFUL_SINCE = 2  # before, no file could be moved from one directory to another


def version() -> int:
    """The version of the kernel's interface; 0 where there is none, or none that is of use."""
    try:
        found = libc.call("syscall", _CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    except OSError:
        return 0
    return found if found >= _USEFUL_SINCE else 0


def rules(writable: Iterable[str], touchable: Iterable[str]) -> Optional[int]:
    """Rules by which files are changed only below `writable`, and written into below `touchable` as well.

    Abstract Unix sockets of processes outside can't be connected to where the kernel knows how. Returns an open
    file that `restrict` takes and the caller closes; None where there is no Landlock. Paths that are not there
    are passed over.
    """
    known = version()
    if not known:
        return None
    handled, write, scopes, size = _rights(known)
    attributes = struct.pack("QQQ", handled, 0, scopes)[:size]
    ruleset = libc.call("syscall", _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        for path in writable:
            _allow(ruleset, path, handled)
        for path in touchable:
            _allow(ruleset, path, write)
    except OSError:
        os.close(ruleset)
        raise
    return ruleset


def steps(writable: Iterable[str], touchable: Iterable[str]) -> List[Tuple[str, ...]]:
    """What `rules` does, as steps of a `mold.Script`; none where there is no Landlock."""
    known = version()
    if not known:
        return []
    handled, write, scopes, size = _rights(known)
    return [
        ("rules", str(handled), str(scopes), str(size)),
        *(("allow", path, str(handled)) for path in writable),
        *(("allow", path, str(write)) for path in touchable),
    ]


def _rights(known: int) -> Tuple[int, int, int, int]:
    """What is handled, what writing is of that, the scopes, and the bytes of attributes that this version knows."""
    write = WRITE_FILE | (TRUNCATE if known >= 3 else 0)
    scoped = known >= SCOPES_SINCE
    return _CHANGES | REFER | write, write, _SCOPE_ABSTRACT_SOCKETS if scoped else 0, 24 if scoped else 8


def restrict(ruleset: int) -> None:
    """Hold this process and its children to the rules for good. Takes no_new_privs."""
    libc.call("syscall", _RESTRICT_SELF, ruleset, 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        directory = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rule = struct.pack("=Qi", rights, directory)
        libc.call("syscall", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(directory)
