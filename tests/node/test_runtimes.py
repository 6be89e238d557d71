"""Runtimes: built by command, switched over, taught by what sites import, and swept away."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node.harness import Node, await_true, running

pytestmark = pytest.mark.timeout(300)  # packages are installed

PACKAGES = {
    "harmless": "VALUE = 1",
    "harmful_thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(9e9,), daemon=True).start()",
    "harmful_file": "KEPT = open('/dev/zero')",
    "harmful_signal": "import signal\nsignal.signal(signal.SIGUSR1, lambda *_: None)",
    "harmful_environment": "import os\nos.environ['ADDED'] = 'yes'",
    "harmful_process": "import os, time\nif os.fork() == 0:\n    time.sleep(60)\n    os._exit(0)",
    "harmful_exit": "import os\nos._exit(3)",
    "harmful_error": "raise RuntimeError('needs settings')",
    "personal": "import os\nHOME = os.environ['HOME']",
    "decided": "import os\nMODE = os.environ.get('MODE_OF_DECIDED', 'plain')",
}
APP = """
import importlib, json, os, sys
before = set(sys.modules)
names = os.environ["IMPORTS"].split(",")
for name in names:
    importlib.import_module(name)
def application(environ, start_response):
    start_response("200 OK", [])
    decided = sys.modules.get("decided")
    told = {"preloaded": [name for name in names if name in before], "mode": decided and decided.MODE,
            "prefix": sys.prefix, "added": os.environ.get("OPENBLAS_NUM_THREADS")}
    return [json.dumps(told).encode()]
"""


@pytest.fixture(scope="module")
def taught() -> Iterator[Node]:
    """A node with a runtime `small`, built by the command from packages of the test's own."""
    with running(settings="first_uid = 70000\nlast_uid = 79999\n") as node:
        (node.root / "pieces").mkdir()
        for name, code in PACKAGES.items():
            (node.root / f"pieces/{name}.py").write_text(code)
        version(node, "1.0")
        (node.root / "small.txt").write_text("./pieces\n")
        added = node.cli(
            "runtime", "add", "small", "--requirements", str(node.root / "small.txt"), timeout=300
        )
        assert "Runtime small is ready" in added.stdout
        yield node


def version(node: Node, number: str) -> None:
    """Have the test's package be of this version."""
    (node.root / "pieces/setup.py").write_text(
        f"from setuptools import setup\nsetup(name='pieces', version={number!r}, py_modules={list(PACKAGES)})\n"
    )
    shutil.rmtree(node.root / "pieces/build", ignore_errors=True)


def show(node: Node, name: str = "small") -> dict[str, object]:
    shown: dict[str, object] = json.loads(node.cli("runtime", "show", name, "--json").stdout)
    return shown


def app(node: Node, domain: str, imports: str, more: str = "") -> None:
    node.app(domain, APP, app='runtime = "small"', more=f'[env]\nIMPORTS = "{imports}"\n{more}')


def test_what_two_sites_import_is_preloaded_if_it_is_harmless(taught: Node) -> None:
    imports = ",".join(name for name in PACKAGES if name not in ("harmful_exit", "harmful_error"))
    for number in (1, 2):
        app(taught, f"learn{number}.test", imports)
        assert taught.get(f"learn{number}.test").status == 200
        taught.cli("site", "disable", f"learn{number}.test")  # what it imported is told at its end, too
        taught.await_state(f"learn{number}.test", "disabled")
    app(taught, "alone.test", "fractions")
    assert taught.get("alone.test").status == 200
    taught.cli("site", "disable", "alone.test")
    taught.await_state("alone.test", "disabled")
    before = show(taught)
    told = json.loads(taught.cli("runtime", "warm", "small", "--json").stdout)
    assert {"harmless", "decided"} <= set(told["preloaded"])
    assert "fractions" not in told["preloaded"]
    reasons = told["left_out"]
    assert reasons["harmful_thread"] == "it starts a thread when it is imported"
    assert reasons["harmful_file"] == "it leaves a file or a socket open when it is imported"
    assert reasons["harmful_signal"] == "it changes signal handlers when it is imported"
    assert reasons["harmful_environment"] == "it changes the environment when it is imported"
    assert reasons["harmful_process"] == "it starts a process when it is imported"
    assert reasons["personal"] == "it looks at HOME when it is imported, which is another one for each site"
    after = show(taught)
    assert after["pids"] != before["pids"]
    assert "harmless" in after["learned"]  # type: ignore[operator]
    printed = taught.cli("runtime", "show", "small").stdout
    assert "harmful_thread" in printed and "it starts a thread when it is imported" in printed

    taught.cli("site", "enable", "learn1.test")
    answer = json.loads(taught.get("learn1.test").text)
    assert set(answer["preloaded"]) == {"harmless", "decided"}
    assert answer["added"] is None


