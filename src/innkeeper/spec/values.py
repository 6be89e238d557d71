"""Rules of values that are not names: as in `names`, the normal form is returned or ValueError raised."""

from __future__ import annotations

import ipaddress
import re
from sys import intern

from innkeeper.spec import limits, names

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SYSTEM_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
_PYTHON = re.compile(r"/.+/bin/python[0-9.]*")
_PASSWORD_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*", re.ASCII)
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)
_NOT_IN_ENV = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"[0-9]{1,6}[kmg]?", re.ASCII)


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
    """The value of an environment variable: any text; of control characters, newlines and tabs only."""
    if _NOT_IN_ENV.search(text):
        raise ValueError("a variable's value has no control characters but for newlines and tabs")
    return text


def password_user(text: str) -> str:
    """The user name that a site's visitors give."""
    if not _PASSWORD_USER.fullmatch(text) or len(text) > limits.MAX_PASSWORD_USER:
        raise ValueError(
            "a user name has letters a-z or A-Z, digits and the signs . _ - @ +, "
            f"begins with a letter or digit, and has at most {limits.MAX_PASSWORD_USER} characters"
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
    found = names.path(text)
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


def bytes_of(text: str) -> int:
    """The bytes that a size in its normal form amounts to."""
    return int(text.rstrip("kmg")) * _UNITS.get(text[-1], 1)


def memory(text: str) -> str:
    """The memory that a site or tenant may use: a size with which a worker can be started, or "0" for any."""
    found = size(text)
    if 0 < bytes_of(found) < limits.MIN_MEMORY:
        raise ValueError(
            f"nothing starts with less than {limits.MIN_MEMORY >> 20}m, and a size without k, m or g is one of bytes"
        )
    return found


def log(text: str) -> str:
    """How large a log may become: a size with room for what apps ordinarily print."""
    found = size(text)
    if bytes_of(found) < limits.MIN_LOG:
        raise ValueError(
            f"a log has at least {limits.MIN_LOG >> 10}k, and a size without k, m or g is one of bytes"
        )
    return found


def opening(text: str) -> str:
    """An address or network that tenants may reach although it is not of the internet, with or without a port."""
    try:
        network, port = split_opening(text)
    except ValueError:
        raise ValueError(
            "it is ADDRESS, ADDRESS:PORT, [IPV6-ADDRESS]:PORT or NETWORK/BITS, in numbers, and the bits behind a "
            "network's own are 0"
        ) from None
    if not port:
        return network
    return f"[{network}]:{port}" if ":" in network else f"{network}:{port}"


def split_opening(text: str) -> tuple[str, int]:
    """The network and the TCP port (0 = any) of an opening. Raises ValueError."""
    address, port = text, ""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        if port and not port.startswith(":"):
            raise ValueError(text)
        port = port[1:]
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(text)
    network = ipaddress.ip_network(address)
    single = network.num_addresses == 1
    return str(network.network_address if single else network), int(port or 0)


def uid(number: int) -> int:
    """A Unix user id for a tenant."""
    if not limits.MIN_UID <= number <= limits.MAX_UID or number in limits.UNUSABLE_UIDS:
        raise ValueError(
            f"a tenant's user id is a whole number from {limits.MIN_UID} to {limits.MAX_UID}, "
            f"but for {' and '.join(map(str, sorted(limits.UNUSABLE_UIDS)))}, which the system uses"
        )
    return number
