"""A tenant: the isolated owner of sites, one Unix user."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from innkeeper.spec import fields, names
from innkeeper.spec.check import Source
from innkeeper.spec.toml import decode

CODE = "tenant-invalid"


class TenantSpec(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One tenant. Its name is its file's name; its Unix group has the number of its user."""

    name: Annotated[fields.TenantName, Meta(description="the name: the file's name without `.toml`")]
    uid: Annotated[fields.Uid, Meta(description="the Unix user (and group) that all its programs run as")]

    @property
    def gid(self) -> int:
        return self.uid


def parse_tenant(name: str, text: str, *, file: str) -> TenantSpec:
    """The tenant that the text of NAME.toml describes. Raises SpecError for any fault of its name or text."""
    try:
        names.tenant_name(name)
    except ValueError as error:
        Source(file, CODE).refuse(
            f"the file's name does not name a tenant: {error}", "Rename or delete the file."
        )
    return decode(text, TenantSpec, file=file, code=CODE, given={"name": name})


def render_tenant(spec: TenantSpec) -> str:
    """The text of a tenant's file, for `parse_tenant`."""
    return f"uid = {spec.uid}\n"
