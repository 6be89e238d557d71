"""Memory shared with forked processes: nothing is lost by it, and what did not change is given back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.kernel import sharing

SOURCE = Path(__file__).parents[2] / "src"
PLAY = """
import gc, json, os, sys
sys.path.insert(0, {source!r})
from innkeeper.kernel import sharing

def copied():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) * 1024

kept = [str(number) * 3 for number in range(200_000)]  # many megabytes of small objects
total = sum(map(hash, kept))
gc.collect(); gc.freeze()
size = sharing.snapshot()
assert sum(map(hash, kept)) == total
kept[7] = "changed by the parent"

reader, writer = os.pipe()
if os.fork() == 0:
    table = sharing.open_table()
    copies = [each for each in kept]  # counts a reference to each: all is copied
    found = {{"copied": copied()}}
    kept[8] = "changed by the child"
    del copies
    found["given"] = sharing.give_back(table)
    found["left"] = copied()
    found["again"] = sharing.give_back(table)
    kept[:] = [each for each in kept if each != "999"]
    as_made = [hash(str(number) * 3) for number in range(10, 200_000)]
    found["kept"] = [kept[7], kept[8], len(kept), list(map(hash, kept[9:])) == as_made]
    os.write(writer, json.dumps(found).encode())
    os._exit(0)
os.close(writer)
found = json.loads(os.read(reader, 65536))
os.wait()
assert kept[8] == "888" and len(kept) == 200_000
try:
    sharing.snapshot()
except ValueError as error:
    found["twice"] = str(error)
print(json.dumps({{"size": size, **found}}))
"""


def test_unchanged_copies_are_given_back_and_changed_ones_stay() -> None:
    if sharing._pages is None:
        pytest.skip("kernel/pages.c is not compiled here")
    done = subprocess.run(
        [sys.executable, "-c", PLAY.format(source=str(SOURCE))], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["size"] > 10e6
    assert found["given"] > 5e6
    assert found["left"] < found["copied"] - 0.8 * found["given"]
    assert found["again"] < found["given"] / 5
    assert found["kept"] == ["changed by the parent", "changed by the child", 199_999, True]
    assert found["twice"] == "there is a snapshot already"


def test_without_the_compiled_part_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "_pages", None)
    assert (sharing.snapshot(), sharing.open_table(), sharing.give_back(-1)) == (0, -1, 0)
