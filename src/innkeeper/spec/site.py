"""A site: domains, an app, static mappings and what surrounds them, as its file tells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from innkeeper.spec import fields, limits, names, toml
from innkeeper.spec.node import NodeSettings
from innkeeper.spec.shares import SiteLimits
from innkeeper.spec.source import Source

CODE = "site-invalid"
ENTRIES = ("wsgi", "asgi", "command")


class StaticSpec(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """URLs that are answered with files, without waking the app."""

    url: Annotated[fields.UrlPrefix, Meta(description="URLs that begin so are answered with files")]
    path: Annotated[
        fields.TenantPath, Meta(description="the directory (or the one file) they are taken from")
    ]


class AppSpec(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The program behind a site: exactly one of `wsgi`, `asgi` and `command`."""

    wsgi: Annotated[fields.Entry | None, Meta(description="the WSGI app")] = None
    asgi: Annotated[fields.Entry | None, Meta(description="the ASGI app")] = None
    command: Annotated[
        fields.Command | None,
        Meta(description="a program that listens on the socket $DOMAIN_SOCKET, or at 127.0.0.1 on $PORT"),
    ] = None
    directory: Annotated[
        fields.TenantPath | None, Meta(description="the working directory, where modules are found too")
    ] = None
    runtime: Annotated[
        fields.RuntimeName | None,
        Meta(description="the Python to run it; the node's default one if not given"),
    ] = None
    virtualenv: Annotated[
        fields.TenantPath | None, Meta(description="a virtualenv with the app's packages")
    ] = None
    processes: Annotated[fields.Processes, Meta(description="processes that answer requests")] = (
        limits.DEFAULT_PROCESSES
    )
    threads: Annotated[fields.Threads, Meta(description="threads in each process of a WSGI app")] = (
        limits.DEFAULT_THREADS
    )
    timeout: Annotated[fields.Timeout, Meta(description="seconds that a request may take")] = (
        limits.DEFAULT_TIMEOUT
    )
    idle: Annotated[fields.Idle, Meta(description="seconds without requests before it sleeps; 0 = never")] = (
        limits.DEFAULT_IDLE
    )

    longest: Annotated[
        fields.Longest,
        Meta(description="seconds that a WebSocket or an event stream may stay open; 0 = for ever"),
    ] = limits.DEFAULT_LONGEST

    @property
    def speaks_http(self) -> bool:
        """Whether it is asked in HTTP, and not in uWSGI's protocol."""
        return self.wsgi is None

    @property
    def kind(self) -> Literal["wsgi", "asgi", "command"]:
        """Which of the three entries it has."""
        return "wsgi" if self.wsgi is not None else "asgi" if self.asgi is not None else "command"

    @property
    def target(self) -> str:
        """The module or "/path.py" of a WSGI or ASGI app, or the command."""
        entry = self.wsgi or self.asgi
        return names.split_entry(entry)[0] if entry else self.command or ""

    @property
    def callable(self) -> str | None:
        """The name of the app in its module, when one is named."""
        entry = self.wsgi or self.asgi
        return names.split_entry(entry)[1] if entry else None


