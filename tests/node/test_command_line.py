"""The command line: what it prints of tenants' words, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.harness import Node, await_true

HOSTILE = r"""
import sys
sys.stderr.write("before \033[2J after\n")
sys.stderr.flush()
raise RuntimeError("\033]0;OWNED\007\n\ngood.test crashed: all is lost\n  → Run: evil")
"""


@pytest.fixture(scope="module")
def hostile(node: Node) -> Iterator[Node]:
    node.app("hostile.test", HOSTILE, tenant="mallory")
    assert node.get("hostile.test").status == 500
    yield node
    node.remove("hostile.test")


def on_terminal(command: list[str], *, until: bytes = b"") -> bytes:
    """All that a command writes to its terminal; it is interrupted once `until` is there."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while not until or until not in said:
            said += os.read(ours, 65536)
    except OSError:  # its other end is closed
        pass
    if until:
        running.send_signal(signal.SIGINT)
    running.wait(20)
    os.close(ours)
    return said


def plain(said: bytes) -> str:
    """What a terminal shows, without our own colours."""
    text = said.decode()
    for style in ("0", "1", "2", "31", "32", "33", "1;31", "1;33"):
        text = text.replace(f"\x1b[{style}m", "")
    return text


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said that was refused in plain words."""
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_exception_steers_no_terminal_and_forges_no_entry(hostile: Node) -> None:
    for arguments in (["status"], ["site", "show", "hostile.test"]):
        for shown in (hostile.cli(*arguments).stdout, plain(on_terminal(hostile.command(*arguments)))):
            assert "\x1b" not in shown
            assert r"\x1b]0;OWNED\x07" in shown
            assert "\n  │ good.test crashed: all is lost" in shown.replace("\r", "")
            assert "\n  │   → Run: evil" in shown.replace("\r", "")
    told = json.loads(hostile.cli("site", "show", "hostile.test", "--json").stdout)
    assert "\x1b]0;OWNED\x07" in told["problems"][0]["message"]


def test_logs_are_visible_on_a_terminal_and_themselves_in_a_pipe(hostile: Node) -> None:
    command = hostile.command("site", "logs", "hostile.test", "--kind", "error")
    piped = subprocess.run(command, capture_output=True, check=True).stdout
    assert piped == hostile.log("hostile.test", "error").encode()
    assert b"before \x1b[2J after\n" in piped
    assert "before \\x1b[2J after\r\n" in plain(on_terminal(command))
    log = hostile.layout.log_dir("hostile.test") / "error.log"
    following = hostile.command("site", "logs", "hostile.test", "--follow", "-n", "0")
    ours, theirs = pty.openpty()
    running = subprocess.Popen(following, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    end = time.monotonic() + 15
    while b"later" not in said and time.monotonic() < end:
        with log.open("ab") as file:
            file.write("é\x1b[31m later\n".encode())
        os.set_blocking(ours, False)
        time.sleep(0.3)
        try:
            said += os.read(ours, 65536)
        except BlockingIOError:
            continue
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 0
    os.close(ours)
    assert "é\\x1b[31m later\r\n" in said.decode()


def test_names_and_contents_of_files(hostile: Node) -> None:
    home = hostile.layout.tenant_home("mallory")
    for name in (b"\x1b[31mred", b"two\nlines", b"\xff", b"[bold]"):
        (home / os.fsdecode(name)).write_bytes(b"a\x1b[2Jb")
    shown = hostile.cli("tenant", "file", "list", "mallory", "/home/mallory").stdout
    assert "\x1b" not in shown
    for name in (r"\x1b[31mred", r"two\nlines", r"\xff", "[bold]"):
        assert any(line.startswith(name) for line in shown.split("\n")), name
    told = json.loads(hostile.cli("tenant", "file", "list", "mallory", "/home/mallory", "--json").stdout)
    assert {entry["name"] for entry in told} >= {"\x1b[31mred", "two\nlines", "\udcff"}
    command = hostile.command("tenant", "file", "read", "mallory", "/home/mallory/\x1b[31mred")
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"a\x1b[2Jb"
    assert on_terminal(command) == b"a\\x1b[2Jb"
    missing = on_terminal([*command[:-1], "/home/mallory/\x1b[31mnone"])
    assert r"/home/mallory/\x1b[31mnone: No such file" in plain(missing)


@pytest.mark.parametrize("path", ["/home/helga/nope", "/home/helga/shut", "helga", "/home/somebody", "/root"])
def test_what_can_not_be_listed_is_refused(node: Node, path: str) -> None:
    node.tenant("helga")
    shut = node.layout.tenant_home("helga") / "shut"
    shut.mkdir(mode=0, exist_ok=True)
    for more in ((), ("--json",)):
        done = node.cli("tenant", "file", "list", "helga", path, *more, check=False)
        assert path in refused(done)
        assert done.stdout == ""


NOBODY = 65534
CHANGING = ("site enable a.test", "tenant add dora", "tenant rm helga", "status")
FORGOTTEN = (
    "site list",
    "site show a.test",
    "site logs a.test",
    "tenant list",
    "runtime list",
    "runtime show python3.11",
    *CHANGING,
)


def as_nobody(command: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )


@pytest.fixture(scope="module")
def _reachable() -> None:
    if as_nobody([sys.executable, "-c", "import innkeeper"]).returncode:
        pytest.skip("this clone lies where other users can't go")


@pytest.mark.usefixtures("_reachable")
@pytest.mark.parametrize("closed", ["etc/innkeeper", "run/innkeeper", "etc/innkeeper/sites"])
def test_a_forgotten_sudo_is_told(node: Node, closed: str) -> None:
    node.tenant("alice")
    node.tenant("helga")
    node.site("a.test", 'tenant = "alice"\nenabled = false\n')
    path = node.layout.root / closed
    mode = path.stat().st_mode
    try:
        path.chmod(0o700)
        for words in FORGOTTEN:
            done = as_nobody(node.command(*words.split()))
            assert "Traceback" not in done.stderr, words
            if done.returncode or words in CHANGING:
                assert done.returncode == 1, words
                assert "sudo" in done.stderr, (words, done.stderr)
    finally:
        path.chmod(mode)
        node.remove("a.test")


def small_disk(node: Node, script: str) -> subprocess.CompletedProcess[str]:
    """A script run where the node's root is a disk with room for very little; $INN is the command."""
    inn = " ".join(node.command())
    whole = f'mount -t tmpfs -o size=8k,mode=755 none {node.root}; INN="{inn}"; {script}'
    return subprocess.run(["unshare", "-m", "sh", "-c", whole], capture_output=True, text=True, check=False)


