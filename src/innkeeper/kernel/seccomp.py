"""seccomp: which system calls a process may make, compiled once by libseccomp and installed in each process.

The compiled filter is classic BPF, so that installing it takes one system call and no library.
"""

from __future__ import annotations

import ctypes
import os
from typing import Iterable, List, NamedTuple, Tuple

from innkeeper.kernel import libc

LIBRARY = "libseccomp.so.2"
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE
_BINARY_TREE = 2
_MASKED_EQUAL = 7  # SCMP_CMP_MASKED_EQ
_SET_SECCOMP = 22  # PR_SET_SECCOMP
_FILTER = 2  # SECCOMP_MODE_FILTER
_INSTRUCTION = 8  # bytes of one BPF instruction


class Rule(NamedTuple):
    """Allow a call; with `conditions` only when for all of them (argument's index, mask, value) it has that value."""

    call: str
    conditions: Tuple[Tuple[int, int, int], ...] = ()


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def compile_filter(rules: Iterable[Rule], otherwise: int, refused: Iterable[Tuple[str, int]] = ()) -> bytes:
    """The filter that allows what the rules say and answers all else by the error number `otherwise`.

    `refused` has calls with an error number of their own. Calls that this machine's architecture does not know
    are left out. Raises OSError when libseccomp is missing or refuses.
    """
    rows = [(_ALLOW, rule) for rule in rules]
    rows += [(_ERRNO | number, Rule(call)) for call, number in refused if number != otherwise]
    return _compile(_ERRNO | otherwise, rows)


def compile_refusals(rules: Iterable[Rule], number: int) -> bytes:
    """A filter beside another one: what the rules say gives the error `number`, all else is left to the other.

    Of several filters the strictest answer holds. Raises OSError as `compile_filter` does.
    """
    return _compile(_ALLOW, [(_ERRNO | number, rule) for rule in rules])


def _compile(default: int, rows: Iterable[Tuple[int, Rule]]) -> bytes:
    library = ctypes.CDLL(LIBRARY, use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    for name in ("seccomp_attr_set", "seccomp_rule_add_array", "seccomp_export_bpf", "seccomp_release"):
        getattr(library, name).argtypes = None
    context = ctypes.c_void_p(library.seccomp_init(default))
    if not context:
        raise OSError("libseccomp made no filter")
    try:
        library.seccomp_attr_set(context, _OPTIMIZE, ctypes.c_uint32(_BINARY_TREE))  # older ones know it not
        for action, rule in rows:
            _add(library, context, action, rule)
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: ctypes.c_void_p, action: int, rule: Rule) -> None:
    number = library.seccomp_syscall_resolve_name(rule.call.encode())
    if number < 0:
        return
    comparisons = [_Comparison(index, _MASKED_EQUAL, mask, value) for index, mask, value in rule.conditions]
    array = (_Comparison * len(comparisons))(*comparisons)
    result = library.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(comparisons), array)
    if result < 0:
        raise OSError(-result, f"seccomp_rule_add: {rule.call}: {os.strerror(-result)}")


def _export(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    descriptor = os.memfd_create("seccomp")
    try:
        result = library.seccomp_export_bpf(context, descriptor)
        if result < 0:
            raise OSError(-result, f"seccomp_export_bpf: {os.strerror(-result)}")
        return os.pread(descriptor, 1 << 20, 0)
    finally:
        os.close(descriptor)


def install(program: bytes) -> None:
    """Hold this thread, and all that comes of it, to the filter for good. Takes no_new_privs or privilege."""
    buffer = ctypes.create_string_buffer(program, len(program))
    described = _Program(len(program) // _INSTRUCTION, ctypes.cast(buffer, ctypes.c_void_p))
    libc.call("prctl", _SET_SECCOMP, ctypes.c_ulong(_FILTER), ctypes.byref(described), 0, 0)


def allowed(calls: str) -> List[Rule]:
    """Rules for calls that are allowed with any arguments, from a text of their names."""
    return [Rule(call) for call in calls.split()]
