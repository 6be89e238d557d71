"""Helpers: commands and files of a tenant's, through its sandbox."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time

import pytest

from tests.node.harness import Node, await_true


@pytest.fixture(scope="module")
def house(node: Node) -> Node:
    node.tenant("helen")
    node.tenant("alice")
    node.put("alice", "/home/alice/secret", "alice's").chmod(0o600)
    return node


def file(node: Node, *arguments: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        node.command("tenant", "file", *arguments), input=content, capture_output=True, check=False
    )


def test_files_come_and_go(house: Node) -> None:
    content = os.urandom(3_000_000)
    assert file(house, "write", "helen", "/home/helen/a/b/data", content=content).returncode == 1
    assert file(house, "write", "helen", "/home/helen/a/b/data", "--parents", content=content).returncode == 0
    assert file(house, "read", "helen", "/home/helen/a/b/data").stdout == content
    assert (house.layout.tenant_home("helen") / "a/b/data").stat().st_uid == house.uid("helen")
    listed = json.loads(file(house, "list", "helen", "/home/helen/a/b", "--json").stdout)
    assert [(entry["name"], entry["kind"], entry["size"], entry["mode"]) for entry in listed] == [
        ("data", "file", 3_000_000, "644")
    ]
    (house.layout.tenant_home("helen") / "a/b/data").chmod(0o750)
    assert file(house, "write", "helen", "/home/helen/a/b/data", content=b"new").returncode == 0
    assert (house.layout.tenant_home("helen") / "a/b/data").stat().st_mode & 0o777 == 0o750
    assert file(house, "move", "helen", "/home/helen/a/b/data", "/home/helen/moved").returncode == 0
    assert file(house, "write", "helen", "/home/helen/other", content=b"other").returncode == 0
    clash = file(house, "move", "helen", "/home/helen/other", "/home/helen/moved")
    assert clash.returncode == 1
    assert b"there is such a file already" in clash.stderr
    assert file(house, "move", "helen", "/home/helen/other", "/home/helen/moved", "--replace").returncode == 0
    assert file(house, "read", "helen", "/home/helen/moved").stdout == b"other"
    full = file(house, "delete", "helen", "/home/helen/a")
    assert full.returncode == 1
    assert b"--all" in full.stderr
    assert file(house, "delete", "helen", "/home/helen/a", "--all").returncode == 0
    assert not (house.layout.tenant_home("helen") / "a").exists()


def test_no_file_of_anybody_else(house: Node) -> None:
    os.symlink("/home/alice/secret", house.layout.tenant_home("helen") / "link")
    os.symlink(house.layout.tenant_home("alice") / "secret", house.layout.tenant_home("helen") / "link2")
    os.mkfifo(house.layout.tenant_home("helen") / "pipe", 0o666)
    for path in (
        "/home/helen/link",
        "/home/helen/link2",
        "/home/alice/secret",
        "/etc/shadow",
        "/home/helen/pipe",
    ):
        done = file(house, "read", "helen", path)
        assert (done.returncode, done.stdout) == (1, b""), path
        assert done.stderr
    for path in ("/home/alice/planted", "/etc/planted", "/var/log/planted", "/usr/planted"):
        assert file(house, "write", "helen", path, content=b"x").returncode == 1
    assert not (house.layout.tenant_home("alice") / "planted").exists()


def test_a_time_limit(house: Node) -> None:
    """The command and all that it started end; what it had said so far is passed on at once."""
    began = time.monotonic()
    command = "echo begun; (sleep 61 &) ; trap '' TERM; while true; do sleep 0.2; done"
    running = subprocess.Popen(
        house.command("tenant", "run", "--timeout", "1.5", "helen", "--", "sh", "-c", command),
        stdout=subprocess.PIPE,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"begun\n"
    assert time.monotonic() - began < 1.5
    assert running.wait(20) == 124
    running.stdout.close()
    quick = house.cli("tenant", "run", "--timeout", "5", "helen", "--", "sh", "-c", "exit 3", check=False)
    assert quick.returncode == 3


def test_who_goes_away_takes_the_command_along(house: Node) -> None:
    running = subprocess.Popen(house.command("tenant", "run", "helen", "--", "sleep", "77"))
    await_true(lambda: any(b"sleep\0" + b"77" in _command(pid) for pid in house.pids()), 10)
    running.kill()
    running.wait()
    await_true(lambda: not any(b"sleep\0" + b"77" in _command(pid) for pid in house.pids()), 10)


def test_nor_is_it_run_later_when_nothing_could_be_forked_yet(house: Node) -> None:
    takers = [pid for pid in house.pids() if _name(pid) == "ik orders"]
    mark = house.layout.tenant_home("helen") / "late"
    for pid in takers:
        os.kill(pid, signal.SIGSTOP)
    try:
        running = subprocess.Popen(
            house.command("tenant", "run", "helen", "--", "sh", "-c", "sleep 1; touch ~/late")
        )
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(3)
        running.kill()
        running.wait()
        house.status()  # it was heard after that one had gone
    finally:
        for pid in takers:
            os.kill(pid, signal.SIGCONT)
    house.cli("tenant", "run", "helen", "--", "sleep", "2")
    assert not mark.exists()


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return ""


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_a_shell_with_a_terminal(house: Node) -> None:
    """Job control, colours and sizes work; the terminal is not the operator's own."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = house.command("tenant", "shell", "helen")
        os.execv(command[0], command)
    said = b""

    def until(words: bytes, again: bytes = b"") -> None:
        """Read on until there are these words; keys that bash may not be ready for are pressed anew."""
        nonlocal said
        end = time.monotonic() + 15
        while words not in said:
            assert time.monotonic() < end, said
            if select.select([terminal], [], [], 4)[0]:
                said += os.read(terminal, 65536)
            else:
                os.write(terminal, again)

    until(b"helen:~$ ")
    os.write(terminal, b"echo I am $(id -un) in $PWD on $(test -t 0 && echo a terminal)\n")
    until(b"I am helen in /home/helen on a terminal")
    os.write(terminal, b"sleep 100\n")
    until(b"sleep 100\r\n")
    await_true(lambda: any(b"sleep\0" + b"100" in _command(one) for one in house.pids()), 10)
    os.write(terminal, b"\x1a")
    until(b"Stopped", again=b"\x1a")
    os.write(terminal, b"kill -KILL %1\n")
    os.write(terminal, b"sleep 0.3\n")  # jobs that have ended are told of before the next prompt
    until(b"Killed")
    os.write(terminal, b"exit 7\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 7
