"""From TOML text to a spec: the one door by which settings come in, and every fault told in plain words."""

from __future__ import annotations

import re
import tomllib
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import inspect

from innkeeper.spec.check import Check, Source, type_info

Spec = TypeVar("Spec", bound=msgspec.Struct)

_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


def decode(
    text: str, wanted: type[Spec], *, file: str, code: str, given: dict[str, str] | None = None
) -> Spec:
    """The spec that a file's text holds; `given` are the fields that its name tells, not its text.

    `code` is that of the Problem in the SpecError which any fault raises.
    """
    source = Source(file, code)
    return build(parse(text, source), wanted, source, given or {})


def build(data: dict[str, Any], wanted: type[Spec], source: Source, given: dict[str, str]) -> Spec:
    """A spec from plain data, checked key by key."""
    info = type_info(wanted)
    assert isinstance(info, inspect.StructType)
    return msgspec.convert(Check(source, given, info).root(data), wanted)


def parse(text: str, source: Source) -> dict[str, Any]:
    """The plain data of TOML text."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        _refuse_syntax(text, str(error), source)
    except RecursionError:
        source.refuse(
            "its lists or tables are nested too deeply", "No key of this file needs more than two levels."
        )
    except ValueError:  # of int(): more digits than Python converts
        source.refuse("it has a number with too many digits", "Write a shorter number.")


def _refuse_syntax(text: str, message: str, source: Source) -> NoReturn:
    match = _PLACE.fullmatch(message)
    what, line, column = match.groups() if match else (message, None, None)
    where = f"line {line}, column {column}" if line else "the end of the file"
    source.refuse(f"{where}: this is not valid TOML: {what[:1].lower()}{what[1:]}", "Mend the line.")
