"""A runtime: a Python and its packages, which workers are forked from."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from innkeeper.spec import fields, limits, names
from innkeeper.spec.check import Source
from innkeeper.spec.toml import decode

CODE = "runtime-invalid"


class RuntimeSpec(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One runtime. Its name is its file's name."""

    name: Annotated[fields.RuntimeName, Meta(description="the name: the file's name without `.toml`")]
    python: Annotated[fields.Python, Meta(description="the Python of a virtualenv that has pyuwsgi")]
    preload: Annotated[
        tuple[fields.Module, ...],
        Meta(
            max_length=limits.MAX_PRELOAD, description="modules that are imported before workers are forked"
        ),
    ] = ()


def parse_runtime(name: str, text: str, *, file: str) -> RuntimeSpec:
    """The runtime that the text of NAME.toml describes. Raises SpecError for any fault of its name or text."""
    try:
        names.runtime_name(name)
    except ValueError as error:
        Source(file, CODE).refuse(
            f"the file's name does not name a runtime: {error}", "Rename or delete the file."
        )
    return decode(text, RuntimeSpec, file=file, code=CODE, given={"name": name})