def test_a_full_disk_is_told_and_leaves_nothing_half_made() -> None:
    node = Node()
    try:
        done = small_disk(
            node,
            f"$INN tenant add early && mkdir -p {node.layout.sites} && : >{node.layout.sites}/a.test.toml; "
            f"head -c 4096 /dev/zero >{node.root}/filler; "
            f"$INN tenant add late; echo status $?; ls -A {node.layout.tenants} {node.layout.tenants_data}; "
            f"rm {node.root}/filler; $INN tenant add late",
        )
        assert "Traceback" not in done.stderr
        assert f"{node.layout.tenant_file('late')}: No space left on device" in done.stderr
        assert "Free some space" in done.stderr
        before, _, after = done.stdout.partition("status 1\n")
        assert "early added: user id " in before
        listed, _, added = after.partition("Tenant late added: user id ")
        assert listed.split() == [
            f"{node.layout.tenants}:",
            "early.toml",
            f"{node.layout.tenants_data}:",
            "early",
        ]
        assert added
    finally:
        node.close()


def test_a_full_disk_changes_no_file() -> None:
    node = Node()
    try:
        text = 'tenant = "alice"\n'
        done = small_disk(
            node,
            f"mkdir -p {node.layout.sites}; printf '{text}' >{node.layout.site_file('a.test')}; "
            f"head -c 4096 /dev/zero >{node.root}/filler; $INN site disable a.test; "
            f"ls -A {node.layout.sites}; cat {node.layout.site_file('a.test')}",
        )
        assert f"{node.layout.site_file('a.test')}: No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == f"a.test.toml\n{text}"
        done = small_disk(node, f"mount -o remount,nr_inodes=3 {node.root}; $INN up --http 127.0.0.1:0")
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        node.close()


def test_settings_that_are_no_text_are_refused() -> None:
    node = Node()
    try:
        file = node.layout.settings_file
        file.write_bytes(b'nginx_user = "caf\xe9"\n')
        for words in (["tenant", "add", "dora"], ["up", "--http", "127.0.0.1:0"], ["runtime", "list"]):
            said = node.cli(*words, check=False)
            assert said.returncode in (1, 2)
            assert "innkeeper.toml: it is not UTF-8 text" in said.stderr
            assert "Traceback" not in said.stderr
        file.unlink()
        file.mkdir()
        for words in (["tenant", "add", "dora"], ["up", "--http", "127.0.0.1:0"], ["runtime", "list"]):
            said = node.cli(*words, check=False)
            assert said.returncode in (1, 2)
            assert "innkeeper.toml: it can't be read: it is not a regular file" in said.stderr
            assert "Traceback" not in said.stderr
        file.rmdir()
        file.write_text('nginx_user = "no-such-user"\n')
        assert "no-such-user" in refused(node.cli("tenant", "add", "dora", check=False))
    finally:
        node.close()


