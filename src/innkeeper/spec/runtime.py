"""A runtime: a Python and its packages, which workers are forked from."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from innkeeper.spec import fields, limits, names, toml
from innkeeper.spec.source import Source

CODE = "runtime-invalid"


class RuntimeSpec(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One runtime. Its name is its file's name."""

    name: Annotated[fields.RuntimeName, fields.FROM_FILE_NAME]
    python: Annotated[fields.Python, Meta(description="the Python of a virtualenv that has pyuwsgi")]
    preload: Annotated[
        tuple[fields.Module, ...],
        Meta(
            max_length=limits.MAX_PRELOAD, description="modules that are imported before workers are forked"
        ),
    ] = ()


def parse_runtime(name: str, text: str, *, file: str) -> RuntimeSpec:
    """The runtime that the text of NAME.toml describes. SpecError for any fault of name or text."""
    source = Source(file, CODE)
    try:
        names.runtime_name(name)
    except ValueError as error:
        source.refuse(f"the file's name is no runtime's: {error}", "Name the file NAME.toml.")
    return toml.decode(text, RuntimeSpec, source, name=name)
