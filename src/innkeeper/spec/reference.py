"""The tables of keys for the documentation, made from the declarations that the files are checked by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from innkeeper.spec import declared, words
from innkeeper.spec.declared import Key, Kind

_TYPES: tuple[tuple[type[inspect.Type], str], ...] = (
    (inspect.BoolType, "true or false"),
    (inspect.IntType, "whole number"),
    (inspect.StrType, "text"),
    (inspect.LiteralType, "text"),
    (inspect.VarTupleType, "list"),
    (inspect.StructType, "table"),
    (inspect.DictType, "table"),
)


class Row(NamedTuple):
    """One key. `table` is its heading ("": the top of the file); `default` a value, "required" or ""."""

    table: str
    key: str
    type: str
    default: str
    allowed: str
    help: str


def describe(wanted: type[msgspec.Struct]) -> list[Row]:
    """All keys of a file: those at its top in the order of declaration, then those of its tables."""
    return list(_rows(declared.table(wanted), ""))


def _rows(keys: Mapping[str, Key], heading: str) -> Iterator[Row]:
    for name, key in keys.items():
        kind = key.kind
        yield Row(heading, name, _type(kind), _default(key), kind.choices, kind.help)
    for name, key in keys.items():
        yield from _rows(key.kind.inner_keys, key.kind.heading.format(name))


def _type(kind: Kind) -> str:
    return next(word for core, word in _TYPES if isinstance(kind.core, core))


def _default(key: Key) -> str:
    if key.required:
        return "required"
    value: Any = key.default
    return words.value(value) if isinstance(value, (bool, int, str)) else ""
