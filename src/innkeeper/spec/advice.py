"""Hints: what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, inspect

from innkeeper.spec import declared, words
from innkeeper.spec.declared import Key, Kind
from innkeeper.spec.source import Place

_LARGEST_AMOUNT = 99_999  # a larger number without a unit is likely one of bytes
_LONGEST_TYPO = 40  # `difflib` takes its time over longer ones


def unknown_key(place: Place, known: Mapping[str, Key], wanted: type[Struct]) -> str:
    """For a key that its table does not have: the table that has it, or the key that was meant."""
    root = declared.table(wanted)
    if not place.table and place.key in declared.told_by_file_name(wanted):
        return f"Remove it: the file's name tells the {place.name}."
    if place.key in root:
        return f"`{place.name}` belongs at the top of the file, above the first line in [ ]."
    for name, key in root.items():
        if place.key in key.kind.inner_keys:
            return f"`{place.name}` belongs below a line {key.kind.heading.format(name)}."
    near = difflib.get_close_matches(place.key[:_LONGEST_TYPO].lower(), known, 1)
    return f"Did you mean `{near[0]}`?" if near else "Remove it, or correct its name."


def example(kind: Kind, place: Place, introduction: str) -> str:
    """`introduction` and what may stand in the file."""
    if kind.example is None:
        return "Correct it."
    return f"{introduction} {kind.example if place.number else f'{place.name} = {kind.example}'}"


def other_type(value: Any, kind: Kind, place: Place) -> str:
    """For a value of the wrong type: the same in the right one, as far as it can be guessed."""
    core, name = kind.core, place.name
    if isinstance(core, inspect.IntType) and isinstance(value, str) and value.strip().isdecimal():
        return f"Write it without quotes: {name} = {words.plain(value.strip())}"
    if isinstance(core, inspect.BoolType):
        return f"Write {name} = true or {name} = false, without quotes."
    unit = kind.extra.get("unit", "")
    if unit and not (type(value) is int and 0 <= value <= _LARGEST_AMOUNT):
        return example(kind, place, "Write, for example:")
    if isinstance(core, inspect.StrType) and isinstance(value, (bool, int, float)):
        shown = '"…"' if kind.secret else f'"{words.value(value)}{unit if value else ""}"'
        return f"Put it in quotes: {shown if place.number else f'{name} = {shown}'}"
    if kind.inner_keys or isinstance(core, inspect.DictType):
        return f"Begin it with a line {kind.heading.format(name)}, and write its keys below."
    if kind.is_list and isinstance(value, str):
        return f"Put it in brackets: {name} = [{words.value(value)}]"
    return example(kind, place, "Write, for example:")
