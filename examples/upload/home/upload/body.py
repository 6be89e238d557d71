"""A request's body, read in pieces and never past its end."""

from __future__ import annotations

from typing import Protocol

PIECE = 64 * 1024


class Readable(Protocol):
    """wsgi.input, as far as it is used here."""

    def read(self, size: int, /) -> bytes: ...


class Truncated(Exception):
    """The visitor went away before all of the body had come."""


class Body:
    """`length` bytes of `stream`."""

    def __init__(self, stream: Readable, length: int) -> None:
        self._stream = stream
        self._left = length

    def read(self) -> bytes:
        """The next piece of at most PIECE bytes; empty at the end. Truncated if the end comes too soon."""
        if not self._left:
            return b""
        try:
            piece = self._stream.read(min(PIECE, self._left))
        except OSError as error:  # how some servers tell it
            raise Truncated from error
        if not piece:
            raise Truncated
        self._left -= len(piece)
        return piece
