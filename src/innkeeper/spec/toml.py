"""From TOML text to a spec: the one door by which settings come in."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import tomllib

from innkeeper.spec import limits, syntax
from innkeeper.spec.check import Check
from innkeeper.spec.source import Source

Spec = TypeVar("Spec", bound=msgspec.Struct)


def decode(text: str, wanted: type[Spec], source: Source, **from_file_name: str) -> Spec:
    """The spec that a file's text holds. Any fault raises SpecError in plain words."""
    return build({**read(text, wanted, source), **from_file_name}, wanted)


def read(text: str, wanted: type[msgspec.Struct], source: Source) -> dict[str, Any]:
    """A file's data, checked and in normal forms, but not yet made into the spec."""
    return Check(source, wanted).run(_parse(text, source))


def build(checked: dict[str, Any], wanted: type[Spec]) -> Spec:
    """The spec of data that `read` has checked."""
    return msgspec.convert(checked, wanted)


def _parse(text: str, source: Source) -> dict[str, Any]:
    if len(text) > limits.MAX_FILE:
        source.refuse(
            f"it has {len(text)} characters; at most {limits.MAX_FILE} are allowed",
            "Remove what is not needed.",
        )
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > limits.MAX_DOTS:
            source.refuse(
                f"line {number}: it has more than {limits.MAX_DOTS} dots",
                "Break the line, or make it shorter.",
            )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        source.refuse(*syntax.explain(text, str(error)))
    except RecursionError:
        source.refuse(
            "lists or tables are nested too deeply", "Nothing in this file needs more than two levels."
        )
    except ValueError:  # from int()
        source.refuse("a number in it has too many digits", "Write a smaller number.")
