"""What a Struct declares about its keys, read once: types, ranges, rules, examples, help."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from innkeeper.spec import words


@dataclass(frozen=True)
class Kind:
    """What a value may be: its type without "or None" and annotations, and what these say."""

    core: inspect.Type
    extra: dict[str, Any]
    schema: dict[str, Any]
    keys: dict[str, Key] = field(default_factory=dict)  # of a table
    item: Kind | None = None  # of a list, or of a table with free keys

    @property
    def secret(self) -> bool:
        """Its values are not to be shown."""
        return bool(self.extra.get("secret"))

    @property
    def help(self) -> str:
        return str(self.schema.get("description", ""))

    @property
    def example(self) -> str | None:
        """A value as it would stand in the file."""
        examples = self.schema.get("examples")
        return words.value(examples[0]) if examples else None

    @property
    def is_list(self) -> bool:
        return isinstance(self.core, inspect.VarTupleType)

    @property
    def inner_keys(self) -> dict[str, Key]:
        """The keys of the table, or of each table in the list; none for all else."""
        return self.item.keys if self.is_list and self.item else self.keys

    @property
    def heading(self) -> str:
        """How a table begins, with {} for the key."""
        return "[[{}]]" if self.is_list else "[{}]"

    @property
    def choices(self) -> str:
        """The values of its type that are allowed, in a few words; "" for all of them."""
        core = self.core
        if isinstance(core, inspect.IntType):
            return f"{core.ge} to {core.le}"
        if isinstance(core, inspect.LiteralType):
            return " or ".join(words.quoted(str(choice)) for choice in core.values)
        if isinstance(core, inspect.StrType):
            return str(self.extra["allowed"])
        return self.item.choices if self.item else ""

    @property
    def allowed(self) -> str:
        """What may be written for it."""
        core = self.core
        if isinstance(core, inspect.BoolType):
            return "true or false"
        if isinstance(core, inspect.IntType):
            return f"a whole number from {self.choices}"
        if isinstance(core, inspect.StrType):
            return f"a text in quotes ({self.choices})"
        if self.is_list and self.item:
            return "a list of tables" if self.inner_keys else f"a list of entries, each {self.item.allowed}"
        return self.choices if isinstance(core, inspect.LiteralType) else "a table"


@dataclass(frozen=True)
class Key:
    """A key of a table. `default` is NODEFAULT when it must be given."""

    kind: Kind
    default: Any

    @property
    def required(self) -> bool:
        return self.default is msgspec.NODEFAULT


@cache
def told_by_file_name(wanted: type[msgspec.Struct]) -> frozenset[str]:
    """The fields that come from the name of the file."""
    return frozenset(one.name for one in msgspec.structs.fields(wanted)) - table(wanted).keys()


@cache
def table(wanted: type[msgspec.Struct]) -> dict[str, Key]:
    """The keys that the file of a `wanted` may have."""
    return _kind(inspect.type_info(wanted)).keys


def _kind(info: inspect.Type) -> Kind:
    if isinstance(info, inspect.Metadata):
        inner = _kind(info.type)
        extra = {**inner.extra, **(info.extra or {})}
        return Kind(
            inner.core, extra, {**inner.schema, **(info.extra_json_schema or {})}, inner.keys, inner.item
        )
    if isinstance(info, inspect.UnionType):  # "or None": the key may be left out
        return _kind(info.types[0])
    if isinstance(info, inspect.StructType):
        return Kind(info, {}, {}, keys=_keys(info))
    if isinstance(info, inspect.VarTupleType):
        return Kind(info, {}, {}, item=_kind(info.item_type))
    if isinstance(info, inspect.DictType):
        return Kind(info, _kind(info.key_type).extra, {}, item=_kind(info.value_type))
    return Kind(info, {}, {})


def _keys(info: inspect.StructType) -> dict[str, Key]:
    found = {one.encode_name: Key(_kind(one.type), _default(one)) for one in info.fields}
    return {name: key for name, key in found.items() if not key.kind.extra.get("from_file_name")}


def _default(one: inspect.Field) -> Any:
    return one.default_factory() if one.default_factory is not msgspec.NODEFAULT else one.default
