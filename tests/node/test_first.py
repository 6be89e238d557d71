"""The first process of a sandbox: in C until there is something to decide, and in Python from then on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.node.harness import PLAIN, Node, await_true, descendants

BARELY = 2_500_000  # bytes that it has for itself before Python is entered, which copies as much again
TALKING = """
import os, sys
def application(environ, start_response):
    wanted = environ["QUERY_STRING"]
    if wanted:
        print("\\n".join(f"line {number}" for number in range(int(wanted))))
        print("to error.log", file=sys.stderr)
    start_response("200 OK", [])
    return [b"said"]
"""
ORPHANS = """
import os
def application(environ, start_response):
    middle = os.fork()
    if middle == 0:
        for _ in range(20):
            if os.fork() == 0:
                os._exit(0)
        os._exit(0)
    os.waitpid(middle, 0)
    start_response("200 OK", [])
    return [b"left"]
"""
LIAR = """
import os, socket
def application(environ, start_response):
    said = 0
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            link = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            continue
        with link:
            if link.family == socket.AF_UNIX and link.type == socket.SOCK_SEQPACKET:
                for word in WORDS:
                    link.send(word)
                    said += 1
    start_response("200 OK", [])
    return [str(said).encode()]
"""
WORDS = (
    b'{"event": "beat", "idle": perhaps, "unused": many}',
    b'{"event": "beat", "idle": true, "unused": 1.0, "event": "crashed"}',
    b'{"event": "beat", "idle": false, "unused": inf}',
    b'{"event": "imported", "modules": [never',
    b'{"event": "imported", "modules": ["a"], "event": "crashed", "detail": "made up"}',
    b'{"event": "loaded", "watched": "/etc/passwd", "mark": null}',
    b'{"event": "' + b"x" * 100_000 + b'"}',
    b"",
)


def own(node: Node, domain: str) -> int:
    """Bytes of memory that the first process of a site has for itself."""
    lines = Path(f"/proc/{node.show(domain)['pid']}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) * 1024


def test_python_is_not_entered_for_what_is_ordinary(node: Node) -> None:
    node.app("ordinary.test", TALKING)
    assert node.get("ordinary.test").text == "said"
    assert node.get("ordinary.test", "/?100").text == "said"
    await_true(lambda: "line 99\n" in node.log("ordinary.test", "server"), 5)
    await_true(lambda: "to error.log\n" in node.log("ordinary.test", "error"), 5)
    assert own(node, "ordinary.test") < BARELY


def test_much_output_is_for_python_and_nothing_of_it_is_lost_or_mixed_up(node: Node) -> None:
    node.app("talking.test", TALKING)
    for _ in range(3):
        assert node.get("talking.test", "/?10").text == "said"
    assert own(node, "talking.test") < BARELY
    for _ in range(3):
        assert node.get("talking.test", "/?9000").text == "said"  # some 90 kB
    expected = 3 * [f"line {number}" for number in range(10)] + 3 * [
        f"line {number}" for number in range(9000)
    ]

    def lines() -> list[str]:
        return [line for line in node.log("talking.test", "server").splitlines() if line.startswith("line ")]

    await_true(lambda: len(lines()) == len(expected), 10, step=0.1)
    assert lines() == expected
    assert own(node, "talking.test") > BARELY
    node.touch("talking.test", PLAIN.replace("{answer}", "newer"))
    await_true(lambda: node.get("talking.test").text == "newer", 5, step=0.05)


def test_orphans_are_buried(node: Node) -> None:
    node.app("orphans.test", ORPHANS)
    for _ in range(3):
        assert node.get("orphans.test").text == "left"
    first = node.show("orphans.test")["pid"]
    await_true(lambda: len(descendants(first)) == 2, 5, step=0.05)
    assert own(node, "orphans.test") < BARELY


def test_an_app_that_lies_to_its_first_process_harms_itself_at_most(node: Node) -> None:
    node.app("liar.test", LIAR.replace("WORDS", repr(WORDS)))
    assert int(node.get("liar.test").text) >= len(WORDS)
    await_true(lambda: own(node, "liar.test") > BARELY, 5, step=0.05)
    assert node.show("liar.test")["problems"] == []
    node.cli("site", "reload", "liar.test")
    assert node.get("liar.test").status == 200
    assert node.get("ordinary.test").text == "said"


def test_nothing_of_the_zygote_is_open_in_a_worker(node: Node) -> None:
    node.app("open.test", TALKING)
    assert node.get("open.test").text == "said"
    for pid in descendants(node.show("open.test")["pid"]):
        targets = {os.readlink(f"/proc/{pid}/fd/{entry}") for entry in os.listdir(f"/proc/{pid}/fd")}
        assert not [
            target for target in targets if "memfd" in target or "/ns/" in target or "cgroup" in target
        ]


def test_the_first_touch_of_a_command_is_seen(node: Node) -> None:
    script = "#!/bin/sh\nexec python3 -m http.server --bind 127.0.0.1 $PORT\n"
    node.tenant("alice")
    node.put("alice", "/home/alice/serve.sh", script).chmod(0o755)
    node.site("script.test", 'tenant = "alice"\n[app]\ncommand = "/home/alice/serve.sh"\n')
    node.await_state("script.test", "asleep")
    assert node.get("script.test").status == 200
    before = node.show("script.test")["pid"]
    node.put("alice", "/home/alice/serve.sh", script).chmod(0o755)
    await_true(lambda: node.show("script.test")["pid"] not in (before, None), 10, step=0.1)


def test_a_new_supervisor_learns_how_things_stand_and_python_is_not_entered(own_node: Node) -> None:
    node = own_node
    for number in range(5):
        node.app(f"stays{number}.test", TALKING)
        assert node.get(f"stays{number}.test").text == "said"
    os.kill(node.status()["supervisor_pid"], signal.SIGKILL)
    for number in range(5):
        assert node.await_state(f"stays{number}.test", "serving")["pid"]
        assert own(node, f"stays{number}.test") < BARELY
