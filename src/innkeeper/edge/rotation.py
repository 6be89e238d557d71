"""Logs that have grown large or old: set aside, compressed, and after a time deleted. All in directories of root's.

error.log  →  error.log-20261124T041500  →  error.log-20261124T041500.gz
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import time
from pathlib import Path

from innkeeper.kernel import files

KINDS = ("access", "error", "server")
KEPT = 10  # logs of a kind that were set aside, whatever their age
SETTLED = 60.0  # seconds after which nobody writes to a log that was set aside (nginx looks anew after 5)
_OLD = 7 * 86_400.0  # seconds after which a log that is not empty is set aside, too
_LEVEL = 4  # of compression: three times as quick as the usual 6, a twentieth larger


def set_aside(directory: Path, kind: str) -> None:
    """Rename a log; whoever writes it has to be given another."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    target = directory / f"{kind}.log-{stamp}"
    for number in range(2, 100):
        if not target.exists() and not target.with_name(f"{target.name}.gz").exists():
            break
        target = directory / f"{kind}.log-{stamp}.{number}"
    with contextlib.suppress(FileNotFoundError):
        os.rename(directory / f"{kind}.log", target)


def is_due(directory: Path, kind: str, limit: int) -> bool:
    """Whether a log is large enough, or has been written to for long enough, to be set aside."""
    try:
        state = os.stat(directory / f"{kind}.log", follow_symlinks=False)
    except FileNotFoundError:
        return False
    if state.st_size >= limit:
        return True
    begun = files.born(directory / f"{kind}.log") or state.st_mtime
    return state.st_size > 0 and time.time() - begun > _OLD


def has_aside(directory: Path) -> bool:
    """Whether there is any log that was set aside."""
    try:
        return any(".log-" in entry.name for entry in os.scandir(directory))
    except FileNotFoundError:
        return False


def tidy(directory: Path, days: int) -> bool:
    """Compress what was set aside a while ago, and delete what is too old or too much; False when some is to wait."""
    settled, now = True, time.time()
    for kind in KINDS:
        aside = sorted(_aside(directory, kind), key=lambda path: path.name, reverse=True)
        for number, path in enumerate(aside):
            age = now - path.stat().st_mtime
            if number >= KEPT or age > days * 86_400.0:
                path.unlink()
            elif path.suffix != ".gz" and age > SETTLED:
                _compress(path)
            elif path.suffix != ".gz":
                settled = False
    return settled


def _aside(directory: Path, kind: str) -> list[Path]:
    return [path for path in directory.glob(f"{kind}.log-*") if path.suffix != ".part"]


def _compress(path: Path) -> None:
    state = path.stat()
    beside = path.with_name(f"{path.name}.part")
    with path.open("rb") as plain, gzip.open(beside, "wb", compresslevel=_LEVEL) as packed:
        shutil.copyfileobj(plain, packed, 1 << 20)
    os.chown(beside, state.st_uid, state.st_gid)
    os.chmod(beside, state.st_mode & 0o777)
    os.utime(beside, ns=(state.st_atime_ns, state.st_mtime_ns))
    os.rename(beside, path.with_name(f"{path.name}.gz"))
    path.unlink()
