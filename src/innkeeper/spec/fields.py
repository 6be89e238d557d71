"""The types of single keys, each with its rule and, in a few words, what it allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta

from innkeeper.spec import limits, names, values

FROM_FILE_NAME = Meta(extra={"from_file_name": True})  # no key in the file


def _text(check: Callable[[str], str], allowed: str, example: str, **more: Any) -> Meta:
    """A text's rule. `more`: secret=True hides its values, hint="…" replaces the example in a Problem,
    unit="…" is what a bare number is likely to be meant in.
    """
    return Meta(extra={"rule": check, "allowed": allowed, **more}, examples=[example])


TenantName = Annotated[str, _text(names.tenant_name, "a tenant's name", "alice")]
RuntimeName = Annotated[str, _text(names.runtime_name, "a runtime's name", "python3.11")]
Domain = Annotated[str, _text(names.domain, "a domain", "www.example.org")]
TenantPath = Annotated[str, _text(names.path, "a path in /home/TENANT, /var/www or /tmp", "/var/www/blog")]
UrlPrefix = Annotated[str, _text(names.url_prefix, "the beginning of a URL's path", "/static/")]
Entry = Annotated[
    str, _text(names.entry, "MODULE, MODULE:CALLABLE, /PATH.py or /PATH.py:CALLABLE", "blog.main:app")
]
Command = Annotated[str, _text(values.command, "one line", "gunicorn --bind unix:$DOMAIN_SOCKET blog")]
Module = Annotated[str, _text(names.module, "a module's name", "django.http")]
Python = Annotated[str, _text(values.python, "the path of a virtualenv's Python", "/opt/blog/bin/python")]
EnvName = Annotated[str, _text(values.env_name, "a variable's name", "DJANGO_SETTINGS_MODULE")]
EnvValue = Annotated[str, _text(values.env_value, "a variable's value", "blog.settings", secret=True)]
PasswordUser = Annotated[str, _text(values.password_user, "a user name", "guest")]
PasswordHash = Annotated[
    str,
    _text(
        values.password_hash,
        "a bcrypt hash",
        "$2y$05$…",
        secret=True,
        hint="Have one made by: htpasswd -nB USER",
    ),
]
SystemUser = Annotated[str, _text(values.system_user, "a user of the host's", "www-data")]
Size = Annotated[str, _text(values.size, "a number with k, m or g behind it", "100m", unit="m")]
Log = Annotated[str, _text(values.log, "a number with k, m or g behind it", "10m", unit="m")]
Memory = Annotated[str, _text(values.memory, "a number with k, m or g behind it", "512m", unit="m")]

Opening = Annotated[
    str, _text(values.opening, "ADDRESS, ADDRESS:PORT, [ADDRESS]:PORT or NETWORK/BITS", "127.0.0.1:5432")
]

Uid = Annotated[
    int, Meta(ge=limits.MIN_UID, le=limits.MAX_UID, extra={"rule": values.uid}, examples=[limits.FIRST_UID])
]
Processes = Annotated[int, Meta(ge=1, le=limits.MAX_PROCESSES, examples=[limits.DEFAULT_PROCESSES])]
Threads = Annotated[int, Meta(ge=1, le=limits.MAX_THREADS, examples=[limits.DEFAULT_THREADS])]
Timeout = Annotated[int, Meta(ge=1, le=limits.MAX_TIMEOUT, examples=[limits.DEFAULT_TIMEOUT])]
Longest = Annotated[int, Meta(ge=0, le=limits.MAX_LONGEST, examples=[limits.DEFAULT_LONGEST])]
Idle = Annotated[int, Meta(ge=0, le=limits.MAX_IDLE, examples=[limits.DEFAULT_IDLE])]
Starts = Annotated[int, Meta(ge=0, le=limits.MAX_STARTS, examples=[8])]
NginxWorkers = Annotated[int, Meta(ge=0, le=limits.MAX_NGINX_WORKERS, examples=[2])]
Tasks = Annotated[int, Meta(ge=16, le=limits.MAX_TASKS, examples=[256])]
CpuPercent = Annotated[int, Meta(ge=0, le=limits.MAX_CPU, examples=[100])]
Weight = Annotated[int, Meta(ge=1, le=limits.MAX_WEIGHT, examples=[100])]
OpenFiles = Annotated[int, Meta(ge=64, le=limits.MAX_OPEN_FILES, examples=[4096])]
FileCount = Annotated[int, Meta(ge=0, le=limits.MAX_FILE_COUNT, examples=[500_000])]
CpuSeconds = Annotated[int, Meta(ge=0, le=limits.MAX_CPU_SECONDS, examples=[10_000])]
Days = Annotated[int, Meta(ge=1, le=limits.MAX_DAYS, examples=[30])]
Connections = Annotated[int, Meta(ge=1, le=limits.MAX_CONNECTIONS, examples=[2000])]
