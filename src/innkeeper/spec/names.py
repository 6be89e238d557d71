"""The rules of single values: each function returns the normal form, or raises ValueError saying what is allowed.

What passes here goes into paths and host names, so a rule lists what is allowed and refuses all else.
"""

from __future__ import annotations

import re
from sys import intern

from innkeeper.spec import limits

_TENANT = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_RUNTIME = re.compile(r"[a-z][a-z0-9]*(?:[.-][a-z0-9]+)*", re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SYSTEM_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
_PYTHON = re.compile(r"/.+/bin/python[0-9.]*")
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)
_NOT_IN_ENV = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_SIZE = re.compile(r"[0-9]{1,6}[kmg]?", re.ASCII)

_PATH_SIGNS = " ._-+@,=~:"
_PATH_CHARACTERS = "letters, digits, spaces and the signs . _ - + @ , = ~ :"

_SYSTEM_USERS = (
    "adm audio avahi backup bin cdrom colord crontab daemon dialout dip disk docker fax floppy ftp games gnats "
    "halt http httpd innkeeper input irc kmem kvm list lp lpadmin lxd mail man messagebus mysql netdev news nginx "
    "nobody nogroup ntp operator plugdev polkitd postfix postgres proxy redis render root rtkit sasl saned "
    "shadow shutdown src ssh sshd staff statd sudo sync sys syslog tape tcpdump tss tty users utmp uucp uuidd "
    "video voice wheel www www-data"
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
    """A host name in lower case, international names in their ASCII form ("xn--…"), without a trailing dot."""
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
    import idna  # here, because its tables take megabytes, and most nodes have no international name

    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except (UnicodeError, ValueError, IndexError):
        raise ValueError("as an international domain name it is not valid (IDNA 2008)") from None


def _check_punycode(label: str) -> None:
    if not label.startswith("xn--"):
        return
    import idna

    try:
        same = idna.alabel(idna.ulabel(label)) == label.encode()
    except (UnicodeError, ValueError, IndexError):
        same = False
    if not same:
        raise ValueError(
            'a label that begins with "xn--" is the ASCII form of an international name (IDNA 2008)'
        )


def path(text: str) -> str:
    """An absolute path without "." or ".." or empty segments, and without signs that mean something to a shell."""
    if not text.startswith("/"):
        raise ValueError("a path begins with /")
    if len(text.encode(errors="replace")) > limits.MAX_PATH:
        raise ValueError(f"a path has at most {limits.MAX_PATH} bytes")
    segments = [segment for segment in text.split("/") if segment]
    for segment in segments:
        _check_segment(segment, limits.MAX_SEGMENT)
    return "/" + "/".join(segments)


def _check_segment(segment: str, longest: int) -> None:
    if segment in (".", ".."):
        raise ValueError("a path is written out in full, without . and ..")
    if not all(sign.isalnum() or sign in _PATH_SIGNS for sign in segment) or segment != segment.strip():
        raise ValueError(f"a path has {_PATH_CHARACTERS} only, and no space at either end of a name")
    if len(segment.encode(errors="replace")) > longest:
        raise ValueError(f"each name in a path has at most {longest} bytes")


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
        raise ValueError("a URL prefix begins with /")
    segments = text.split("/")[1:]
    if segments[-1] == "":
        segments.pop()
    if len(segments) > limits.MAX_URL_DEPTH:
        raise ValueError(f"a URL prefix has at most {limits.MAX_URL_DEPTH} names between its slashes")
    if "" in segments:
        raise ValueError("a URL prefix has single slashes only")
    for segment in segments:
        _check_segment(segment, limits.MAX_URL_SEGMENT)
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


def command(text: str) -> str:
    """A command line: one line of printable text, not empty."""
    if not text.strip() or not text.isprintable():
        raise ValueError("a command is one line of text without control characters")
    if len(text) > limits.MAX_COMMAND:
        raise ValueError(f"a command has at most {limits.MAX_COMMAND} characters")
    return text.strip()


def env_name(text: str) -> str:
    """The name of an environment variable; uWSGI's own are refused, since they are doors into the worker."""
    if not _ENV_NAME.fullmatch(text) or len(text) > limits.MAX_ENV_NAME:
        raise ValueError(
            "a variable's name has letters a-z, digits and _, does not begin with a digit, "
            f"and has at most {limits.MAX_ENV_NAME} characters"
        )
    if text.upper().startswith("UWSGI_"):
        raise ValueError(
            "variables whose names begin with UWSGI_ would steer the server itself, and can't be set"
        )
    return intern(text)


def env_value(text: str) -> str:
    """The value of an environment variable: any text but for control characters; newlines and tabs are allowed."""
    if _NOT_IN_ENV.search(text):
        raise ValueError("a variable's value has no control characters but for newlines and tabs")
    if len(text.encode()) > limits.MAX_ENV_VALUE:
        raise ValueError(f"a variable's value has at most {limits.MAX_ENV_VALUE // 1024} KiB")
    return text


def password_user(text: str) -> str:
    """The user name that a site's visitors give."""
    if not text or len(text) > limits.MAX_USER or not all(sign.isalnum() or sign in "._-@+" for sign in text):
        raise ValueError(
            f"a user name has letters, digits and the signs . _ - @ +, and at most {limits.MAX_USER} characters"
        )
    return text


def password_hash(text: str) -> str:
    """A bcrypt hash as htpasswd -B writes it."""
    match = _BCRYPT.fullmatch(text)
    if not match:
        raise ValueError(
            "a hash is in bcrypt's form: $2y$, two digits, $, and 53 letters, digits, dots or slashes"
        )
    if not limits.MIN_BCRYPT_COST <= int(match[1]) <= limits.MAX_BCRYPT_COST:
        raise ValueError(
            f"a bcrypt hash has a cost (the number after $2y$) "
            f"from {limits.MIN_BCRYPT_COST:02} to {limits.MAX_BCRYPT_COST}"
        )
    return text


def python(text: str) -> str:
    """The host's path of a virtualenv's Python."""
    found = path(text)
    if not _PYTHON.fullmatch(found):
        raise ValueError("a runtime's Python is that of a virtualenv: /…/bin/python")
    return found


def system_user(text: str) -> str:
    """An unprivileged user of the host's."""
    if not _SYSTEM_USER.fullmatch(text) or text == "root":
        raise ValueError("a system user's name has lower-case letters, digits, - and _, and is not root")
    return text


def size(text: str) -> str:
    """An amount of bytes in nginx's form: a number, and k, m or g."""
    if not _SIZE.fullmatch(text.lower()):
        raise ValueError('a size is a whole number with k, m or g behind it, as in "100m"')
    return text.lower()


def uid(number: int) -> int:
    """A Unix user id for a tenant."""
    if not limits.MIN_UID <= number <= limits.MAX_UID or number in limits.UNUSABLE_UIDS:
        raise ValueError(
            f"a tenant's user id is a whole number from {limits.MIN_UID} to {limits.MAX_UID}, "
            f"but for {' and '.join(map(str, sorted(limits.UNUSABLE_UIDS)))}, which the system uses"
        )
    return number
