"""The packet filter: what a range of Unix users may reach, in one nftables table of the same size for any number."""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
# Addresses that lead to the machine's own neighbourhood and not to the internet (IANA's special-purpose
# registries, https://www.iana.org/assignments/iana-ipv4-special-registry), and the metadata services of clouds
# that lie elsewhere: 168.63.129.16 is Azure's.
_CLOSED_4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"),
)
_CLOSED_6 = ("::/8", "64:ff9b::/96", "64:ff9b:1::/48", "fc00::/7", "fe80::/9", "ff00::/8")
_ALL = {"0.0.0.0": "ipv4", "::": "ipv6"}
_LOOPBACK = ("ip daddr 127.0.0.1", "ip6 daddr ::1")
_OWN = "own"  # the set of users and ports of theirs
_INNER = "inner"  # the set of those ports, which nobody outside of this machine reaches
_SMTP = 25
_DNS = 53


class Opening(NamedTuple):
    """An address or network that may be reached after all; at one TCP port or (0) at any port.

    0.0.0.0 and :: stand for every address of this machine.
    """

    network: str
    port: int = 0


def render(
    table: str,
    first_uid: int,
    last_uid: int,
    openings: Iterable[Opening],
    name_servers: Iterable[str],
    *,
    smtp: bool,
) -> str:
    """The rules as `nft -f` reads them, taking the place of an older table of that name at once."""
    rules = [
        f"{loopback} meta skuid . tcp {end} @{_OWN} accept"
        for loopback in _LOOPBACK
        for end in ("dport", "sport")
    ]
    rules += [f"{_to(server)} meta l4proto {{ tcp, udp }} th dport {_DNS} accept" for server in name_servers]
    rules += [
        f"{_to(each.network)}{f' tcp dport {each.port}' if each.port else ''} accept" for each in openings
    ]
    rules += [
        "fib daddr type { local, broadcast, anycast, multicast } goto refused",
        f"ip daddr {{ {', '.join(_CLOSED_4)} }} goto refused",
        f"ip6 daddr {{ {', '.join(_CLOSED_6)} }} goto refused",
    ]
    if not smtp:
        rules.append(f"tcp dport {_SMTP} goto refused")
    lines = "\n".join(f"        {rule}" for rule in rules)
    return f"""table inet {table}
delete table inet {table}
table inet {table} {{
    set {_OWN} {{
        type uid . inet_service
    }}
    set {_INNER} {{
        type inet_service
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname != "lo" tcp dport @{_INNER} goto refused
    }}
    chain output {{
        type filter hook output priority filter; policy accept;
        meta skuid {first_uid}-{last_uid} jump tenants
    }}
    chain tenants {{
{lines}
    }}
    chain refused {{
        meta l4proto tcp reject with tcp reset
        reject with icmpx admin-prohibited
    }}
}}
"""


def _to(network: str) -> str:
    if network in _ALL:
        return f"meta nfproto {_ALL[network]} fib daddr type local"
    return f"{'ip6' if ':' in network else 'ip'} daddr {network}"


def install(rules: str) -> None:
    """Put the rules in force. Raises OSError with nft's own words when that is refused."""
    _nft(["-f", "-"], rules)


def remove(table: str) -> None:
    """Take the table away. Raises OSError when that fails."""
    _nft(["delete", "table", "inet", table])


def grant(table: str, uid: int, port: int) -> list[str]:
    """The words for nft by which a user may reach that TCP port of the loopback addresses.

    No other user of the range does, nor anybody from outside, whatever address the port is bound to.
    """
    return _elements("add", table, uid, port)


def revoke(table: str, uid: int, port: int) -> list[str]:
    """The opposite of `grant`."""
    return _elements("delete", table, uid, port)


def grant_only(table: str, granted: Iterable[tuple[int, int]]) -> str:
    """What has these users and ports, and no others, be granted from one moment to the next, for `install`."""
    pairs = list(granted)
    lines = [f"flush set inet {table} {name}" for name in (_OWN, _INNER)]
    if pairs:
        owned, ports = (f"{uid} . {port}" for uid, port in pairs), (str(port) for _, port in pairs)
        lines.append(f"add element inet {table} {_OWN} {{ {', '.join(owned)} }}")
        lines.append(f"add element inet {table} {_INNER} {{ {', '.join(ports)} }}")
    return "\n".join(lines)


def _elements(verb: str, table: str, uid: int, port: int) -> list[str]:
    of_table = f"{verb} element inet {table}"
    return [f"{of_table} {_OWN} {{ {uid} . {port} }}; {of_table} {_INNER} {{ {port} }}"]


def program() -> str | None:
    """Where nft is; None when it is not installed."""
    return shutil.which("nft", path=_PATH)


def reason(table: str) -> str | None:
    """None when such a table can be had here, else why not; makes one to try, and removes it."""
    try:
        install(render(table, 1, 1, (), (), smtp=True))
        remove(table)
    except OSError as error:
        return str(error)
    return None


def name_servers(text: str) -> list[str]:
    """The addresses of the name servers that the text of /etc/resolv.conf names."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                found.append(str(ipaddress.ip_address(words[1].partition("%")[0])))
            except ValueError:
                continue
    return found


def _nft(arguments: list[str], text: str = "") -> None:
    nft = program()
    if nft is None:
        raise OSError("nft is not installed")
    done = subprocess.run([nft, *arguments], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"nft ended with status {done.returncode}"]
        raise OSError(said[0][:300])
