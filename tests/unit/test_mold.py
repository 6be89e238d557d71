"""The mold and first processes, without walls: what they are told, and what they say when that can't be done."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.kernel.mold import Script

SOURCE = Path(__file__).parents[2] / "src"
PLAY = """
import json, os, select, sys, threading
sys.path.insert(0, {source!r})
from innkeeper.kernel import mold, sockets
from innkeeper.kernel.mold import Begun, Mold, Script

ours, theirs = sockets.pair()
became = mold.become(theirs, False, (), b"")
if isinstance(became, Begun):
    os.write(became.given[2], json.dumps([became.order.decode(), became.serving[0], os.getppid()]).encode())
    os._exit(7)
if isinstance(became, int):
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    os._exit(0 if os.fork() else 3)
assert isinstance(became, Mold)
told = {{}}


def play(name, request, *steps):
    pid, pidfd, link = became.fork(request)
    script = Script()
    for step in steps:
        script.add(*step)
    supervisor, channel = sockets.pair()
    reader, writer = os.pipe()
    mold.send_order(link, script, b'{{"an": "order"}}', [channel.fileno(), writer, writer, writer])
    channel.close()
    os.close(writer)
    received = sockets.receive(supervisor)
    told[name] = received[0]["reason"] if received else json.loads(os.read(reader, 4096))
    assert select.select([pidfd], [], [], 10)[0], "it has not ended"


play("done", 0, ("mkdir", {place!r} + "/made"), ("file", {place!r} + "/made/file", "text\\n"))
play("serving", mold.SERVING, ("name", "somebody"))
play("again", 0, ("mkdir", {place!r} + "/made"))
play("nowhere", 0, ("mkdir", '/proc/"no\\\\where"\\n/x'))
play("unknown", 0, ("dance",))
play("short", 0, ("mount", "none"))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mold")


@pytest.fixture(scope="module")
def told(place: Path) -> dict[str, object]:
    played = PLAY.format(source=str(SOURCE), place=str(place))
    done = subprocess.run(
        [sys.executable, "-c", played], capture_output=True, text=True, timeout=60, check=True
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_steps_are_done_and_python_goes_on(told: dict[str, object], place: Path) -> None:
    order, serving, _ = told["done"]  # type: ignore[misc]
    assert json.loads(order) == {"an": "order"}
    assert serving == 0
    assert (place / "made/file").read_text() == "text\n"


def test_a_first_process_goes_on_in_python_when_its_serving_process_has_ended(
    told: dict[str, object],
) -> None:
    order, serving, _ = told["serving"]  # type: ignore[misc]
    assert json.loads(order) == {"an": "order"}
    assert serving > 1


def test_what_fails_is_named_with_its_place(told: dict[str, object], place: Path) -> None:
    assert told["again"] == f"OSError: [Errno 17] mkdir: File exists: '{place}/made'"


def test_what_would_break_the_message_is_left_out(told: dict[str, object]) -> None:
    assert told["nowhere"] == "OSError: [Errno 2] mkdir: No such file or directory: '/proc/?no?where??/x'"


def test_a_script_that_is_not_understood_is_refused(told: dict[str, object]) -> None:
    assert told["unknown"] == "OSError: [Errno 22] script: Invalid argument: 'dance'"
    assert told["short"] == "OSError: [Errno 22] script: Invalid argument: 'mount'"


def test_a_field_has_no_nul() -> None:
    script = Script()
    script.add("mkdir", "/a\0b")
    with pytest.raises(ValueError, match="NUL"):
        bytes(script)
