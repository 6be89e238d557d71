"""What is wanted, read from files: each site's or tenant's spec, or what is wrong with its file.

The last good version of a broken file is kept on disk, so that it stays in force across restarts.
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
        # Windows marks UTF-8 at its beginning.
        text = files.read_small(path, limits.MAX_FILE).decode("utf-8-sig")
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

    def known(self) -> set[str]:
        """The names of the files that are there, and of those that were."""
        return {*self.names(), *self._marks}

    def refresh(self, name: str) -> bool | None:
        """Read one file anew. True: it is there and was written or touched; False: nothing new; None: none."""
        path = self.directory / f"{name}{SUFFIX}"
        try:
            state = path.stat() if path.exists() else path.lstat()  # a link that leads nowhere is to be told
        except OSError:
            self._marks.pop(name, None)
            self.specs.pop(name, None)
            self.faults.pop(name, None)
            return None
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
        for name in self.known():
            self.refresh(name)


class LastGood(Generic[Spec]):
    """The last good versions of files that are broken now, on disk.

    The text of one is gone when its file is found broken; so what is kept is the spec, as JSON. A disk that takes
    none keeps no change from being carried out: the spec is in memory as well.
    """

    def __init__(self, directory: Path, kind: type[Spec], log: Callable[[str], None]) -> None:
        self._directory = directory
        self._kind = kind
        self._log = log

    def names(self) -> set[str]:
        return {path.stem for path in self._directory.glob("*.json")}

    def keep(self, name: str, spec: Spec) -> None:
        try:
            files.ensure_directory(self._directory, mode=0o700)
            files.write_atomically(self._path(name), msgspec.json.encode(spec).decode())
        except OSError as error:
            self._log(f"{name}: its last good version could not be kept for a restart: {error}")

    def recall(self, name: str) -> Spec | None:
        try:
            return msgspec.json.decode(self._path(name).read_bytes(), type=self._kind)
        except (OSError, msgspec.DecodeError):
            return None

    def forget(self, name: str) -> None:
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            self._log(f"{name}: its last good version of before could not be deleted: {error}")

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"


class LastingFolder(Folder[Spec]):
    """One in which a broken file leaves its last good spec in force, also when another supervisor reads it."""

    def __init__(
        self, directory: Path, parse: Callable[[str, str, str], Spec], last_good: LastGood[Spec]
    ) -> None:
        super().__init__(directory, parse)
        self._last_good = last_good

    def known(self) -> set[str]:
        return super().known() | self._last_good.names()

    def refresh(self, name: str) -> bool | None:
        news = super().refresh(name)
        if news is False:
            return news
        if name not in self.faults:
            self._last_good.forget(name)
        elif name in self.specs:
            self._last_good.keep(name, self.specs[name])
        elif (recalled := self._last_good.recall(name)) is not None:
            self.specs[name] = recalled
        return news


class Registry:
    """The wanted sites."""

    def __init__(self, folder: Folder[SiteSpec]) -> None:
        self._folder = folder

    @property
    def wanted(self) -> dict[str, SiteSpec]:
        return self._folder.specs

    @property
    def faults(self) -> dict[str, Problem]:
        return self._folder.faults

    def refresh(self, names: Iterable[str] | None = None) -> list[Change]:
        """Read the named files (None: all) and return what has changed, removals first."""
        changes = [
            change
            for name in (names if names is not None else self._folder.known())
            if (change := self._refresh_one(name)) is not None
        ]
        return sorted(changes, key=lambda change: change.after is not None)

    def _refresh_one(self, name: str) -> Change | None:
        before = self.wanted.get(name)
        news = self._folder.refresh(name)
        after = self.wanted.get(name)
        is_still_good = before is not None and name in self.faults
        if news is False or before is after is None or is_still_good:
            return None
        return Change(name, before, after, before == after)
