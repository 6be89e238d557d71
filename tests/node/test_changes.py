"""Site files and WSGI files that come, change, break and go, on a node that runs."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node.harness import PLAIN, Load, Node, await_true

SOON = 0.3  # seconds in which a change of a site file is live


def seconds_until(condition: Callable[[], object]) -> float:
    began = time.monotonic()
    await_true(condition, 5, step=0.005)
    return time.monotonic() - began


def test_site_file_dropped_edited_and_deleted(node: Node) -> None:
    node.app("other.test")
    node.tenant("alice")
    node.put("alice", "/var/www/change.py", PLAIN.replace("{answer}", "changing"))
    workers = node.nginx_workers()
    assert workers
    node.get("change.test")
    node.site("change.test", 'tenant = "alice"\n[app]\nwsgi = "/var/www/change.py"\n')
    assert seconds_until(lambda: node.get("change.test").status == 200) < SOON
    node.site(
        "change.test", 'tenant = "alice"\naliases = ["www.change.test"]\n[app]\nwsgi = "/var/www/change.py"\n'
    )
    assert seconds_until(lambda: node.get("www.change.test").status == 200) < SOON
    node.site("change.test", 'tenant = "alice"\nenabled = false\n[app]\nwsgi = "/var/www/change.py"\n')
    assert seconds_until(lambda: node.get("change.test").status == 503) < SOON
    assert node.get("www.change.test").status == 404
    node.remove("change.test")
    assert seconds_until(lambda: node.get("change.test").status == 404) < SOON
    assert node.get("other.test").status == 200
    assert node.nginx_workers() == workers


def test_broken_site_file_leaves_the_old_version_serving(node: Node) -> None:
    node.app("broken-file.test", answer="old")
    node.app("neighbour.test")
    assert node.get("broken-file.test").text == "old"
    node.site(
        "broken-file.test", 'tenant = "alice"\n[app]\nwsgi = "/var/www/broken-file_test.py"\nthreds = 4\n'
    )
    problem = await_true(lambda: node.show("broken-file.test")["problems"], 5)[0]
    assert "broken-file.test.toml" in problem["message"]
    assert "threds" in problem["message"]
    assert "threads" in problem["message"] + problem["hint"]
    shown = node.cli("site", "show", "broken-file.test")
    assert "threds" in shown.stdout
    assert "broken-file.test.toml" in shown.stdout
    assert node.get("broken-file.test").text == "old"
    assert node.get("neighbour.test").status == 200
    assert "threds" in node.cli("status").stdout


@pytest.mark.parametrize("text", ["", "tenant = ", 'tenant = "nobody-here"\n', "\x00", 'tenant = "../.."\n'])
def test_new_broken_file_is_reported_and_hurts_nobody(node: Node, text: str) -> None:
    node.site("fresh.test", text)
    problem = await_true(
        lambda: [
            site for site in node.status()["sites"] if site["domain"] == "fresh.test" and site["problems"]
        ],
        5,
    )[0]["problems"][0]
    assert problem["message"]
    assert problem["hint"]
    assert node.get("fresh.test").status == 404
    node.remove("fresh.test")
    await_true(lambda: "fresh.test" not in [site["domain"] for site in node.status()["sites"]], 5)


def test_reloads_under_load_lose_nothing(node: Node) -> None:
    node.app("reload.test", answer="0")
    node.get("reload.test")
    load = subprocess.Popen(
        ["wrk", "-t2", "-c32", "-d12s", "-H", "Host: reload.test", f"http://127.0.0.1:{node.port}/"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for number in range(1, 21):
            time.sleep(0.4)
            node.touch("reload.test", PLAIN.replace("{answer}", str(number)))
        await_true(lambda: node.get("reload.test").text == "20", 5, step=0.05)
        report, _ = load.communicate(timeout=30)
    finally:
        load.kill()
    assert "requests in" in report
    assert "Non-2xx" not in report, report
    assert "Socket errors" not in report, report


def test_code_that_does_not_load_leaves_the_old_code_serving(node: Node) -> None:
    node.app("syntax.test", answer="good")
    assert node.get("syntax.test").text == "good"
    with Load(node, "syntax.test", threads=2) as load:
        node.touch("syntax.test", "def application(:\n")
        problem = await_true(lambda: node.show("syntax.test")["problems"], 5)[0]
        assert problem["code"] == "load-failed"
        assert "SyntaxError" in problem["message"]
        assert "SyntaxError" in node.log("syntax.test", "error")
        assert "SyntaxError" in node.cli("site", "show", "syntax.test").stdout
        assert node.get("syntax.test").text == "good"
        node.touch("syntax.test", PLAIN.replace("{answer}", "mended"))
        await_true(lambda: node.get("syntax.test").text == "mended", 5, step=0.05)
    assert not load.failures
    assert await_true(lambda: not node.show("syntax.test")["problems"], 5)


def test_app_that_never_loaded_shows_a_page_and_recovers_when_mended(node: Node) -> None:
    node.app("sick.test", "import no_such_module_here\n")
    answer = node.get("sick.test")
    assert answer.status == 500
    assert "no_such_module" not in answer.text
    assert "Traceback" not in answer.text
    assert "can’t start" in answer.text
    found = node.show("sick.test")
    assert found["state"] == "failed"
    assert "no_such_module_here" in found["problems"][0]["message"]
    assert "no_such_module_here" in node.log("sick.test", "error")
    node.touch("sick.test", PLAIN.replace("{answer}", "well"))
    await_true(lambda: node.get("sick.test").text == "well", 5, step=0.05)
    assert node.show("sick.test")["problems"] == []


def test_touching_the_site_file_reloads(node: Node) -> None:
    node.app("touched.test", "import time\nborn = str(time.time()).encode()\n" + BORN)
    first = node.get("touched.test").text
    node.layout.site_file("touched.test").touch()
    await_true(lambda: node.get("touched.test").text != first, 5, step=0.05)


BORN = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [born]
"""


