"""The notes, in one SQLite file in the home.

Each call opens the file for itself, so any number of processes and threads may share it: SQLite lets one
writer in at a time, and the others wait.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).resolve().parent / "data" / "notes.sqlite3"
COLOURS = ("yellow", "green", "blue", "rose")
LONGEST = 280
KEPT = 100  # notes on the board; the oldest that is not pinned makes room
PATIENCE = 10  # seconds that a writer waits for the others

_TABLE = """
CREATE TABLE IF NOT EXISTS note (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    text TEXT NOT NULL,
    colour TEXT NOT NULL,
    pinned INTEGER NOT NULL DEFAULT 0,
    written TEXT NOT NULL
)
"""


class Note(NamedTuple):
    number: int
    text: str
    colour: str
    pinned: bool
    written: datetime


@contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    """The file for one transaction: kept when the block ends well, undone when it doesn't."""
    FILE.parent.mkdir(mode=0o700, exist_ok=True)
    connection = sqlite3.connect(FILE, timeout=PATIENCE, isolation_level=None)
    try:
        connection.execute(_TABLE)
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            yield connection
    finally:
        connection.close()


def read() -> list[Note]:
    """All notes, pinned ones first, then the newest."""
    with _opened() as connection:
        rows = connection.execute(
            "SELECT number, text, colour, pinned, written FROM note ORDER BY pinned DESC, number DESC"
        ).fetchall()
    return [
        Note(number, text, colour, bool(pinned), datetime.fromisoformat(written))
        for number, text, colour, pinned, written in rows
    ]


def add(text: str, colour: str) -> None:
    with _opened() as connection:
        connection.execute(
            "INSERT INTO note (text, colour, written) VALUES (?, ?, ?)",
            (text, colour, datetime.now(UTC).isoformat(timespec="seconds")),
        )
        connection.execute(
            "DELETE FROM note WHERE number IN "
            "(SELECT number FROM note ORDER BY pinned DESC, number DESC LIMIT -1 OFFSET ?)",
            (KEPT,),
        )


def toggle_pin(number: int) -> bool:
    """Pin a note or let it go; False when there is none of that number."""
    with _opened() as connection:
        done = connection.execute("UPDATE note SET pinned = NOT pinned WHERE number = ?", (number,))
        return done.rowcount > 0


def remove(number: int) -> None:
    """Take a note off the board, if another visitor has not done so before."""
    with _opened() as connection:
        connection.execute("DELETE FROM note WHERE number = ?", (number,))
