"""The C library by ctypes: one handle, and calls that raise OSError instead of returning -1."""

from __future__ import annotations

import ctypes
import os
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc_with_gil = ctypes.PyDLL(None, use_errno=True)


def fork() -> int:
    """Fork without what modules have Python do before and after (os.register_at_fork). Raises OSError.

    For a process with one thread whose child runs nobody's code, but may fork itself by `os.fork`. All that these
    functions look at would be copied: a hundred and seventy pages.
    """
    pid: int = _libc_with_gil.fork()
    if pid < 0:
        raise OSError(ctypes.get_errno(), "fork: " + os.strerror(ctypes.get_errno()))
    return pid


def call(name: str, *arguments: Any, about: str = "") -> int:
    """Call the C function `name`; its result, or OSError with `about` as the file name."""
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", about or None)
    return result
