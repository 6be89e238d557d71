"""`sys.path` while an app loads: a directory that the app puts before the packages is looked into first, as ever."""

from __future__ import annotations

from typing import Any, Callable, Iterable, List, Tuple


class ModulePath(List[str]):
    """A list that tells of the directories that are put before `packages`, each once, until it is `settled`.

    The modules of packages that were imported beforehand are there without anybody having looked for them; whoever
    listens takes away those that would have been found elsewhere. A list made from this one by + is such a list, too.
    """

    def __init__(self, entries: Iterable[str], packages: str, tell: Callable[[List[str]], Any]) -> None:
        super().__init__(entries)
        self._packages = packages
        self._tell = tell
        self._seen = set(self)
        self.settled = False

    def insert(self, index: Any, entry: str) -> None:
        super().insert(index, entry)
        self._look()

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(index, value)
        self._look()

    def __add__(self, more: Any) -> Any:
        return self._with(super().__add__(more))

    def __radd__(self, before: List[str]) -> List[str]:
        return self._with([*before, *self])

    def __reduce__(self) -> Tuple[Any, ...]:
        return list, (list(self),)

    def _with(self, entries: List[str]) -> List[str]:
        made = ModulePath(self, self._packages, self._tell)
        made._seen, made.settled = self._seen, self.settled
        made[:] = entries
        return made

    def _look(self) -> None:
        if self.settled:
            return
        ahead = self[: self.index(self._packages)] if self._packages in self else self
        new = [entry for entry in ahead if isinstance(entry, str) and entry not in self._seen]
        self._seen.update(new)
        if new:
            self._tell(new)
