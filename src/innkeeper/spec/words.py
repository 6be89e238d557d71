"""Values, types and keys as the reader of a TOML file knows them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from msgspec import inspect

_LONGEST = 60
_SAYS = {bool: "true or false", int: "a whole number", str: "a text in quotes"}


def value(found: Any, *, secret: bool = False) -> str:
    """A value as it stands in the file, shortened, with nothing in it that could garble a terminal or a log."""
    if isinstance(found, str):
        return f"a text of {len(found)} characters" if secret else quoted(found)
    if secret:
        return kind(found)
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, int):
        return str(found) if -(10**20) < found < 10**20 else "a number of more than 20 digits"
    return kind(found)


def kind(found: Any) -> str:
    """What sort of thing a value is."""
    if isinstance(found, dict):
        return "a table"
    if isinstance(found, list):
        return "a list"
    if isinstance(found, float):
        return f"the number {found}"
    if isinstance(found, (datetime.date, datetime.time)):
        return "a date or time"
    if isinstance(found, str):
        return f"the text {quoted(found)}"
    return value(found)


def quoted(text: str) -> str:
    """A text in double quotes, shortened and escaped."""
    shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    escaped = "".join(
        sign if sign.isprintable() and sign not in '"\\' else _ESCAPES.get(sign) or _escape(sign)
        for sign in shown
    )
    return f'"{escaped}"'


_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def _escape(sign: str) -> str:
    code = ord(sign)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def plain(text: str) -> str:
    """A name that stands unquoted in a message: the same escapes, no quotes."""
    return quoted(text)[1:-1]


def listed(names: Iterable[str], last: str = "and") -> str:
    """Keys in a row: `a`, `b` and `c`."""
    *first, final = [f"`{plain(name)}`" for name in names]
    return f"{', '.join(first)} {last} {final}" if first else final


def allowed(info: inspect.Type) -> str:
    """What a key of this type may be."""
    extra: dict[str, Any] = {}
    while isinstance(info, (inspect.Metadata, inspect.UnionType)):
        if isinstance(info, inspect.Metadata):
            extra = {**extra, **(info.extra or {})}
            info = info.type
        else:
            info = next(one for one in info.types if not isinstance(one, inspect.NoneType))
    if isinstance(info, inspect.IntType):
        return _number(info)
    if isinstance(info, inspect.LiteralType):
        return " or ".join(quoted(str(choice)) for choice in info.values)
    if isinstance(info, inspect.VarTupleType):
        return f"a list in [ ], of which each is {allowed(info.item_type)}"
    if isinstance(info, (inspect.StructType, inspect.DictType)):
        return "a table"
    if isinstance(info, inspect.BoolType):
        return _SAYS[bool]
    return _SAYS[str] + (f": {extra['allowed']}" if "allowed" in extra else "")


def _number(info: inspect.IntType) -> str:
    return _SAYS[int] + (f" from {info.ge} to {info.le}" if info.ge is not None else "")
