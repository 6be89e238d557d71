"""Disk limits: kept by the file system where it can, else measured and held to by the supervisor."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.harness import Node, await_true, running

SETTINGS = '[tenant_limits]\ndisk = "20m"\nfiles = 300\n'
FILLER = """
import os, threading, time
NAMELESS = []
def application(environ, start_response):
    answer = b"up"
    if environ["PATH_INFO"] == "/crowd":
        try:
            while True: threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        except RuntimeError: pass
    if environ["PATH_INFO"] in ("/fill", "/crowd"):
        try:
            with open("/home/filler/big", "wb", buffering=0) as file:
                for _ in range(12): file.write(bytes(1 << 20))
            with open("/tmp/big", "wb", buffering=0) as file:
                for _ in range(12): file.write(bytes(1 << 20))
            os.sync()
        except OSError as error:
            answer = str(error.errno).encode()
    if environ["PATH_INFO"] == "/nameless":
        NAMELESS.append(os.open("/tmp", os.O_TMPFILE | os.O_RDWR))
        NAMELESS.append(os.open("/home/filler/deleted", os.O_CREAT | os.O_RDWR))
        os.unlink("/home/filler/deleted")
        for file in NAMELESS: os.posix_fallocate(file, 0, 12 << 20)
    if environ["PATH_INFO"] == "/hide":
        os.makedirs("/home/filler/hidden/inner")
        for number in range(400): open(f"/home/filler/hidden/inner/{number}", "w").close()
        os.chmod("/home/filler/hidden", 0)
    if environ["PATH_INFO"] == "/deep":
        os.chdir("/home/filler")
        for _ in range(2500):
            os.mkdir("d")
            os.chdir("d")
    start_response("200 OK", [])
    return [answer]
"""


def _told(node: Node, code: str = "disk-full", limit: float = 30) -> str:
    def find() -> str:
        return next((p["message"] for p in node.show("filler.test")["problems"] if p["code"] == code), "")

    return str(await_true(find, limit, step=0.2))


def test_what_is_measured_is_held_to() -> None:
    with running(settings=SETTINGS) as node:
        node.app("filler.test", FILLER, tenant="filler", more='[limits]\nmemory = "300m"\n')
        node.app("quiet.test", tenant="quiet", answer="alive")
        assert node.get("filler.test").text == "up"
        assert node.get("filler.test", "/fill").text == "up"
        message = _told(node)
        assert '[limits] `disk` = "20m" of tenant filler' in message
        await_true(lambda: node.get("filler.test").status == 500, 20)
        assert "crashed" not in {p["code"] for p in node.show("filler.test")["problems"]}
        assert node.get("quiet.test").text == "alive"
        refused = subprocess.run(
            node.command("tenant", "file", "write", "filler", "/home/filler/more"), input=b"x", check=False
        )
        assert refused.returncode == 1
        node.cli("tenant", "file", "delete", "filler", "/home/filler/big")
        node.cli("tenant", "file", "delete", "filler", "/tmp/big")
        await_true(lambda: node.get("filler.test").text == "up", 40, step=0.5)
        assert "disk-full" not in {p["code"] for p in node.show("filler.test")["problems"]}


def test_what_a_command_writes_is_measured_when_it_has_ended() -> None:
    with running(settings=SETTINGS) as node:
        node.app("filler.test", FILLER, tenant="filler")
        assert node.get("filler.test").text == "up"
        await_true(
            lambda: next(one["disk"] for one in node.status()["tenants"] if one["name"] == "filler"), 20
        )
        for name in ("one", "two", "three"):
            write = f"head -c 9000000 /dev/zero > /home/filler/{name}"
            node.cli("tenant", "run", "filler", "--", "sh", "-c", write)
        assert '`disk` = "20m" of tenant filler' in _told(node)


def test_what_its_owner_has_hidden_from_itself_counts() -> None:
    with running(settings=SETTINGS) as node:
        node.app("filler.test", FILLER, tenant="filler")
        node.get("filler.test", "/hide")
        assert "the limit is [limits] `files` = 300" in _told(node)


def test_what_has_no_name_counts_while_it_is_open() -> None:
    with running(settings=SETTINGS) as node:
        node.app("filler.test", FILLER, tenant="filler")
        assert node.get("filler.test", "/nameless").text == "up"
        assert "the files take 24 MB" in _told(node)
        await_true(lambda: node.get("filler.test").text == "up", 40, step=0.5)


def test_who_has_no_task_left_is_measured() -> None:
    with running(settings=f"{SETTINGS}tasks = 40\n") as node:
        node.app("filler.test", FILLER, tenant="filler")
        node.get("filler.test", "/crowd")
        node.cli("tenant", "run", "filler", "--", "true", check=False)  # whatever comes of it: it is measured
        assert '`disk` = "20m" of tenant filler' in _told(node)


def test_who_can_not_be_measured_is_stopped_until_that_is_mended() -> None:
    with running(settings=SETTINGS) as node:
        node.app("filler.test", FILLER, tenant="filler")
        assert node.get("filler.test", "/deep").text == "up"
        node.cli("tenant", "run", "filler", "--", "true")  # then it is measured
        assert "more than 2048 directories are in each other" in _told(node, "disk-unmeasured", 60)
        await_true(lambda: node.get("filler.test").status == 500, 20)
        node.cli("tenant", "run", "filler", "--", "rm", "-rf", "/home/filler/d")
        await_true(lambda: node.get("filler.test").text == "up", 60, step=0.5)


@pytest.fixture
def btrfs() -> Iterator[Path]:
    """A small btrfs with quotas, on a loop device."""
    if shutil.which("mkfs.btrfs") is None:
        pytest.skip("mkfs.btrfs is not installed")
    image, top = Path("/tmp/ik-btrfs.img"), Path("/tmp/ik-btrfs")
    with image.open("wb") as file:
        file.truncate(500 << 20)
    top.mkdir(exist_ok=True)
    subprocess.run(["mkfs.btrfs", "-q", "-f", image], check=True, stderr=subprocess.DEVNULL)
    mounted = subprocess.run(["mount", "-o", "loop", image, top], capture_output=True, text=True, check=False)
    try:
        if mounted.returncode:
            pytest.skip(f"btrfs can't be mounted here: {mounted.stderr.strip()}")
        subprocess.run(["btrfs", "quota", "enable", top], check=True)
        yield top
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", top], check=True)
        image.unlink()
        top.rmdir()


def test_btrfs_keeps_the_limit(btrfs: Path) -> None:
    with running(root=btrfs / "n", settings=SETTINGS) as node:
        node.app("filler.test", FILLER, tenant="filler")
        assert node.get("filler.test", "/fill").text == "122"  # EDQUOT
        assert "No more can be written." in _told(node)
        assert node.get("filler.test").text == "up"
        assert node.status()["tenants"][0]["disk"] > 15 << 20
        node.remove("filler.test")
        node.cli("tenant", "rm", "filler", "--purge")
        assert not node.layout.tenant_data("filler").exists()