@pytest.mark.parametrize("name", ["", "a" * 300, "é" * 300, "a.b/c", ".", "\udcff"])
def test_what_is_no_name_is_refused(node: Node, name: str) -> None:
    for words in ("site show", "site logs", "site enable", "tenant run", "runtime show"):
        more = ["--", "true"] if words == "tenant run" else []
        assert refused(node.cli(*words.split(), name, *more, check=False)).startswith("innkeeper: ")


def test_a_root_that_is_not_there_is_not_made() -> None:
    node = Node()
    node.close()
    for words in ("tenant add dora", "site list", "status", "runtime list"):
        assert f"there is no directory {node.root}" in refused(node.cli(*words.split(), check=False))
    assert not node.root.exists()


def test_two_tenants_are_never_one_user() -> None:
    node = Node()
    try:
        adding = [subprocess.Popen(node.command("tenant", "add", f"t{number}")) for number in range(6)]
        assert [each.wait(60) for each in adding] == [0] * 6
        assert len({node.uid(f"t{number}") for number in range(6)}) == 6
        node.layout.tenant_file("t0").write_text("uid = [\n")  # broken by hand
        node.cli("tenant", "add", "another")
        assert node.uid("another") not in {node.uid(f"t{number}") for number in range(6)}
        before = node.uid("t3")
        node.layout.tenant_file("t3").unlink()  # by hand; the files are as they were
        node.cli("tenant", "add", "new")
        node.cli("tenant", "add", "t3")
        assert node.uid("t3") == before
        assert node.uid("new") != before
    finally:
        node.close()


def test_a_byte_order_mark_is_no_fault(node: Node) -> None:
    mark = b"\xef\xbb\xbf"
    node.tenant("windows")
    tenant = node.layout.tenant_file("windows")
    tenant.write_bytes(mark + tenant.read_bytes())
    node.layout.site_file("mark.test").write_bytes(mark + b'tenant = "windows"\r\nenabled = true\r\n')
    node.await_route("mark.test")
    try:
        assert "windows" in node.cli("tenant", "list").stdout
        shown = node.cli("site", "show", "mark.test").stdout
        assert 'tenant = "windows"' in shown
        assert "\ufeff" not in shown
        node.cli("site", "disable", "mark.test")
        node.await_state("mark.test", "disabled")
    finally:
        node.remove("mark.test")
    alone = Node()
    try:
        alone.layout.settings_file.write_bytes(mark + b"first_uid = 30000\nlast_uid = 30010\n")
        assert "user id 300" in alone.cli("tenant", "add", "windows").stdout
    finally:
        alone.close()


def test_commands_name_the_file_that_status_names(node: Node) -> None:
    node.tenant("alice")
    node.site("named.test", 'tenant = "alice"\naliases = ["another.name.test"]\n')
    sites = node.layout.sites
    link, capital = sites / "dangling.test.toml", sites / "Capital.test.toml"
    try:
        link.symlink_to(sites / "nothing.here")
        capital.write_text('tenant = "alice"\n')
        told = {"dangling.test", "Capital.test"}
        await_true(lambda: told <= {site["domain"] for site in node.status()["sites"]}, 5)
        assert "dangling.test.toml: it can't be read" in node.cli("site", "show", "dangling.test").stdout
        for word in ("show", "reload", "disable"):
            assert "Capital.test.toml" in refused(node.cli("site", word, "Capital.test", check=False)), word
            assert "Name the site: named.test" in refused(
                node.cli("site", word, "another.name.test", check=False)
            ), word
    finally:
        link.unlink()
        capital.unlink()
        node.remove("named.test")


def test_a_node_says_where_it_serves(node: Node) -> None:
    assert f"innkeeper: serving http://127.0.0.1:{node.port}\n" in node.words.read_text()


def test_files_that_are_broken_or_not_read_are_told(node: Node) -> None:
    broken = (node.layout.runtimes / "bad.toml", node.layout.tenants / "bad.toml")
    capital = [directory / "x.TOML" for directory in (node.layout.sites, *(path.parent for path in broken))]
    try:
        for path in (*broken, *capital):
            path.write_text("[limit]\nx = 1\n")
        for words in ("runtime list", "tenant list", "status"):
            assert (
                "bad.toml: the top of the file has the unknown key `limit`;"
                in node.cli(*words.split()).stdout
            )
        for words, count in (("runtime list", 1), ("tenant list", 1), ("site list", 1), ("status", 3)):
            assert node.cli(*words.split()).stderr.count("x.toml, in small letters") == count
        assert "x.TOML is not read" in refused(node.cli("site", "show", "x", check=False))
    finally:
        for path in (*broken, *capital):
            path.unlink()


