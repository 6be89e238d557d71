"""The doctor on this machine, and on one with each facility taken away in turn; and what a node makes of that."""

from __future__ import annotations

import ctypes.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.node.harness import Node

SCRIPT = "import sys; sys.argv[0] = 'innkeeper'; from innkeeper.cli.main import main; main()"
WITHOUT_LANDLOCK = """
import errno, os, sys
from innkeeper.kernel import seccomp
seccomp.install(seccomp.compile_refusals([seccomp.Rule("landlock_create_ruleset")], errno.ENOSYS))
os.execv(sys.argv[1], sys.argv[1:])
"""
RUNTIMES = Path(sys.prefix) / "runtimes"


def capability(name: str) -> tuple[str, ...]:
    return ("setpriv", "--bounding-set", f"-{name}", "--inh-caps", f"-{name}")


def elsewhere(change: str) -> tuple[str, ...]:
    """In a mount namespace of its own, where the shell command `change` was run first."""
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", f'{change} && exec "$@"', "sh")


def hidden(path: str) -> tuple[str, ...]:
    return elsewhere(f"mount --bind /dev/null {path}")


def library() -> str:
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib/x86_64-linux-gnu"):
        path = Path(folder, "libseccomp.so.2")
        if path.exists():
            return str(path.resolve())
    raise AssertionError("libseccomp is not where it is looked for")


OLD_NGINX = "printf '#!/bin/sh\\necho nginx/1.0 --without-http_auth_basic_module >&2\\n' > /run/ik-nginx"
TAKEN_AWAY: dict[str, tuple[tuple[str, ...], str, str]] = {
    # what is taken away: how, the facility that misses it, and what the remedy speaks of
    "CAP_SYS_ADMIN": (capability("sys_admin"), "namespaces", "CAP_SYS_ADMIN"),
    "libseccomp": (("libseccomp",), "seccomp", "libseccomp2"),
    "Landlock": ((sys.executable, "-c", WITHOUT_LANDLOCK), "landlock", "6.12"),
    "nft": (hidden("/usr/sbin/nft"), "nftables", "apt-get install nftables"),
    "CAP_NET_ADMIN": (capability("net_admin"), "nftables", "CAP_NET_ADMIN"),
    "cgroups": (elsewhere("umount --recursive --lazy /sys/fs/cgroup"), "control groups", "Delegate"),
    "writable cgroups": (
        elsewhere("for at in /sys/fs/cgroup/*/; do mount -o remount,bind,ro $at 2>/dev/null; done; true"),
        "control groups",
        "writable",
    ),
    "blkio": (elsewhere("umount --lazy /sys/fs/cgroup/blkio"), "disk shares", "controller"),
    "a deep queue": (
        ("unshare", "--net", "sh", "-c", 'echo 128 > /proc/sys/net/core/somaxconn && exec "$@"', "sh"),
        "connection queues",
        "sysctl -w",
    ),
    "many files": (("prlimit", "--nofile=600:600"), "open files", "LimitNOFILE"),
    "nginx": (hidden("/usr/sbin/nginx"), "nginx", "apt-get install nginx"),
    "nginx's modules": (
        elsewhere(f"{OLD_NGINX}; chmod 755 /run/ik-nginx; mount --bind /run/ik-nginx /usr/sbin/nginx"),
        "nginx",
        "apt-get install nginx",
    ),
    "runtimes": (elsewhere(f"mount -t tmpfs none {RUNTIMES}"), "runtimes", "scripts/setup"),
}
CHOOSY_NFT = """cp /usr/sbin/nft /run/ik-nft-itself
cat > /run/ik-nft <<'END'
#!/bin/sh
[ "$1" = -f ] || exec /run/ik-nft-itself "$@"
rules=$(cat)
case $rules in *"dport "[1-9]*) echo "out of memory" >&2; exit 1;; esac
echo "$rules" | /run/ik-nft-itself "$@"
END
chmod 755 /run/ik-nft
mount --bind /run/ik-nft /usr/sbin/nft"""  # it takes rules on trial, and not those that open a port
WALLS = ("namespaces", "seccomp", "landlock", "nftables", "control groups")


def prefix(what: str) -> tuple[str, ...]:
    found = TAKEN_AWAY[what][0]
    return hidden(library()) if found == ("libseccomp",) else found


def examine(root: Path, before: tuple[str, ...] = ()) -> tuple[int, dict[str, Any]]:
    command = [*before, sys.executable, "-c", SCRIPT, "--root", str(root), "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    return done.returncode, {"isolation": found["isolation"]} | {
        each["name"]: each for each in found["facilities"]
    }


def test_this_machine_is_well(tmp_path: Path) -> None:
    assert ctypes.util.find_library("seccomp")
    status, found = examine(tmp_path)
    assert [name for name in WALLS if not found[name]["ok"]] == []
    assert (status, found["isolation"]) == (0, "full")
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT, "--root", str(tmp_path), "doctor"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Tenants can be isolated fully" in said.stdout


@pytest.mark.parametrize("what", TAKEN_AWAY)
def test_what_is_missing_is_found(tmp_path: Path, what: str) -> None:
    _, name, remedy = TAKEN_AWAY[what]
    status, found = examine(tmp_path, prefix(what))
    assert found[name]["ok"] is False, found[name]
    assert found[name]["cost"]
    assert remedy in found[name]["remedy"]
    needed = (*WALLS, "nginx", "runtimes")
    assert status == (1 if name in needed else 0)
    assert found["isolation"] == ("reduced" if name in WALLS else "full")
    others = [each for each in needed if each != name and not found[each]["ok"]]
    assert others == []


@pytest.mark.parametrize("what", [what for what, (_, name, _) in TAKEN_AWAY.items() if name in WALLS])
def test_full_isolation_is_refused_without_any_one_wall(what: str) -> None:
    node = Node(settings='isolation = "full"\n', prefix=prefix(what))
    try:
        done = subprocess.run(
            [*node.prefix, *node.command("up", "--http", f"127.0.0.1:{node.port}")],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 2
        assert f"{TAKEN_AWAY[what][1]}:" in done.stderr
        assert "innkeeper doctor" in done.stderr
        tables = subprocess.run(
            ["/usr/sbin/nft", "list", "tables"], capture_output=True, text=True, check=True
        )
        assert node.layout.table not in tables.stdout.split()
    finally:
        node.close()


@pytest.mark.parametrize("what", ["libseccomp", "Landlock", "nft", "cgroups", "CAP_NET_ADMIN"])
def test_the_best_that_can_be_had_serves(what: str) -> None:
    node = Node(prefix=prefix(what))
    try:
        node.start()
        node.app("plain.test")
        assert node.get("plain.test").text == "hello"
        assert node.status()["isolation"] == "reduced"
        said = " ".join(node.words.read_text().split())
        assert "WARNING: reduced isolation" in said
        assert TAKEN_AWAY[what][1] in said
    finally:
        node.close()


def test_rules_that_are_refused_though_others_are_taken_leave_the_isolation_reduced(tmp_path: Path) -> None:
    choosy = elsewhere(CHOOSY_NFT)
    assert examine(tmp_path, choosy)[1]["nftables"]["ok"]
    strict = Node(settings='isolation = "full"\n', prefix=choosy)
    lenient = Node(prefix=choosy)
    try:
        with pytest.raises(AssertionError, match=r"nftables: no rules can be set \(out of memory\)"):
            strict.start()
        lenient.start()
        assert lenient.status()["isolation"] == "reduced"
        assert "out of memory" in lenient.words.read_text()
    finally:
        strict.close()
        lenient.close()
