"""Values and keys as they stand in a TOML file, and others' texts, with nothing that garbles a terminal or log."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from typing import Any

# Control characters but \n and \t, the signs that turn the direction of writing, and halves of characters, as which
# Python passes on bytes that are no UTF-8.
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MARGIN = "  │ "  # before the further lines of a text that is not ours
_BYTES = range(0xDC80, 0xDD00)
_LONGEST_VALUE = 100
_LONGEST_NAME = 255
_LARGEST = 10**20
_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def visible(text: str) -> str:
    r"""Lines of somebody's with what would steer a terminal written out, as in \x1b."""
    return STEERING.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code in _BYTES:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def value(found: Any, *, secret: bool = False) -> str:
    """A value as it stands in the file; of a secret one only what sort of thing it is."""
    return quoted(found) if isinstance(found, str) and not secret else kind(found, secret=secret)


def kind(found: Any, *, secret: bool = False) -> str:
    """A value with the name of its type, where the look alone does not tell."""
    if isinstance(found, str):
        return f"a text of {len(found)} characters" if secret else f"the text {quoted(found)}"
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, (int, float)):
        return "a number" if secret or not -_LARGEST < found < _LARGEST else str(found)
    if isinstance(found, (datetime.date, datetime.time)):
        return "a date or time"
    return "a table" if isinstance(found, dict) else "a list"


def quoted(text: str) -> str:
    """A text in double quotes, shortened and escaped."""
    return f'"{_escaped(text, _LONGEST_VALUE)}"'


def plain(text: str) -> str:
    """A name that stands in a message without quotes, shortened and escaped."""
    return _escaped(text, _LONGEST_NAME)


def listed(names: Iterable[str]) -> str:
    """Keys in a row: `a`, `b` and `c`."""
    *first, last = [f"`{plain(name)}`" for name in names]
    return f"{', '.join(first)} and {last}" if first else last


def _escaped(text: str, longest: int) -> str:
    shown = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(sign if sign.isprintable() and sign not in _ESCAPES else _escape(sign) for sign in shown)


def _escape(sign: str) -> str:
    code = ord(sign)
    return _ESCAPES.get(sign) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
