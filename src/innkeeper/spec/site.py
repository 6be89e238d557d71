"""A site: domains, an app, static mappings and what surrounds them, as its file tells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from innkeeper.spec import fields, limits, names
from innkeeper.spec.check import Source
from innkeeper.spec.toml import decode

CODE = "site-invalid"


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
        fields.Command | None, Meta(description="a program that binds the socket named by $DOMAIN_SOCKET")
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
    processes: Annotated[
        int,
        Meta(ge=limits.MIN_PROCESSES, le=limits.MAX_PROCESSES),
        Meta(description="processes that answer requests", examples=[2]),
    ] = 1
    threads: Annotated[
        int,
        Meta(ge=limits.MIN_THREADS, le=limits.MAX_THREADS),
        Meta(description="threads in each process", examples=[4]),
    ] = 4
    timeout: Annotated[
        int,
        Meta(ge=limits.MIN_TIMEOUT, le=limits.MAX_TIMEOUT),
        Meta(description="seconds that a request may take", examples=[300]),
    ] = limits.DEFAULT_TIMEOUT
    idle: Annotated[
        int,
        Meta(ge=0, le=limits.MAX_IDLE),
        Meta(description="seconds without requests before it sleeps; 0 = never", examples=[900]),
    ] = limits.DEFAULT_IDLE

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
    hash: Annotated[fields.PasswordHash, Meta(description="the password's hash, made by `htpasswd -nbB`")]


class SiteSpec(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One site. Its domain is its file's name."""

    domain: Annotated[fields.Domain, Meta(description="the domain: the file's name without `.toml`")]
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
    https: Annotated[HttpsSpec, Meta(description="HTTPS")] = HttpsSpec()
    password: Annotated[PasswordSpec | None, Meta(description="a password that all visitors must give")] = (
        None
    )

    def with_aliases(self, aliases: Iterable[str]) -> SiteSpec:
        """The same site with other aliases."""
        return msgspec.structs.replace(self, aliases=tuple(aliases))


def parse_site(domain: str, text: str, *, file: str) -> SiteSpec:
    """The site that the text of DOMAIN.toml describes. Raises SpecError for any fault of its name or text."""
    source = Source(file, CODE)
    _check_name(domain, source)
    spec = decode(text, SiteSpec, file=file, code=CODE, given={"domain": domain})
    _check_aliases(spec, source)
    if spec.app is not None:
        _check_app(spec.app, spec.tenant, source)
    _check_static(spec, source)
    return spec


def _check_name(domain: str, source: Source) -> None:
    try:
        normal = names.domain(domain)
    except ValueError as error:
        source.refuse(
            f"the file's name is not a domain with .toml behind it: {error}", "Rename or delete the file."
        )
    if normal != domain:
        source.refuse("the file's name is not the domain's normal form", f"Rename the file to {normal}.toml.")


def _check_aliases(spec: SiteSpec, source: Source) -> None:
    seen = {spec.domain}
    for alias in spec.aliases:
        if alias == spec.domain:
            source.refuse(
                f"`aliases` has {alias!r}, which is the site's own domain", "Remove it from `aliases`."
            )
        if alias in seen:
            source.refuse(f"`aliases` has {alias!r} twice", "Remove one of them.")
        seen.add(alias)


def _check_app(app: AppSpec, tenant: str, source: Source) -> None:
    entries = [name for name in ("wsgi", "asgi", "command") if getattr(app, name) is not None]
    if not entries:
        source.refuse(
            "[app] has none of `wsgi`, `asgi` and `command`; it needs exactly one",
            'Add a line such as: wsgi = "/var/www/wsgi.py". A site without an app has no [app] at all.',
        )
    if len(entries) > 1:
        source.refuse(
            f"[app] has {' and '.join(f'`{name}`' for name in entries)}; it needs exactly one of `wsgi`, `asgi`, `command`",
            "Remove all but the one that the app is.",
        )
    if app.kind != "command" and app.target.startswith("/"):
        _check_path(app.target, tenant, f"[app] `{app.kind}`", source)
    for key in ("directory", "virtualenv"):
        path = getattr(app, key)
        if path is not None:
            _check_path(path, tenant, f"[app] `{key}`", source)


def _check_path(path: str, tenant: str, where: str, source: Source) -> None:
    try:
        names.tenant_path(path, tenant)
    except ValueError as error:
        source.refuse(
            f'{where} is "{path}"; {error}', f"Name a path as the tenant sees it, such as /home/{tenant}/…"
        )


def _check_static(spec: SiteSpec, source: Source) -> None:
    seen: dict[str, int] = {}
    for number, static in enumerate(spec.static, 1):
        _check_path(static.path, spec.tenant, f"[[static]] number {number} `path`", source)
        if static.url in seen:
            source.refuse(
                f'[[static]] number {seen[static.url]} and number {number} both have the `url` "{static.url}"',
                "Remove one of them.",
            )
        seen[static.url] = number