def test_an_alias_leads_to_its_site(node: Node) -> None:
    node.tenant("alice")
    node.site("named.test", 'tenant = "alice"\naliases = ["www.named.test"]\n')
    try:
        said = refused(node.cli("site", "show", "WWW.named.test", check=False))
        assert "www.named.test is an alias of the site named.test" in said
    finally:
        node.remove("named.test")


def test_a_supervisor_that_does_not_come_back_is_told(own_node: Node) -> None:
    node = own_node
    node.app("a.test")
    supervisor = node.status()["supervisor_pid"]
    node.layout.sites.rename(node.layout.etc / "aside")
    node.layout.sites.write_text("no directory, so it can't start\n")
    os.kill(supervisor, signal.SIGKILL)
    said = refused(node.cli("status", check=False))
    assert f"the node at {node.root} is up, and its supervisor does not answer" in said
    assert "no node is up" not in said
    for words in ("site list", "runtime list"):
        listed = node.cli(*words.split()).stdout
        assert "supervisor does not answer" in listed
        assert "no node is up" not in listed


COMPLETING = """
eval "$(_INNKEEPER_COMPLETE=source_bash innkeeper)"
complete_line() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _innkeeper_completion innkeeper; echo "${COMPREPLY[*]}"
}
complete_line innkeeper si
complete_line innkeeper site show b
complete_line innkeeper site logs blog.test --kind ""
innkeeper site list
"""


@pytest.mark.usefixtures("_reachable")
def test_the_command_of_the_tutorial_completes_without_sudo() -> None:
    """As a user who is not root: the shell must not ask for a password at each Tab."""
    page = (Path(__file__).parents[2] / "docs/tutorial.md").read_text()
    script = page.partition("<<COMMAND\n")[2].partition("COMMAND\n")[0]
    node, programs = Node(), Path(tempfile.mkdtemp(prefix="ikp", dir="/tmp"))
    try:
        programs.chmod(0o755)
        fill_in = ["sh", "-c", f"cat <<COMMAND\n{script}COMMAND"]
        made = subprocess.run(fill_in, cwd=Path(__file__).parents[2], text=True, capture_output=True).stdout
        (programs / "innkeeper").write_text(made.replace("/srv/inn", str(node.root)))
        (programs / "sudo").write_text('#!/bin/sh\necho sudo "$@"\n')
        for program in programs.iterdir():
            program.chmod(0o755)
        node.layout.sites.mkdir(parents=True)
        node.site("blog.test", "")
        path = {"PATH": f"{programs}:/usr/bin:/bin"}
        done = as_nobody(["bash", "-c", COMPLETING], env=path)
        assert done.stdout.splitlines() == [
            "site",
            "blog.test",
            "access error server",
            f"sudo {programs}/innkeeper site list",
        ], done.stderr
    finally:
        node.close()
        shutil.rmtree(programs)


@pytest.mark.parametrize("name", ["my node", "node;", "n$de", 'no"de', "no\nde"])
def test_a_root_that_can_not_stand_in_a_configuration_is_refused(tmp_path: Path, name: str) -> None:
    node = Node(tmp_path / name)
    node.close()
    for words in ("up --http 127.0.0.1:0", "doctor", "status"):
        assert "the path of a node's root has no spaces" in refused(node.cli(*words.split(), check=False))
    assert not node.root.exists()


def test_closed_streams_are_no_obstacle(node: Node) -> None:
    node.tenant("closed")

    def shell(words: str, redirections: str) -> subprocess.CompletedProcess[str]:
        command = f"{shlex.join(node.command(*shlex.split(words)))} {redirections}"
        return subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, input="given", timeout=60, check=False
        )

    run = "tenant run closed --"
    for words in ("status", "status --json", "site list", f"{run} echo"):
        done = shell(words, "<&- >&-")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), words
    done = shell(f"{run} sh -c 'echo out; echo lost >&2'", "2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "")
    done = shell(f"{run} cat", "<&-")
    assert done.returncode == 1 and "Bad file descriptor" in done.stderr
    assert shell("tenant file write closed /home/closed/kept", "").returncode == 0
    assert shell("tenant file write closed /home/closed/kept", "<&-").returncode != 0
    assert node.layout.on_host("closed", "/home/closed/kept").read_text() == "given"