def test_reload_by_command(node: Node) -> None:
    node.app("command.test", "import time\nborn = str(time.time()).encode()\n" + BORN)
    assert "asleep" in node.cli("site", "reload", "command.test").stdout
    first = node.get("command.test").text
    node.cli("site", "reload", "command.test")
    assert node.get("command.test").text != first


def test_environment_in_the_site_file_changes_the_app(node: Node) -> None:
    code = 'import os\nborn = os.environ["COLOUR"].encode()\n' + BORN
    node.app("env.test", code, more='[env]\nCOLOUR = "red"')
    assert node.get("env.test").text == "red"
    node.app("env.test", code, more='[env]\nCOLOUR = "blue"')
    await_true(lambda: node.get("env.test").text == "blue", 5, step=0.05)


def test_disable_and_enable(node: Node) -> None:
    node.app("switch.test")
    assert node.get("switch.test").status == 200
    file = node.layout.site_file("switch.test")
    os.chown(file, 0, node.uid("alice"))
    file.chmod(0o640)  # secrets are in it
    node.cli("site", "disable", "switch.test")
    assert (file.stat().st_mode & 0o777, file.stat().st_gid) == (0o640, node.uid("alice"))
    await_true(lambda: node.get("switch.test").status == 503, 5)
    assert "switched off" in node.get("switch.test").text
    assert node.await_state("switch.test", "disabled")
    node.cli("site", "enable", "switch.test")
    await_true(lambda: node.get("switch.test").status == 200, 5)


def test_an_alias_belongs_to_one_site(node: Node) -> None:
    node.app("first.test", answer="first")
    node.app("second.test", answer="second")
    node.site("first.test", _with_alias("first"))
    await_true(lambda: node.get("shared.test").text == "first", 5)
    node.site("second.test", _with_alias("second"))
    assert await_true(lambda: node.show("second.test")["problems"], 5)[0]["code"] == "alias-taken"
    assert node.get("shared.test").text == "first"
    assert node.get("second.test").text == "second"
    node.remove("first.test")
    await_true(lambda: node.get("shared.test").text == "second", 5)
    assert node.show("second.test")["problems"] == []


