"""Plain data against a Struct's declaration: every key known, every value of its type, in range and in its rule's form.

It does what `msgspec.convert` does, one value at a time, so that each fault can be told in the words of the file.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from msgspec import inspect

from innkeeper.spec import words
from innkeeper.spec.problem import Problem, SpecError

type_info = lru_cache(maxsize=None)(inspect.type_info)


class Source(NamedTuple):
    """Where data came from: the file's name, and the code of a problem with it."""

    file: str
    code: str

    def refuse(self, what: str, hint: str) -> NoReturn:
        """Raise the SpecError for a fault of this file."""
        raise SpecError(Problem(self.code, f"{words.plain(self.file)}: {what}", hint))


class Place(NamedTuple):
    """A value's place in the file: its table ("" = the top; "[app]", "[[static]] 2"), key, and number in a list."""

    table: str
    key: str
    number: int = 0

    def __str__(self) -> str:
        table = f"{self.table} " if self.table else ""
        number = f" (number {self.number} of the list)" if self.number else ""
        return f"{table}`{words.plain(self.key)}`{number}"


class Check:
    """One walk through one file's data. `given` are the fields that do not come from the file but from its name."""

    def __init__(self, source: Source, given: dict[str, str], kind: inspect.StructType) -> None:
        self._source = source
        self._given = given
        self._root = kind

    def root(self, data: dict[str, Any]) -> dict[str, Any]:
        """The checked data, values in their normal forms. Raises SpecError at the first fault."""
        return {**self._table(data, self._root, ""), **self._given}

    def _table(self, data: dict[str, Any], info: inspect.StructType, table: str) -> dict[str, Any]:
        fields = {field.encode_name: field for field in info.fields}
        if not table:
            fields = {key: field for key, field in fields.items() if key not in self._given}
        checked = {}
        for key, value in data.items():
            if key not in fields:
                self._unknown(key, table, list(fields))
            checked[key] = self._value(value, fields[key].type, Place(table, key))
        for key, field in fields.items():
            if field.required and key not in data:
                self._missing(Place(table, key), field)
        return checked

    def _value(
        self, value: Any, info: inspect.Type, place: Place, meta: inspect.Metadata | None = None
    ) -> Any:
        if isinstance(info, inspect.Metadata):
            return self._value(value, info.type, place, info)
        if isinstance(info, inspect.UnionType):  # an optional key: TOML has no null
            return self._value(value, info.types[0], place, meta)
        whole: inspect.Type = meta or info
        if isinstance(info, inspect.StructType) and isinstance(value, dict):
            return self._table(value, info, _heading(place))
        if isinstance(info, inspect.DictType) and isinstance(value, dict):
            return self._dict(value, info, place)
        if isinstance(info, inspect.VarTupleType) and isinstance(value, list):
            return self._list(value, info, place, whole)
        if isinstance(info, inspect.LiteralType):
            if value not in info.values:
                self._not_allowed(value, whole, place)
            return value
        if isinstance(info, inspect.IntType) and type(value) is int:
            if not (info.ge is None or info.ge <= value) or not (info.le is None or value <= info.le):
                self._not_allowed(value, whole, place)
            return self._ruled(value, meta, place)
        if isinstance(info, inspect.BoolType) and type(value) is bool:
            return value
        if isinstance(info, inspect.StrType) and isinstance(value, str):
            return self._ruled(value, meta, place)
        self._not_allowed(value, whole, place)

    def _list(
        self, values: list[Any], info: inspect.VarTupleType, place: Place, whole: inspect.Type
    ) -> list[Any]:
        if info.max_length is not None and len(values) > info.max_length:
            self._source.refuse(
                f"{place} has {len(values)} entries; at most {info.max_length} are allowed",
                "Remove some of them.",
            )
        return [
            self._value(value, info.item_type, place._replace(number=number))
            for number, value in enumerate(values, 1)
        ]

    def _dict(self, values: dict[str, Any], info: inspect.DictType, place: Place) -> dict[str, Any]:
        table = f"[{words.plain(place.key)}]"
        if info.max_length is not None and len(values) > info.max_length:
            self._source.refuse(
                f"{table} has {len(values)} keys; at most {info.max_length} are allowed",
                "Remove some of them.",
            )
        return {
            self._value(key, info.key_type, Place(table, key)): self._value(
                value, info.value_type, Place(table, key)
            )
            for key, value in values.items()
        }

    def _ruled(self, value: Any, meta: inspect.Metadata | None, place: Place) -> Any:
        """The normal form of a value, by the rule that its type names."""
        extra = (meta.extra if meta else None) or {}
        if "rule" not in extra:
            return value
        try:
            return extra["rule"](value)
        except ValueError as error:
            shown = words.value(value, secret=extra.get("secret", False))
            self._source.refuse(
                f"{place} is {shown}; {error}", _example(meta, place, "Correct it, for example:")
            )

    def _unknown(self, key: str, table: str, known: list[str]) -> NoReturn:
        hint = "Remove it, or correct its name."
        near = difflib.get_close_matches(key[:40].lower(), known, 1, 0.6)
        if near:
            hint = f"Did you mean `{near[0]}`?"
        elif not table and key in self._given:
            hint = "Remove it: the file's name says it already."
        else:
            home = self._home_of(key)
            if home is not None:
                hint = f"It belongs {home}."
        self._source.refuse(
            f"{table or 'the top of the file'} has the unknown key `{words.plain(key)}`; "
            f"the keys there are {words.listed(known)}",
            hint,
        )

    def _home_of(self, key: str) -> str | None:
        """Where a key that stands in the wrong place belongs."""
        for field in self._root.fields:
            if field.encode_name == key:
                return "at the top of the file, before the first line in [ ]"
            inner = _struct_in(field.type)
            if inner is not None and any(one.encode_name == key for one in inner.fields):
                return f"in the table {_heading_of_field(field)}"
        return None

    def _missing(self, place: Place, field: inspect.Field) -> NoReturn:
        meta = field.type if isinstance(field.type, inspect.Metadata) else None
        where = f"{place.table} has no" if place.table else "there is no"
        self._source.refuse(
            f"{where} `{place.key}`, which is needed: {words.allowed(field.type)}",
            _example(meta, place, "Add a line such as:"),
        )

    def _not_allowed(self, value: Any, info: inspect.Type, place: Place) -> NoReturn:
        meta = info if isinstance(info, inspect.Metadata) else None
        secret = bool(meta and meta.extra and meta.extra.get("secret"))
        shown = (
            words.kind(value) if not (secret and isinstance(value, str)) else words.value(value, secret=True)
        )
        self._source.refuse(
            f"{place} is {shown}; it must be {words.allowed(info)}", _remedy(value, info, meta, place)
        )


