"""Rules of names and paths: a function returns the normal form, or raises ValueError saying what is allowed.

What passes here goes into paths and host names, so a rule lists what is allowed and refuses all else.
"""

from __future__ import annotations

import re
from sys import intern

from innkeeper.spec import limits

_TENANT = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_RUNTIME = re.compile(r"[a-z][a-z0-9]*(?:[.-][a-z0-9]+)*", re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)

_WITHOUT_SIGNS = str.maketrans("", "", " .-+@,=~")

_SYSTEM_USERS = (
    "adm avahi backup bin colord daemon dialout disk dnsmasq docker ftp games gnats halt innkeeper irc kmem "
    "libuuid list lp lxd mail man memcache messagebus mongodb mysql netdev news nginx nobody nogroup ntp "
    "operator polkitd postfix postgres proxy rabbitmq redis root rtkit saned shadow shutdown sshd staff "
    "statd sudo sync sys syslog tape tcpdump tss tty usbmux users utmp uucp uuidd wheel www-data"
)
RESERVED_TENANTS = frozenset(_SYSTEM_USERS.split())


def tenant_name(text: str) -> str:
    """A tenant's name, which is also its Unix user's."""
    if not _TENANT.fullmatch(text) or len(text) > limits.MAX_TENANT:
        raise ValueError(
            "a tenant's name has lower-case letters a-z, digits and hyphens, begins with a letter, "
            f"does not end with a hyphen, and has at most {limits.MAX_TENANT} characters"
        )
    if text in RESERVED_TENANTS or text.startswith("systemd-"):
        raise ValueError("that is a user of the system's own, and no tenant may have its name")
    return intern(text)


def runtime_name(text: str) -> str:
    """A runtime's name, such as "python3.11"."""
    if not _RUNTIME.fullmatch(text) or len(text) > limits.MAX_RUNTIME:
        raise ValueError(
            "a runtime's name has lower-case letters a-z and digits, with single dots or hyphens between, "
            f"begins with a letter, and has at most {limits.MAX_RUNTIME} characters, as in python3.11"
        )
    return intern(text)


def domain(text: str) -> str:
    """A host name in lower case, international ones in ASCII form ("xn--…"), without a trailing dot."""
    if len(text) > 4 * limits.MAX_DOMAIN:  # before `idna`, which takes long over long texts
        raise ValueError(f"a domain has at most {limits.MAX_DOMAIN} bytes")
    name = (text.lower() if text.isascii() else _to_ascii(text)).removesuffix(".")
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            "a domain has labels of letters, digits and hyphens with single dots between, "
            "and no label begins or ends with a hyphen"
        )
    if any(len(label) > limits.MAX_LABEL for label in labels):
        raise ValueError(f"a label of a domain (the part between dots) has at most {limits.MAX_LABEL} bytes")
    if labels[-1].isdigit():
        raise ValueError("a domain's last label is not a number: sites have names, not IP addresses")
    if len(name) > limits.MAX_DOMAIN:
        raise ValueError(f"a domain has at most {limits.MAX_DOMAIN} bytes")
    for label in labels:
        _check_punycode(label)
    return intern(name)


def _to_ascii(text: str) -> str:
    import idna  # noqa: PLC0415 — here, because its tables take megabytes, and most nodes have no international name

    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except (UnicodeError, ValueError, IndexError):
        raise ValueError("as an international domain name it is not valid (IDNA 2008)") from None


def _check_punycode(label: str) -> None:
    if not label.startswith("xn--"):
        return
    import idna  # noqa: PLC0415

    try:
        same = idna.alabel(idna.ulabel(label)) == label.encode()
    except (UnicodeError, ValueError, IndexError):
        same = False
    if not same:
        raise ValueError(
            'a label that begins with "xn--" is the ASCII form of an international name (IDNA 2008)'
        )


def path(text: str) -> str:
    """An absolute path without ".", ".." and empty segments, and without signs that shells interpret."""
    if not text.startswith("/"):
        raise ValueError('a path begins with /, as in "/var/www/blog"')
    segments = [segment for segment in text.split("/") if segment]
    for segment in segments:
        _check_segment(segment, limits.MAX_SEGMENT)
    found = "/" + "/".join(segments)
    if len(found.encode()) > limits.MAX_PATH:
        raise ValueError(f"a path has at most {limits.MAX_PATH} bytes")
    return found


