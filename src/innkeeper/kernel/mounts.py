"""Mounts: thin, typed calls of mount(2), umount2(2) and pivot_root(2)."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

from innkeeper.kernel import libc

RDONLY = 1
NOSUID = 2
NODEV = 4
NOEXEC = 8
NOATIME = 1024
_REMOUNT = 32
_BIND = 4096
_REC = 16384
_PRIVATE = 1 << 18
_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


def bind_steps(source: str, target: str, flags: int = NOSUID | NODEV) -> list[tuple[str, str, str, int, str]]:
    """The two calls of `bind`, as `mount` takes them, for another to make."""
    return [(source, target, "", _BIND, ""), ("none", target, "", _BIND | _REMOUNT | flags, "")]


def read_only_step(target: str, flags: int = NOSUID | NODEV) -> tuple[str, str, str, int, str]:
    """The call of `make_read_only`."""
    return ("none", target, "", _BIND | _REMOUNT | RDONLY | flags, "")


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """mount(2); raises OSError naming the target."""
    libc.call(
        "mount",
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode() if options else None,
        about=target,
    )


def make_private() -> None:
    """Let nothing that is mounted here be seen elsewhere."""
    mount("none", "/", None, _REC | _PRIVATE)


def bind(source: str, target: str, flags: int = NOSUID | NODEV, *, recursive: bool = False) -> None:
    """Show `source` at `target` too, with `flags` (which a first bind ignores, so it is mounted again)."""
    mount(source, target, None, _BIND | (_REC if recursive else 0))
    mount("none", target, None, _BIND | _REMOUNT | flags)


def tmpfs(target: str, flags: int = NOSUID | NODEV, options: str = "mode=755") -> None:
    mount("tmpfs", target, "tmpfs", flags, options)


def proc(target: str) -> None:
    """A /proc of the caller's own PID namespace."""
    mount("proc", target, "proc", NOSUID | NODEV | NOEXEC)


def make_read_only(target: str, flags: int = NOSUID | NODEV) -> None:
    mount("none", target, None, _BIND | _REMOUNT | RDONLY | flags)


def detach(target: str) -> None:
    libc.call("umount2", target.encode(), _DETACH, about=target)


def pivot_root(new_root: Path) -> None:
    """Make `new_root` (a mount) the root of this mount namespace and let go of the old one."""
    os.chdir(new_root)
    libc.call("syscall", _PIVOT_ROOT[platform.machine()], b".", b".", about=str(new_root))
    libc.call("umount2", b".", _DETACH)
    os.chdir("/")
