"""Plain data held against a declaration: keys known, types right, numbers in range, texts by their rules.

It does what `msgspec.convert` does, value by value, so that each fault can be told in the words of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from msgspec import Struct, inspect

from innkeeper.spec import advice, declared, words
from innkeeper.spec.declared import Key, Kind
from innkeeper.spec.source import Place, Source


class Check:
    """One walk through one file's data."""

    def __init__(self, source: Source, wanted: type[Struct]) -> None:
        self._source = source
        self._wanted = wanted
        self._root = declared.table(wanted)

    def run(self, data: dict[str, Any]) -> dict[str, Any]:
        """The data with all values in their normal forms. Raises SpecError at the first fault."""
        return self._table(data, self._root, "")

    def _table(self, data: dict[str, Any], known: Mapping[str, Key], heading: str) -> dict[str, Any]:
        checked = {}
        for name, value in data.items():
            place = Place(heading, name)
            if name not in known:
                self._refuse_key(place, known)
            checked[name] = self._value(value, known[name].kind, place)
        for name, key in known.items():
            if key.required and name not in data:
                place = Place(heading, name)
                hint = advice.example(key.kind, place, "Add a line such as:")
                self._source.refuse(f"{place} is missing; it must be {key.kind.allowed}", hint)
        return checked

    def _value(self, value: Any, kind: Kind, place: Place) -> Any:
        core = kind.core
        if isinstance(core, inspect.StrType) and isinstance(value, str):
            return self._ruled(value, kind, place)
        if isinstance(core, inspect.IntType) and type(value) is int and core.ge <= value <= core.le:  # type: ignore[operator]
            return self._ruled(value, kind, place)
        if isinstance(core, inspect.BoolType) and isinstance(value, bool):
            return value
        if isinstance(core, inspect.LiteralType) and value in core.values:
            return value
        if isinstance(core, inspect.StructType) and isinstance(value, dict):
            return self._table(value, kind.keys, place.heading)
        if isinstance(core, inspect.DictType) and isinstance(value, dict):
            return self._free_table(value, kind, core.max_length, place)
        if isinstance(core, inspect.VarTupleType) and isinstance(value, list):
            return self._list(value, kind, core.max_length, place)
        self._refuse_value(value, kind, place)

    def _list(self, values: list[Any], kind: Kind, longest: int | None, place: Place) -> list[Any]:
        assert kind.item is not None
        self._check_length(len(values), longest, f"{place} has", "entries")
        return [
            self._value(value, kind.item, place._replace(number=number))
            for number, value in enumerate(values, 1)
        ]

    def _free_table(
        self, values: dict[str, Any], kind: Kind, longest: int | None, place: Place
    ) -> dict[str, Any]:
        """A table whose keys are the user's own, each by the rule for its keys."""
        assert kind.item is not None
        self._check_length(len(values), longest, f"{place.heading} has", "keys")
        checked = {}
        for name, value in values.items():
            inner = Place(place.heading, name)
            try:
                normal = kind.extra["rule"](name)
            except ValueError as error:
                self._source.refuse(
                    f"{place.heading} has the key `{inner.name}`; {error}", "Rename or remove it."
                )
            checked[normal] = self._value(value, kind.item, inner)
        return checked

    def _check_length(self, length: int, longest: int | None, subject: str, what: str) -> None:
        if longest is not None and length > longest:
            self._source.refuse(
                f"{subject} {length} {what}; at most {longest} are allowed", "Remove some of them."
            )

    def _ruled(self, value: Any, kind: Kind, place: Place) -> Any:
        """The normal form of a value, by the rule that its type names."""
        rule = kind.extra.get("rule")
        try:
            return rule(value) if rule else value
        except ValueError as error:
            shown = words.value(value, secret=kind.secret)
            hint = kind.extra.get("hint") or advice.example(kind, place, "Correct it, for example:")
            self._source.refuse(f"{place} is {shown}; {error}", hint)

    def _refuse_key(self, place: Place, known: Mapping[str, Key]) -> NoReturn:
        self._source.refuse(
            f"{place.table or 'the top of the file'} has the unknown key `{place.name}`; "
            f"the keys there are {words.listed(known)}",
            advice.unknown_key(place, known, self._wanted),
        )

    def _refuse_value(self, value: Any, kind: Kind, place: Place) -> NoReturn:
        shown = words.kind(value, secret=kind.secret)
        self._source.refuse(
            f"{place} is {shown}; it must be {kind.allowed}", advice.other_type(value, kind, place)
        )