def test_a_sites_own_name_comes_before_an_alias_and_the_other_is_told(node: Node) -> None:
    node.app("own.test", answer="own")
    node.app("first.test", answer="first")
    node.site("first.test", _with_alias("first", "own-name.test"))
    await_true(lambda: node.get("own-name.test").text == "first", 5)
    node.site("own-name.test", node.layout.site_file("own.test").read_text())
    await_true(lambda: node.get("own-name.test").text == "own", 5)
    assert [one["code"] for one in node.show("first.test")["problems"]] == ["alias-taken"]
    node.remove("own-name.test")
    await_true(lambda: node.get("own-name.test").text == "first", 5)
    assert node.show("first.test")["problems"] == []
    for domain in ("own.test", "first.test"):
        node.remove(domain)


def test_links_in_the_sites_folder(node: Node, tmp_path: Path) -> None:
    node.app("own.test", answer="own")
    file = tmp_path / "available.toml"
    file.write_text(node.layout.site_file("own.test").read_text())
    link = node.layout.site_file("link.test")
    link.symlink_to(file)
    await_true(lambda: node.get("link.test").text == "own", 5)
    nowhere = node.layout.site_file("nowhere.test")
    nowhere.symlink_to(tmp_path / "nothing.toml")
    node.layout.site_file("folder.test").mkdir()
    os.link(file, node.layout.site_file("hard.test"))
    await_true(lambda: node.get("hard.test").text == "own", 5)
    for name in ("nowhere.test", "folder.test"):
        assert [one["code"] for one in node.show(name)["problems"]] == ["file-unreadable"], name
    node.layout.site_file("folder.test").rmdir()
    for name in ("link.test", "nowhere.test", "hard.test", "own.test"):
        node.remove(name)


def test_tenants_that_are_not_to_be_had(node: Node) -> None:
    """A site of theirs is told at once why, and served as soon as that is mended."""
    node.app("mine.test", tenant="alice", answer="mine")
    node.app("bobs.test", tenant="bob", answer="bobs")
    files = {name: node.layout.tenant_file(name) for name in ("alice", "bob", "carla")}
    texts = {name: files[name].read_text() for name in ("alice", "bob")}

    def problem(domain: str) -> str:
        found = await_true(lambda: node.show(domain)["problems"], 5)
        return f"{found[0]['code']} {found[0]['message']} {found[0]['hint']}"

    files["bob"].write_text(texts["alice"])
    uid = node.uid("bob")
    assert "tenant-invalid" in problem("bobs.test")
    assert f"uid = {uid}" in problem("bobs.test")
    assert f"uid = {uid}" in node.cli("tenant", "run", "bob", "--", "true", check=False).stderr
    assert node.get("mine.test").text == "mine"
    files["bob"].unlink()
    await_true(lambda: "tenant-unknown" in problem("bobs.test"), 5)
    files["carla"].write_text(f"uid = {uid + 100}\n")
    node.site("carlas.test", 'tenant = "carla"\n[app]\nwsgi = "/var/www/x.py"\n')
    assert "has no home" in problem("carlas.test")
    files["carla"].unlink()
    node.remove("carlas.test")
    files["bob"].write_text(texts["bob"])
    await_true(lambda: not node.show("bobs.test")["problems"], 5)
    assert node.get("bobs.test").text == "bobs"
    for domain in ("mine.test", "bobs.test"):
        node.remove(domain)


def test_a_broken_tenant_file_takes_no_site_off_also_when_another_supervisor_reads_it(own_node: Node) -> None:
    node = own_node
    node.app("awake.test", answer="awake")
    node.app("asleep.test", answer="asleep")
    assert node.get("awake.test").text == "awake"
    supervisor, worker = node.status()["supervisor_pid"], node.show("awake.test")["pid"]
    node.layout.tenant_file("alice").write_text('uid = "x"\n')
    await_true((node.layout.last_good_tenants / "alice.json").exists, 5)
    os.kill(supervisor, signal.SIGKILL)
    await_true(lambda: node.status()["supervisor_pid"] != supervisor, 15)
    for name in ("awake", "asleep"):
        assert node.get(f"{name}.test").text == name
        assert not node.show(f"{name}.test")["problems"]
    assert node.show("awake.test")["pid"] == worker
    assert "alice.toml" in node.cli("status").stdout


