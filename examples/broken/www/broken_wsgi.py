"""Broken on purpose: it shows what an owner, and a visitor, see of an app that can't be loaded.

`barometer` is installed nowhere. The visitor gets a plain page; the traceback is for the owner alone.
To mend it, remove the import and put in its place:  def pressure() -> int: return 1013
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from barometer import pressure  # the fault


def application(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"The air presses with {pressure()} hPa.\n".encode()]
