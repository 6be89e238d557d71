"""multipart/form-data (RFC 7578) as a stream: a part's content is handed on while it arrives.

At no time is more in memory than one piece of the body and one delimiter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from typing import NamedTuple

from body import Body

MOST_HEADER = 8 * 1024  # bytes in one line of a part's header
MOST_HEADERS = 16
MOST_PARTS = 64
_PARAMETER = re.compile(r';\s*filename="([^"]*)"', re.IGNORECASE)
_ESCAPES = {"%22": '"', "%0D": "\r", "%0A": "\n"}  # what browsers put for the three that a name can't hold


class Malformed(Exception):
    """The body is not what its type says; the text tells how."""


class Part(NamedTuple):
    """One field of the form; `filename` is empty for a field without a file."""

    filename: str
    chunks: Iterator[bytes]


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names; empty if it is not multipart/form-data."""
    message = Message()
    message["Content-Type"] = content_type
    if message.get_content_type() != "multipart/form-data":
        return b""
    return (message.get_boundary() or "").encode("latin-1", "replace")[:70]


def read_parts(body: Body, boundary: bytes) -> Iterator[Part]:
    """The parts in their order. What is left unread of one is passed over before the next."""
    reader = _Reader(body)
    delimiter = b"\r\n--" + boundary
    for _ in reader.until(delimiter):
        pass  # a preamble, which means nothing
    for _ in range(MOST_PARTS):
        if reader.next_two() == b"--":
            return  # what may follow means nothing
        reader.line()
        part = Part(_filename(reader), reader.until(delimiter))
        yield part
        for _ in part.chunks:
            pass
    raise Malformed(f"it has more than {MOST_PARTS} parts")


def _filename(reader: _Reader) -> str:
    """Read a part's header lines; the file's name that they tell."""
    found = ""
    for _ in range(MOST_HEADERS):
        line = reader.line().decode("utf-8", "replace")
        if not line:
            return found
        key, _, value = line.partition(":")
        match = _PARAMETER.search(value)
        if key.strip().lower() == "content-disposition" and match:
            found = re.sub("%22|%0D|%0A", lambda escape: _ESCAPES[escape[0]], match[1])
    raise Malformed(f"a part has more than {MOST_HEADERS} header lines")


class _Reader:
    """Looks for delimiters in a body that arrives in pieces."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._held = b"\r\n"  # so that a delimiter on the very first line is found like all others

    def next_two(self) -> bytes:
        """The two bytes to come, which stay where they are."""
        while len(self._held) < 2:
            self._fetch()
        return self._held[:2]

    def line(self) -> bytes:
        """What stands before the next line end."""
        line = bytearray()
        for chunk in self.until(b"\r\n"):
            line += chunk
            if len(line) > MOST_HEADER:
                raise Malformed("a header line is too long")
        return bytes(line)

    def until(self, delimiter: bytes) -> Iterator[bytes]:
        """All that comes before `delimiter`, which is passed over."""
        keep = len(delimiter) - 1  # so much may be the beginning of a delimiter
        while True:
            before, found, after = self._held.partition(delimiter)
            if found:
                self._held = after
                if before:
                    yield before
                return
            if len(self._held) > keep:
                ready, self._held = self._held[:-keep], self._held[-keep:]
                yield ready
            self._fetch()

    def _fetch(self) -> None:
        piece = self._body.read()
        if not piece:
            raise Malformed("its last delimiter is missing")
        self._held += piece
