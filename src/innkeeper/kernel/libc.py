"""The C library by ctypes: one handle, and calls that raise OSError instead of returning -1."""

from __future__ import annotations

import ctypes
import os
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any, about: str = "") -> int:
    """Call the C function `name`; its result, or OSError with `about` as the file name."""
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", about or None)
    return result
