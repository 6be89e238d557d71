"""The end of a serving process: all that Python does at its own, save for taking itself apart.

Taking it apart (`Py_Finalize`) would write to almost every page that the worker shares with its zygote, so each
would be copied first: tens of milliseconds and megabytes, all to be thrown away at once.
"""

from __future__ import annotations

import _io
import atexit
import contextlib
import gc
import io
import os
import threading
import traceback
from typing import Any, Callable, List, NoReturn

_BUFFERED = (io.BufferedWriter, io.BufferedRandom)


def end() -> NoReturn:
    """Wait for threads that are not daemons, run what is registered with atexit, write out files, and end.

    To be called by the main thread. What the app raises meanwhile is printed, and is in nobody's way.
    """
    attempt(threading._shutdown)  # type: ignore[attr-defined] # as Python itself calls it
    attempt(atexit._run_exitfuncs)
    _write_out([thing for thing in gc.get_objects() if issubclass(type(thing), _io._IOBase)])
    os._exit(0)


def _write_out(files: List[Any]) -> None:
    """As the end of their objects would: what is text first, then what packs, then what holds bytes back."""
    for file in files:
        if type(file) is io.TextIOWrapper:
            _flush(file.flush)
    for file in files:
        if type(file).__module__ != "_io":
            _flush(file.close)
    for file in files:
        if type(file) in _BUFFERED:
            _flush(file.flush)


def _flush(write: Callable[[], Any]) -> None:
    with contextlib.suppress(Exception):  # closed, or there is no room: nobody is left to be told
        write()


def attempt(step: Callable[[], Any]) -> None:
    """Do what the app asked for; what it raises, be it SystemExit, is printed and ends nothing."""
    try:
        step()
    except BaseException:
        with contextlib.suppress(Exception):
            traceback.print_exc()