def _check_segment(segment: str, longest: int) -> None:
    if segment in (".", ".."):
        raise ValueError("a path is written out in full, without . and ..")
    # What remains without the signs is as in a Python identifier: letters of all scripts, digits and _
    if not f"_{segment.translate(_WITHOUT_SIGNS)}".isidentifier() or segment != segment.strip():
        raise ValueError(
            "a path has letters, digits, spaces and the signs . _ - + @ , = ~ only, "
            "and no space at the beginning or end of a name"
        )
    if len(segment.encode()) > longest:
        raise ValueError(f"each name in a path has at most {longest} bytes")


def root(text: str) -> str:
    """The path of a node's root, which stands in nginx's configuration as it is."""
    if not text.isprintable() or not set(text).isdisjoint("\"'\\;{}$# "):
        raise ValueError("the path of a node's root has no spaces, quotes or any of ; { } $ # \\ in it")
    return text


def tenant_places(tenant: str) -> tuple[str, str, str]:
    """The directories that a tenant may name, as the tenant sees them."""
    return (f"/home/{tenant}", "/var/www", "/tmp")


def tenant_path(text: str, tenant: str) -> str:
    """A path inside one of the tenant's own directories, as the tenant sees it."""
    found = path(text)
    if not any(found == place or found.startswith(place + "/") for place in tenant_places(tenant)):
        home, *others = tenant_places(tenant)
        raise ValueError(f"a tenant's path lies in {home}, {' or '.join(others)}")
    return found


def url_prefix(text: str) -> str:
    """The beginning of a URL's path, such as "/static" (which is the same as "/static/"), or "/" for all."""
    if not text.startswith("/"):
        raise ValueError('a URL prefix begins with /, as in "/static/"')
    segments = text.split("/")[1:]
    if segments[-1] == "":
        segments.pop()
    if len(segments) > limits.MAX_URL_DEPTH:
        raise ValueError(f"a URL prefix has at most {limits.MAX_URL_DEPTH} names between its slashes")
    if "" in segments:
        raise ValueError("a URL prefix has single slashes only")
    for segment in segments:
        _check_segment(segment, limits.MAX_URL_SEGMENT)
        if segment.startswith(".") and segment != ".well-known":
            raise ValueError("what begins with a dot is served to nobody, but for /.well-known/")
    return intern("/" + "/".join(segments))


def module(text: str) -> str:
    """A module's dotted name, such as "blog.main"."""
    if text.endswith(".py"):
        raise ValueError('a module is named without ".py", and a file by its full path: "/var/www/wsgi.py"')
    if not _is_dotted(text):
        raise ValueError('a module is named by its words with dots between, as in "blog.main"')
    return intern(text)


def entry(text: str) -> str:
    """Where an app is: "module", "module:callable", "/path.py" or "/path.py:callable"."""
    target, callable_name = split_entry(text)
    if callable_name is not None and not _is_dotted(callable_name):
        maker, called, _ = callable_name.partition("(")
        if called and maker.isidentifier() and _is_dotted(target):
            raise ValueError(
                "nothing is called here: name a file that does it, such as /var/www/blog_wsgi.py, and write in it "
                f"`from {target} import {maker}` and `application = {maker}()`"
            )
        raise ValueError('after the colon stands the name of the app in the module, as in "blog.main:app"')
    if "/" not in target:
        found = module(target)
    elif ":" in target or target.endswith("/"):
        raise ValueError(
            'a file is named by its path, with at most one colon after it: "/var/www/wsgi.py:app"'
        )
    else:
        found = path(target)
    return found if callable_name is None else f"{found}:{callable_name}"


def split_entry(text: str) -> tuple[str, str | None]:
    """The module or file of an entry, and the callable in it when one is named."""
    target, separator, callable_name = text.rpartition(":")
    return (target, callable_name) if separator else (text, None)


def _is_dotted(text: str) -> bool:
    return len(text) <= limits.MAX_MODULE and all(part.isidentifier() for part in text.split("."))
