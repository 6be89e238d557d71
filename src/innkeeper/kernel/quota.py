"""Disk quotas that the file system itself keeps: btrfs by subvolume, ext4 and xfs by project.

The numbers are those of the kernel's <linux/btrfs.h>, <linux/fs.h> and <linux/quota.h>.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from innkeeper.kernel import libc

_SUBVOLUME_CREATE = 0x5000940E
_QGROUP_LIMIT = 0x8030942B
_FS_INFO = 0x8400941F
_INODE_LOOKUP = 0xD0009412
_MAX_REFERENCED = 1
_FIRST_INODE = 256  # of a subvolume's top directory
_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820
_INHERIT_PROJECT = 0x200
_ATTRIBUTES = struct.Struct("5I8x")
_QUOTACTL_FD = 443
_PROJECT = 2
_SET_QUOTA, _GET_QUOTA = 0x800008, 0x800007
_DQBLK = struct.Struct("8QI4x")
_LIMITS_VALID = 1 | 4
_BLOCK = 1024


class Used(NamedTuple):
    """What is used: bytes, and files where they are counted (else 0)."""

    space: int
    files: int


class Quota(ABC):
    """A way to bound what the files below a directory take."""

    name: str

    @abstractmethod
    def make(self, directory: Path) -> None:
        """Make a directory that can be bounded; it must not be there yet."""

    @abstractmethod
    def bound(self, directory: Path, project: int, space: int, files: int) -> None:
        """Let it take so many bytes and files, 0 = any number. Raises OSError where that is not in force."""

    @abstractmethod
    def used(self, directory: Path, project: int) -> Used:
        """What it takes now."""


class Btrfs(Quota):
    """A subvolume for each directory. Files are not counted."""

    name = "btrfs qgroups"

    def make(self, directory: Path) -> None:
        arguments = struct.pack("q4088s", 0, directory.name.encode())
        with _opened(directory.parent) as parent:
            fcntl.ioctl(parent, _SUBVOLUME_CREATE, bytearray(arguments))

    def bound(self, directory: Path, project: int, space: int, files: int) -> None:
        with _opened(directory) as top:
            if os.fstat(top).st_ino != _FIRST_INODE:
                raise OSError(errno.EINVAL, "it is not a subvolume of its own", str(directory))
            flags = _MAX_REFERENCED if space else 0
            fcntl.ioctl(top, _QGROUP_LIMIT, struct.pack("6Q", 0, flags, space, 0, 0, 0))

    def used(self, directory: Path, project: int) -> Used:
        with _opened(directory) as top:
            lookup = bytearray(struct.pack("QQ4080x", 0, _FIRST_INODE))
            fcntl.ioctl(top, _INODE_LOOKUP, lookup)
            (number,) = struct.unpack_from("Q", lookup)
            info = bytearray(1024)
            fcntl.ioctl(top, _FS_INFO, info)
        identity = uuid.UUID(bytes=bytes(info[16:32]))
        counted = Path(f"/sys/fs/btrfs/{identity}/qgroups/0_{number}/referenced")
        return Used(int(counted.read_text()), 0)


class Project(Quota):
    """A project number for each directory, on a file system mounted with prjquota."""

    def __init__(self, kind: str) -> None:
        self.name = f"{kind} project quota"

    def make(self, directory: Path) -> None:
        directory.mkdir(mode=0o711)

    def bound(self, directory: Path, project: int, space: int, files: int) -> None:
        with _opened(directory) as top:
            _check_below(directory, project)
            limits = _DQBLK.pack(space // _BLOCK, 0, 0, files, 0, 0, 0, 0, _LIMITS_VALID)
            _quotactl(top, _SET_QUOTA, project, ctypes.create_string_buffer(limits, len(limits)))
            _mark(top, project)

    def used(self, directory: Path, project: int) -> Used:
        buffer = ctypes.create_string_buffer(_DQBLK.size)
        with _opened(directory) as top:
            _quotactl(top, _GET_QUOTA, project, buffer)
        found = _DQBLK.unpack(buffer.raw)
        return Used(found[2], found[5])


def find(path: Path) -> Quota | None:
    """The quota of the file system that `path` is on; None when it has none in force."""
    kind, options = _file_system(path)
    if kind == "btrfs" and _enabled_btrfs(path):
        return Btrfs()
    if kind in ("ext4", "xfs") and {"prjquota", "pquota"} & set(options.split(",")):
        return Project(kind)
    return None


def remedy(path: Path) -> str:
    """What an operator can do to have quotas at `path`."""
    kind, _ = _file_system(path)
    if kind == "btrfs":
        return f"btrfs quota enable {path}"
    if kind in ("ext4", "xfs"):
        return (
            f"mount the file system of {path} with the option prjquota (ext4: tune2fs -O project,quota first)"
        )
    return f"put {path} on btrfs, ext4 or xfs"


def _enabled_btrfs(path: Path) -> bool:
    with _opened(path) as top:
        info = bytearray(1024)
        fcntl.ioctl(top, _FS_INFO, info)
    return Path(f"/sys/fs/btrfs/{uuid.UUID(bytes=bytes(info[16:32]))}/qgroups").is_dir()


def _file_system(path: Path) -> tuple[str, str]:
    """The kind and the options of the file system that holds `path`."""
    resolved = str(path.resolve())
    best, found = -1, ("", "")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4]
        if (resolved == point or resolved.startswith(point.rstrip("/") + "/")) and len(point) >= best:
            kind, _, options = after.split(" ", 2)
            best, found = len(point), (kind, options)
    return found


def _check_below(directory: Path, project: int) -> None:
    """Raise OSError when what is in the directory belongs to another project, and so would be counted for nobody."""
    for entry in directory.iterdir():
        with _opened(entry) as inner:
            if _attributes(inner)[3] != project:
                raise OSError(
                    errno.EINVAL,
                    "what was there before is not counted; mark it, with the node down: "
                    f"chattr -R -p {project} {directory}; find {directory} -type d -exec chattr +P {{}} +",
                    str(entry),
                )


def _attributes(descriptor: int) -> tuple[int, int, int, int, int]:
    """Flags, the sizes and number of extents, project, and the size of extents when they are copied."""
    attributes = bytearray(_ATTRIBUTES.size)
    fcntl.ioctl(descriptor, _GET_ATTRIBUTES, attributes)
    flags, extent, extents, project, cow = _ATTRIBUTES.unpack(attributes)
    return flags, extent, extents, project, cow


def _mark(top: int, project: int) -> None:
    """Have all that is made below belong to the project."""
    flags, extent, extents, _, cow = _attributes(top)
    fcntl.ioctl(
        top, _SET_ATTRIBUTES, _ATTRIBUTES.pack(flags | _INHERIT_PROJECT, extent, extents, project, cow)
    )


def _quotactl(descriptor: int, command: int, project: int, buffer: ctypes.Array[ctypes.c_char]) -> None:
    libc.call("syscall", _QUOTACTL_FD, descriptor, (command << 8) | _PROJECT, project, buffer)


@contextlib.contextmanager
def _opened(path: Path):  # type: ignore[no-untyped-def]
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