class HttpsSpec(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """How a site uses HTTPS."""

    force: Annotated[bool, Meta(description="send visitors of http:// on to https://")] = False


class PasswordSpec(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A user name and password that all visitors must give."""

    user: Annotated[fields.PasswordUser, Meta(description="the user name")]
    hash: Annotated[
        fields.PasswordHash,
        Meta(description="the password's hash, as `htpasswd -nB USER` prints it behind the colon"),
    ]


class SiteSpec(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One site. Its domain is its file's name."""

    domain: Annotated[fields.Domain, fields.FROM_FILE_NAME]
    tenant: Annotated[fields.TenantName, Meta(description="whose site it is")]
    aliases: Annotated[
        tuple[fields.Domain, ...],
        Meta(max_length=limits.MAX_ALIASES, description="further domains that lead to the site"),
    ] = ()
    enabled: Annotated[bool, Meta(description="false: visitors see a page that says it is switched off")] = (
        True
    )
    app: Annotated[AppSpec | None, Meta(description="the app; without one the site is static")] = None
    env: Annotated[
        dict[fields.EnvName, fields.EnvValue],
        Meta(max_length=limits.MAX_ENV, description="environment variables of the app"),
    ] = {}
    static: Annotated[
        tuple[StaticSpec, ...],
        Meta(max_length=limits.MAX_STATIC, description="URLs answered with files; one [[static]] for each"),
    ] = ()
    limits: Annotated[SiteLimits, Meta(description="what the site's processes may use together")] = (
        SiteLimits()
    )
    https: Annotated[HttpsSpec, Meta(description="how the site uses HTTPS")] = HttpsSpec()
    password: Annotated[PasswordSpec | None, Meta(description="a password that all visitors must give")] = (
        None
    )

    def with_aliases(self, aliases: Iterable[str]) -> SiteSpec:
        """The same site with other aliases."""
        return msgspec.structs.replace(self, aliases=tuple(aliases))

    def with_open_files(self, number: int) -> SiteSpec:
        """The same site with another limit of open files."""
        return msgspec.structs.replace(self, limits=msgspec.structs.replace(self.limits, open_files=number))


def parse_site(domain: str, text: str, *, file: str, settings: NodeSettings | None = None) -> SiteSpec:
    """The site that the text of DOMAIN.toml describes. SpecError for any fault of name or text.

    `settings` are the node's, whose `site_limits`, `timeout` and `idle` hold where the file says nothing.
    """
    source = Source(file, CODE)
    _check_name(domain, source)
    data = toml.read(text, SiteSpec, source)
    if settings is not None:
        data["limits"] = _with_defaults(data.get("limits"), settings.site_limits)
    if settings is not None and "app" in data:
        data["app"] = {"timeout": settings.timeout, "idle": settings.idle, **data["app"]}
    spec = toml.build({**data, "domain": domain}, SiteSpec)
    _check_aliases(spec, source)
    if spec.app is not None:
        _check_app(spec.app, spec.tenant, source)
    _check_static(spec, source)
    return spec


def _with_defaults(given: dict[str, Any] | None, defaults: SiteLimits) -> SiteLimits | dict[str, Any]:
    """The limits of a site: the node's own object for the many that say nothing."""
    return defaults if given is None else {**msgspec.structs.asdict(defaults), **given}


def _check_name(domain: str, source: Source) -> None:
    try:
        normal = names.domain(domain)
    except ValueError as error:
        source.refuse(
            f"the file's name is no domain: {error}",
            "Name the file DOMAIN.toml, as in blog.example.org.toml.",
        )
    if normal != domain:
        source.refuse(
            f"the file's name is not the normal form of its domain, which is {normal}",
            f"Rename the file to {normal}.toml.",
        )


def _check_aliases(spec: SiteSpec, source: Source) -> None:
    seen: dict[str, int] = {}
    for number, alias in enumerate(spec.aliases, 1):
        if alias == spec.domain:
            source.refuse(
                f'`aliases` number {number} is "{alias}", the site\'s own domain; it must be another one',
                "Remove it from `aliases`.",
            )
        if alias in seen:
            source.refuse(
                f'`aliases` numbers {seen[alias]} and {number} are both "{alias}"; each may stand there once',
                "Remove one of the two.",
            )
        seen[alias] = number


def _check_app(app: AppSpec, tenant: str, source: Source) -> None:
    entries = [name for name in ENTRIES if getattr(app, name) is not None]
    if not entries:
        source.refuse(
            "[app] has none of `wsgi`, `asgi` and `command`; it must have exactly one of them",
            'Add a line such as: wsgi = "/var/www/wsgi.py". For a site without an app, remove [app].',
        )
    if len(entries) > 1:
        source.refuse(
            f"[app] has {' and '.join(f'`{name}`' for name in entries)}; it must have exactly one of them",
            "Remove all but the one that fits the app.",
        )
    if app.kind != "command" and app.target.startswith("/"):
        _check_path(app.target, tenant, f"[app] `{app.kind}`", source)
        if app.target in names.tenant_places(tenant):
            source.refuse(
                f'[app] `{app.kind}` is "{app.target}", which is a directory; it must be a file',
                f'Name the file too: {app.kind} = "{app.target}/wsgi.py"',
            )
    for key in ("directory", "virtualenv"):
        path = getattr(app, key)
        if path is not None:
            _check_path(path, tenant, f"[app] `{key}`", source)


def _check_path(path: str, tenant: str, where: str, source: Source) -> None:
    try:
        names.tenant_path(path, tenant)
    except ValueError as error:
        source.refuse(
            f'{where} is "{path}"; {error}', f"Move it to a place such as /home/{tenant}, and name that."
        )


def _check_static(spec: SiteSpec, source: Source) -> None:
    seen: dict[str, int] = {}
    for number, static in enumerate(spec.static, 1):
        _check_path(static.path, spec.tenant, f"[[static]] number {number} `path`", source)
        if static.url in seen:
            source.refuse(
                f'[[static]] numbers {seen[static.url]} and {number} both have the `url` "{static.url}"; '
                "each may be mapped once",
                "Remove one of the two.",
            )
        seen[static.url] = number