SAYS = """
import os
def application(environ, start_response):
    start_response("200 OK", [])
    return [os.environ.get("SAYS", "old").encode()]
"""
SAYS_ASGI = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"new"})
"""


def test_what_is_changed_while_no_supervisor_is_there_takes_effect(own_node: Node) -> None:
    node = own_node
    node.tenant("bob")
    node.put("bob", "/var/www/tenant_test.py", SAYS.replace("old", "new"))
    changed = ("code", "env", "kind", "tenant")
    for name in (*changed, "same"):
        node.app(f"{name}.test", SAYS)
        assert node.get(f"{name}.test").text == "old"
    told, worker = node.status(), node.show("same.test")["pid"]
    os.kill(told["keeper_pid"], signal.SIGSTOP)  # or it would start the next one
    os.kill(told["supervisor_pid"], signal.SIGKILL)
    try:
        node.touch("code.test", SAYS.replace("old", "new"))
        node.site("env.test", 'tenant = "alice"\n[app]\nwsgi = "/var/www/env_test.py"\n[env]\nSAYS = "new"\n')
        node.put("alice", "/var/www/kind.py", SAYS_ASGI)
        node.site("kind.test", 'tenant = "alice"\n[app]\nasgi = "/var/www/kind.py"\n')
        node.site("tenant.test", 'tenant = "bob"\n[app]\nwsgi = "/var/www/tenant_test.py"\n')
        time.sleep(0.5)  # for the worker to tell of its code
    finally:
        os.kill(told["keeper_pid"], signal.SIGCONT)
    await_true(lambda: node.status()["supervisor_pid"] != told["supervisor_pid"], 15)
    for name in changed:
        await_true(lambda name=name: node.get(f"{name}.test", timeout=5).text == "new", 5)
    assert node.get("same.test").text == "old"
    assert node.show("same.test")["pid"] == worker


def test_a_site_that_is_given_to_another_tenant_loses_no_visitor(node: Node) -> None:
    node.tenant("bob")
    node.put("bob", "/var/www/given_test.py", PLAIN.replace("{answer}", "next"))
    node.app("given.test", answer="former")
    with Load(node, "given.test", threads=4) as load:
        node.site("given.test", 'tenant = "bob"\n[app]\nwsgi = "/var/www/given_test.py"\n')
        await_true(lambda: node.get("given.test").text == "next", 10)
    assert not load.failures
    assert node.get("given.test").text == "next"


def test_a_former_tenants_app_does_not_stand_in_for_one_that_does_not_load(node: Node) -> None:
    node.tenant("bob")
    node.put("bob", "/var/www/taken_test.py", "raise ValueError('not yet')\n")
    node.app("taken.test", answer="former")
    assert node.get("taken.test").text == "former"
    node.site("taken.test", 'tenant = "bob"\n[app]\nwsgi = "/var/www/taken_test.py"\n')
    await_true(lambda: node.get("taken.test").status == 500, 10)
    assert all("former" not in node.get("taken.test").text for _ in range(10))
    (problem,) = node.show("taken.test")["problems"]
    assert "not yet" in problem["message"]


def _with_alias(name: str, alias: str = "shared.test") -> str:
    return f'tenant = "alice"\naliases = ["{alias}"]\n[app]\nwsgi = "/var/www/{name}_test.py"\n'


def test_international_domain(node: Node) -> None:
    node.app("xn--bcher-kva.test", answer="books")
    assert node.get("xn--bcher-kva.test").text == "books"
    assert "xn--bcher-kva.test" in node.cli("site", "show", "bücher.test").stdout


def test_a_change_while_the_app_loads_is_not_missed(node: Node) -> None:
    slow = "import time\ntime.sleep(0.7)\n"
    node.app("racing.test", slow + PLAIN.replace("{answer}", "old"))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(node.get, "racing.test")
        time.sleep(0.4)
        node.touch("racing.test", PLAIN.replace("{answer}", "new"))
        assert first.result().text in ("old", "new")
    await_true(lambda: node.get("racing.test").text == "new", 5, step=0.05)