def test_a_module_that_is_decided_by_a_variable_is_not_shared_with_a_site_that_sets_it(taught: Node) -> None:
    app(taught, "decided.test", "decided", 'MODE_OF_DECIDED = "fancy"')
    answer = json.loads(taught.get("decided.test").text)
    assert answer == {"preloaded": [], "mode": "fancy", "prefix": answer["prefix"], "added": None}


def test_modules_that_fail_are_left_out(taught: Node) -> None:
    """Tenants' words are no proof that a module can be imported; the trial is."""
    file = taught.layout.runtime_file("small")
    text = file.read_text()
    file.write_text(text + 'preload = ["harmful_exit", "harmful_error", "not_there_at_all", "harmless"]\n')
    try:
        await_true(lambda: "harmful_exit" in show(taught)["left_out"], 20)  # type: ignore[operator]
        reasons = show(taught)["left_out"]
        assert isinstance(reasons, dict)
        assert reasons["harmful_exit"] == "its import ends the process: exit status 3"
        assert reasons["harmful_error"] == "RuntimeError: needs settings"
        assert reasons["not_there_at_all"] == "ModuleNotFoundError: No module named 'not_there_at_all'"
    finally:
        file.write_text(text)


def test_a_rebuilt_runtime_is_taken_at_the_next_reload_and_the_old_one_swept_away(taught: Node) -> None:
    app(taught, "stays.test", "harmless")
    old = Path(str(show(taught)["path"])).parents[1]
    before = taught.get("stays.test")
    pid = taught.show("stays.test")["pid"]
    version(taught, "2.0")
    done = taught.cli("runtime", "rebuild", "small", timeout=300)
    assert "at their next start or reload" in done.stdout
    shown = show(taught)
    assert shown["packages"]["pieces"] == "2.0"  # type: ignore[index]
    assert taught.get("stays.test").text == before.text
    assert taught.show("stays.test")["pid"] == pid
    assert old.is_dir()  # the worker stands on it
    assert taught.cli("tenant", "run", "alice", "--", "true").returncode == 0

    broken = taught.root / "broken.txt"
    broken.write_text("no-package-has-this-name-at-all==1.0\n")
    failed = taught.cli(
        "runtime", "rebuild", "small", "--requirements", str(broken), check=False, timeout=300
    )
    assert failed.returncode == 1
    assert "no-package-has-this-name-at-all" in failed.stderr
    assert show(taught)["path"] == shown["path"]


def test_a_runtime_in_use_is_not_removed(taught: Node) -> None:
    app(taught, "user.test", "harmless")
    refused = taught.cli("runtime", "rm", "small", check=False)
    assert refused.returncode == 1 and "sites use small" in refused.stderr
    built_in = next(name for name in _names(taught) if name != "small")
    assert "stays" in taught.cli("runtime", "rm", built_in, check=False).stderr


def test_a_node_goes_on_with_learned_modules_after_its_supervisor_was_killed(taught: Node) -> None:
    pids, preloaded = show(taught)["pids"], show(taught)["preloaded"]
    os.kill(taught.status()["supervisor_pid"], signal.SIGKILL)
    await_true(lambda: show(taught)["pids"] == pids, 20)
    assert show(taught)["preloaded"] == preloaded


def test_environments_that_nobody_needs_are_swept_away(taught: Node) -> None:
    stray = taught.layout.environments / "gone.1"
    (stray / "bin").mkdir(parents=True)
    for domain in ("stays.test", "user.test", "learn1.test", "learn2.test", "alone.test", "decided.test"):
        if taught.layout.site_file(domain).exists():
            taught.remove(domain)
    await_true(lambda: not taught.status()["sites"], 20)
    assert taught.cli("runtime", "rm", "small").returncode == 0
    await_true(lambda: "small" not in _names(taught), 20)
    taught.stop()
    taught.start()
    await_true(lambda: not list(taught.layout.environments.iterdir()), 30)


def test_runtimes_are_checked_before_they_are_built(taught: Node) -> None:
    requirements = taught.root / "small.txt"
    for arguments, part in (
        (["bad name"], "runtime"),
        (["new", "--python", "/usr/bin/no-python"], "there is no Python"),
        (["new", "--python", "/bin/true"], "no Python that can be run"),
    ):
        done = taught.cli("runtime", "add", *arguments, "--requirements", str(requirements), check=False)
        assert done.returncode == 1 and part in done.stderr, done.stderr


def _names(node: Node) -> list[str]:
    return [one["name"] for one in json.loads(node.cli("runtime", "list", "--json").stdout)]
