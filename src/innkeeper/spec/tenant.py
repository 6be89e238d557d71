"""A tenant: the isolated owner of sites, one Unix user."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from innkeeper.spec import fields, names, toml
from innkeeper.spec.node import NodeSettings
from innkeeper.spec.shares import TenantLimits
from innkeeper.spec.source import Source

CODE = "tenant-invalid"


class TenantSpec(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One tenant. Its name is its file's name; its Unix group has the number of its user."""

    name: Annotated[fields.TenantName, fields.FROM_FILE_NAME]
    uid: Annotated[fields.Uid, Meta(description="the Unix user (and group) that all its programs run as")]
    limits: Annotated[TenantLimits, Meta(description="what all of its processes may use together")] = (
        TenantLimits()
    )


def parse_tenant(name: str, text: str, *, file: str, settings: NodeSettings | None = None) -> TenantSpec:
    """The tenant that the text of NAME.toml describes. SpecError for any fault of name or text.

    `settings` are the node's, whose `tenant_limits` hold where the file says nothing.
    """
    source = Source(file, CODE)
    try:
        names.tenant_name(name)
    except ValueError as error:
        source.refuse(f"the file's name is no tenant's: {error}", "Name the file NAME.toml.")
    data = toml.read(text, TenantSpec, source)
    if settings is not None:
        data["limits"] = {**msgspec.structs.asdict(settings.tenant_limits), **data.get("limits", {})}
    return toml.build({**data, "name": name}, TenantSpec)


def render_tenant(spec: TenantSpec) -> str:
    """The text of a tenant's file, for `parse_tenant`."""
    return f"uid = {spec.uid}\n"
