"""The bare root that a zygote stands in, and that its workers' roots are copies of.

Made once per zygote, so that a worker's own part is a handful of mounts: the system's /usr read-only, the
runtime read-only at /opt/innkeeper/runtimes/NAME, a curated /etc, a minimal /dev, empty mount points for what
is the tenant's. The node's own directories are kept under /.node until a worker has taken its part of them.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from innkeeper.kernel import mounts, namespaces

RUNTIMES = "/opt/innkeeper/runtimes"
SOURCE = "/.innkeeper"
_MOUNT_POINTS = ("home", "var/www", "tmp", "proc", "run", "dev/shm", ".node")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
# fmt: off
_ETC = (
    "resolv.conf", "nsswitch.conf", "gai.conf", "host.conf", "services", "protocols", "mime.types",
    "localtime", "timezone", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ssl", "ca-certificates",
    "ca-certificates.conf", "alternatives", "debian_version", "os-release", "fonts", "magic",
    "python3", "terminfo", "inputrc", "bash.bashrc",
)
# fmt: on
_ETC_OWN = ("passwd", "group", "hosts", "hostname")  # written for each worker into /run


@dataclass(frozen=True)
class Template:
    """What the root is made of: host paths of the runtime, our own source and the node's directories."""

    stage: str  # an empty directory of root's to build on
    runtime_name: str
    runtime: str
    source: str
    tenants: str
    logs: str

    @property
    def runtime_seen(self) -> str:
        return f"{RUNTIMES}/{self.runtime_name}"


def enter(template: Template) -> None:
    """Build the root in a new mount namespace and stand in it; our source is at SOURCE."""
    namespaces.unshare(namespaces.MOUNT)
    mounts.make_private()
    root = Path(template.stage)
    mounts.tmpfs(str(root), options="mode=755,size=4m")
    for name in _MOUNT_POINTS:
        (root / name).mkdir(parents=True)
    _show_system(root)
    _make_devices(root)
    _copy_etc(root)
    read_only = mounts.RDONLY | mounts.NOSUID | mounts.NODEV
    for source, seen in ((template.runtime, template.runtime_seen), (template.source, SOURCE)):
        (root / seen.lstrip("/")).mkdir(parents=True)
        mounts.bind(source, f"{root}{seen}", read_only)
    mounts.tmpfs(f"{root}/.node", options="mode=700,size=64k")
    for source, name in ((template.tenants, "tenants"), (template.logs, "logs")):
        (root / ".node" / name).mkdir()
        mounts.bind(source, f"{root}/.node/{name}", recursive=True)
    os.symlink("/run/log", root / "var/log")
    mounts.pivot_root(root)
    mounts.proc("/proc")
    mounts.make_read_only("/")


def hide_source() -> None:
    """Once imported, our own source has no business in a tenant's root."""
    mounts.detach(SOURCE)


def _show_system(root: Path) -> None:
    (root / "usr").mkdir()
    mounts.bind("/usr", f"{root}/usr", mounts.RDONLY | mounts.NOSUID | mounts.NODEV, recursive=True)
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        host = Path("/", name)
        if host.is_symlink():
            os.symlink(os.readlink(host), root / name)
        elif host.is_dir():  # a system whose /usr is not merged
            (root / name).mkdir()
            mounts.bind(str(host), f"{root}/{name}", mounts.RDONLY | mounts.NOSUID | mounts.NODEV)


def _make_devices(root: Path) -> None:
    for name in _DEVICES:
        node = root / "dev" / name
        node.touch()
        mounts.bind(f"/dev/{name}", str(node), mounts.NOSUID | mounts.NOEXEC)
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, root / "dev" / name)


def _copy_etc(root: Path) -> None:
    """Copy what programs look up in /etc and no more: a tenant learns nothing of the host's settings."""
    (root / "etc").mkdir()
    versions = (path.name for path in Path("/etc").glob("python3.*"))
    for name in (*_ETC, *versions):
        source, copy = Path("/etc", name), root / "etc" / name
        if source.is_dir():
            if name in ("ssl", "ca-certificates"):
                _copy_certificates(source, copy)
            else:
                copy.mkdir()
                mounts.bind(str(source), str(copy), mounts.RDONLY | mounts.NOSUID | mounts.NODEV)
        elif source.is_file():
            shutil.copyfile(source, copy)
    for name in _ETC_OWN:
        os.symlink(f"/run/{name}", root / "etc" / name)


def _copy_certificates(source: Path, copy: Path) -> None:
    """The certificates that all may read are shown; /etc/ssl/private is not."""
    copy.mkdir()
    for name in ("certs", "openssl.cnf"):
        inner = source / name
        if inner.is_dir():
            (copy / name).mkdir()
            mounts.bind(str(inner), str(copy / name), mounts.RDONLY | mounts.NOSUID | mounts.NODEV)
        elif inner.is_file():
            shutil.copyfile(inner, copy / name)