def _heading(place: Place) -> str:
    return f"[[{place.key}]] number {place.number}" if place.number else f"[{place.key}]"


def _heading_of_field(field: inspect.Field) -> str:
    return f"[[{field.encode_name}]]" if _bare(field.type, inspect.VarTupleType) else f"[{field.encode_name}]"


def _bare(info: inspect.Type, wanted: type[inspect.Type]) -> inspect.Type | None:
    """The type without its metadata and "or nothing", when it is a `wanted`."""
    while isinstance(info, (inspect.Metadata, inspect.UnionType)):
        info = info.type if isinstance(info, inspect.Metadata) else info.types[0]
    return info if isinstance(info, wanted) else None


def _struct_in(info: inspect.Type) -> inspect.StructType | None:
    items = _bare(info, inspect.VarTupleType)
    found = _bare(items.item_type if isinstance(items, inspect.VarTupleType) else info, inspect.StructType)
    return found if isinstance(found, inspect.StructType) else None


def _example(meta: inspect.Metadata | None, place: Place, words_before: str) -> str:
    examples = ((meta.extra_json_schema if meta else None) or {}).get("examples")
    if not examples:
        return "Correct it."
    example = examples[0]
    shown = words.value(example)
    return f"{words_before} {shown}" if place.number else f"{words_before} {place.key} = {shown}"


def _remedy(value: Any, info: inspect.Type, meta: inspect.Metadata | None, place: Place) -> str:
    """What to write instead of a value of the wrong type."""
    key = words.plain(place.key)
    if isinstance(value, str) and _bare(info, inspect.IntType) and value.strip().isdecimal():
        return f"Write it without quotes: {key} = {value.strip()[:20]}"
    if _bare(info, inspect.BoolType):
        return f"Write {key} = true or {key} = false, without quotes."
    if _bare(info, inspect.VarTupleType):
        if _struct_in(info):
            return f"Begin each entry with a line [[{key}]], with two brackets."
        return (
            f"Put it in brackets: {key} = [{words.value(value)}]"
            if isinstance(value, str)
            else "Make it a list."
        )
    if _bare(info, inspect.StructType) or _bare(info, inspect.DictType):
        return f"Begin it with a line [{key}] and write its keys below."
    if isinstance(value, (int, float)) and _bare(info, inspect.StrType):
        return f'Put it in quotes: {key} = "{value}"' if not isinstance(value, bool) else "Put it in quotes."
    return _example(meta, place, "Correct it, for example:")
