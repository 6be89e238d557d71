"""The types of single keys, each with its rule and what it allows in a few words for the tables in the docs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta

from innkeeper.spec import limits, names


def _rule(check: Callable[[Any], Any], allowed: str, example: object, *, secret: bool = False) -> Meta:
    return Meta(extra={"rule": check, "allowed": allowed, "secret": secret}, examples=[example])


TenantName = Annotated[str, _rule(names.tenant_name, "a tenant's name", "alice")]
RuntimeName = Annotated[str, _rule(names.runtime_name, "a runtime's name", "python3.11")]
Domain = Annotated[
    str, _rule(names.domain, f"a domain, at most {limits.MAX_DOMAIN} bytes", "www.example.org")
]
TenantPath = Annotated[str, _rule(names.path, "a path in /home/TENANT, /var/www or /tmp", "/var/www/blog")]
UrlPrefix = Annotated[
    str, _rule(names.url_prefix, f"a URL's path of at most {limits.MAX_URL_DEPTH} names", "/static/")
]
Entry = Annotated[str, _rule(names.entry, "module[:callable] or /path.py[:callable]", "/var/www/wsgi.py")]
Command = Annotated[str, _rule(names.command, "one line of text", "node server.js")]
Module = Annotated[str, _rule(names.module, "a module's dotted name", "django.http")]
Python = Annotated[
    str, _rule(names.python, "the path of a virtualenv's python", "/opt/python3.12/bin/python")
]
EnvName = Annotated[str, _rule(names.env_name, "a variable's name", "DJANGO_SETTINGS_MODULE")]
EnvValue = Annotated[
    str, _rule(names.env_value, "a text without control characters", "blog.settings", secret=True)
]
PasswordUser = Annotated[str, _rule(names.password_user, "a user name", "guest")]
PasswordHash = Annotated[
    str, _rule(names.password_hash, "a bcrypt hash, as `htpasswd -nbB` prints it", "$2y$05$…", secret=True)
]
SystemUser = Annotated[str, _rule(names.system_user, "a user of the host's, not root", "www-data")]
Size = Annotated[str, _rule(names.size, "a whole number with k, m or g behind it", "100m")]
Uid = Annotated[
    int,
    Meta(ge=limits.MIN_UID, le=limits.MAX_UID),
    Meta(extra={"rule": names.uid}, examples=[20000]),
]
