"""Making a forked interpreter that of a virtualenv, as if the virtualenv's own `bin/python` had started it."""

from __future__ import annotations

import os
import site
import sys


def activate(path: str | None) -> None:
    """Put the packages of the virtualenv at `path` before the runtime's, and name it in sys.prefix."""
    if not path:
        return
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = f"{path}/lib/{version}/site-packages"
    if not os.path.isdir(packages):
        return
    before = list(sys.path)
    site.addsitedir(packages)
    added = [entry for entry in sys.path if entry not in before]
    sys.path[:] = added + before
    sys.prefix = sys.exec_prefix = path
    sys.executable = f"{path}/bin/python"
