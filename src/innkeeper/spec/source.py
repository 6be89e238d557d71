"""Where a value came from, so that a fault can be told by file, table and key."""

from __future__ import annotations

from typing import NamedTuple, NoReturn

from innkeeper.spec import words
from innkeeper.spec.problem import Problem, SpecError


class Source(NamedTuple):
    """A file by its name, and the code of a Problem with it."""

    file: str
    code: str

    def refuse(self, what: str, hint: str) -> NoReturn:
        """Raise the SpecError for a fault of this file."""
        raise SpecError(Problem(self.code, f"{words.plain(self.file)}: {what}", hint))


class Place(NamedTuple):
    """A value's place in its file.

    `table` is its heading as messages show it ("" at the top of the file, "[app]", "[[static]] number 2");
    `number` counts from 1 in a list, and is 0 for a value of its own.
    """

    table: str
    key: str
    number: int = 0

    @property
    def name(self) -> str:
        """The key, fit to stand in a message."""
        return words.plain(self.key)

    @property
    def heading(self) -> str:
        """The heading of the table that this key opens."""
        return f"[[{self.name}]] number {self.number}" if self.number else f"[{self.name}]"

    def __str__(self) -> str:
        table = f"{self.table} " if self.table else ""
        number = f" number {self.number}" if self.number else ""
        return f"{table}`{self.name}`{number}"
