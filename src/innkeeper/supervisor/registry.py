"""What is wanted, read from files: each site's spec, or what is wrong with its file.

The last good version of a broken file is kept on disk, so that it goes on being served across restarts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import msgspec

from innkeeper.kernel import files
from innkeeper.spec import limits
from innkeeper.spec.problem import Problem, SpecError
from innkeeper.spec.site import SiteSpec

SUFFIX = ".toml"

Spec = TypeVar("Spec")
_Mark = tuple[int, int, int]  # mtime, size, inode: differs when the file was written or touched


class Change(NamedTuple):
    """A site file that was read anew: the spec before and after (None: no such site)."""

    domain: str
    before: SiteSpec | None
    after: SiteSpec | None
    touched: bool


def read(path: Path, parse: Callable[[str, str, str], Spec]) -> Spec:
    """The spec in a file; SpecError says what is wrong with it. `parse` takes name, text and file name."""
    try:
        text = files.read_small(path, limits.MAX_FILE).decode(
            "utf-8-sig"
        )  # Windows marks UTF-8 at its beginning
    except UnicodeDecodeError as error:
        raise SpecError(
            Problem(
                "file-unreadable",
                f"{path.name}: it is not UTF-8 text (byte {error.start} is {error.object[error.start]:#04x})",
                "Save the file as UTF-8.",
            )
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        hint = "Mend or delete the file."
        if isinstance(error, PermissionError) and os.geteuid() != 0:
            hint = "Run the command as root or with sudo."
        raise SpecError(
            Problem("file-unreadable", f"{path.name}: it can't be read: {reason}", hint)
        ) from None
    return parse(path.name.removesuffix(SUFFIX), text, path.name)


class Folder(Generic[Spec]):
    """A directory of spec files, NAME.toml each: the good specs and the faults by name."""

    def __init__(self, directory: Path, parse: Callable[[str, str, str], Spec]) -> None:
        self.directory = directory
        self.specs: dict[str, Spec] = {}
        self.faults: dict[str, Problem] = {}
        self._parse = parse
        self._marks: dict[str, _Mark] = {}

    def names(self) -> Iterator[str]:
        """The names of the files that are there now."""
        for entry in os.scandir(self.directory):
            if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                yield entry.name.removesuffix(SUFFIX)

    def refresh(self, name: str) -> bool | None:
        """Read one file anew. True: it is there and was written or touched; False: nothing new; None: gone."""
        path = self.directory / f"{name}{SUFFIX}"
        try:
            state = path.stat() if path.exists() else path.lstat()  # a link that leads nowhere is to be told
        except OSError:
            known = self._marks.pop(name, None) is not None
            self.specs.pop(name, None)
            self.faults.pop(name, None)
            return None if known else False
        mark = (state.st_mtime_ns, state.st_size, state.st_ino)
        if self._marks.get(name) == mark:
            return False
        self._marks[name] = mark
        try:
            self.specs[name] = read(path, self._parse)
            self.faults.pop(name, None)
        except SpecError as error:
            self.faults[name] = error.problem
        return True

    def load(self) -> None:
        """Read all files that are new or changed, and forget those that are gone."""
        for name in {*self.names(), *self._marks}:
            self.refresh(name)


class Registry:
    """The wanted sites. A broken file leaves the last good spec in force and its fault beside it."""

    def __init__(self, folder: Folder[SiteSpec], last_good: Path, log: Callable[[str], None]) -> None:
        self._folder = folder
        self._last_good = last_good
        self._log = log
        self.wanted: dict[str, SiteSpec] = {}

    @property
    def faults(self) -> dict[str, Problem]:
        return self._folder.faults

    def refresh(self, names: Iterable[str] | None = None) -> list[Change]:
        """Read the named files (None: all) and return what has changed, removals first."""
        changes = [
            change
            for name in (names if names is not None else {*self._folder.names(), *self.wanted, *self.faults})
            if (change := self._refresh_one(name)) is not None
        ]
        return sorted(changes, key=lambda change: change.after is not None)

    def _refresh_one(self, name: str) -> Change | None:
        before = self.wanted.get(name)
        news = self._folder.refresh(name)
        if news is False:
            return None
        if news is None:
            self._forget_last_good(name)
            self.wanted.pop(name, None)
            return Change(name, before, None, False) if before else None
        if name in self.faults:
            if before is None:
                before = self._recall(name)
                if before is not None:
                    self.wanted[name] = before
                    return Change(name, None, before, False)
            else:
                self._remember(name)
            return None
        spec = self.wanted[name] = self._folder.specs[name]
        self._forget_last_good(name)
        return Change(name, before, spec, before == spec)

    # The last good spec's text is gone when its file is found broken; so what is kept is the spec, as JSON. A disk
    # that takes none keeps no change from being carried out: the spec is in memory as well.

    def _remember(self, name: str) -> None:
        try:
            files.write_atomically(self._kept(name), msgspec.json.encode(self.wanted[name]).decode())
        except OSError as error:
            self._log(f"{name}: its last good version could not be kept for a restart: {error}")

    def _recall(self, name: str) -> SiteSpec | None:
        """The last good version of a file that was broken before this supervisor came."""
        try:
            return msgspec.json.decode(self._kept(name).read_bytes(), type=SiteSpec)
        except (OSError, msgspec.DecodeError):
            return None

    def _forget_last_good(self, name: str) -> None:
        try:
            self._kept(name).unlink(missing_ok=True)
        except OSError as error:
            self._log(f"{name}: its last good version of before could not be deleted: {error}")

    def _kept(self, name: str) -> Path:
        return self._last_good / f"{name}.json"
