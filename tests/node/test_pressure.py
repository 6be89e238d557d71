"""Sites that give way when memory runs short, and sites that hibernate."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import apps
from tests.node.harness import Node, alive, await_true, descendants, running

pytestmark = pytest.mark.alone

UIDS = "first_uid = 62000\nlast_uid = 62999\n"
ZRAM = Path("/sys/block/zram0")
COSTLY = "import time\ntime.sleep(0.05)\n" + apps.FLASK  # a start that one would rather not repeat
SLOW = """
import time
time.sleep(0.05)
from flask import Flask
application = Flask(__name__)

@application.get("/<seconds>")
def slow(seconds):
    time.sleep(float(seconds))
    return "done"
"""


# ── a tenant's own limits ────────────────────────────────────────────────────────────────────────────────────


def test_sites_of_one_tenant_give_way_to_one_another_at_its_limit_of_tasks(node: Node) -> None:
    node.tenant("crowd")
    file = node.layout.tenant_file("crowd")
    file.write_text(file.read_text() + "\n[limits]\ntasks = 48\n")
    domains = [f"crowd{number}.test" for number in range(16)]
    for domain in domains:
        node.app(domain, tenant="crowd", app="threads = 4", answer=domain)
    for domain in (*domains, *domains):
        assert node.get(domain).text == domain
        time.sleep(0.3)
    told = {site["domain"]: site for site in node.status()["sites"] if site["domain"] in domains}
    assert [site["problems"] for site in told.values() if site["problems"]] == []
    states = [told[domain]["state"] for domain in domains]
    assert states[-1] == "serving" and "asleep" in states, told
    for domain in domains:
        node.remove(domain)


# ── a budget ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_budget_is_kept_by_ending_what_was_unused_longest(own_budget: Node) -> None:
    node, count = own_budget, 40
    for number in range(count):
        node.app(f"many{number}.test", apps.FLASK, app="idle = 0\nthreads = 1")
    node.app("slow.test", SLOW, app="idle = 0")
    node.get("slow.test", "/0")
    slow = node.show("slow.test")["pid"]
    answers: list[str] = []
    waiting = threading.Thread(target=lambda: answers.append(node.get("slow.test", "/20", timeout=40).text))
    waiting.start()
    for number in range(count):
        assert node.get(f"many{number}.test").text == "flask"
        assert node.get("many0.test").text == "flask"  # this one is used all the time
        time.sleep(0.15)
    states = {site["domain"]: site for site in node.status()["sites"]}
    awake = [domain for domain, site in states.items() if site["state"] == "serving"]
    assert len(awake) < count / 2
    assert "many0.test" in awake and states["many0.test"]["wakes"] == 1
    assert {f"many{number}.test" for number in range(count - 5, count)} <= set(awake)  # those woken last
    await_true(lambda: used(node) < 60_000_000, 10)
    waiting.join()
    assert answers == ["done"]
    assert node.show("slow.test")["pid"] == slow
    for number in range(count):
        assert node.get(f"many{number}.test").text == "flask"


@pytest.fixture
def own_budget() -> Iterator[Node]:
    with running(settings=UIDS + 'memory = "60m"\n') as node:
        yield node


def used(node: Node) -> int:
    """Bytes that the tenants' processes have for themselves."""
    return sum(
        _private(pid) for site in node.status()["sites"] if site["pid"] for pid in descendants(site["pid"])
    )


def _private(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(
        int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Dirty", "Private_Clean"))
    )


# ── hibernation ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def swap() -> Iterator[None]:
    """Swap space in compressed memory, where the machine has none."""
    if len(Path("/proc/swaps").read_text().splitlines()) > 1:
        yield
        return
    try:
        (ZRAM / "disksize").write_text("512M")
        subprocess.run(["mkswap", "/dev/zram0"], check=True, capture_output=True)
        subprocess.run(["swapon", "/dev/zram0"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"there is no swap space, and none can be made: {error}")
    yield
    subprocess.run(["swapoff", "/dev/zram0"], check=True)
    (ZRAM / "reset").write_text("1")


@pytest.fixture(scope="module")
def winter(swap: None) -> Iterator[Node]:
    with running(settings=UIDS + "hibernate = true\n") as node:
        yield node


def hibernate(node: Node, domain: str, code: str = COSTLY, more: str = "") -> int:
    """Put a site there, ask it, and wait until it hibernates; its first process."""
    node.app(domain, code, app=f"idle = 1\n{more}")
    assert node.get(domain, "/0" if code is SLOW else "/").status == 200
    pid = node.show(domain)["pid"]
    await_true(lambda: node.show(domain)["hibernating"], 20)
    return int(pid)


def _swapped(pid: int) -> int:
    """Kilobytes of a sandbox's processes in the swap space."""
    found = 0
    for each in descendants(pid):
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            found += int(line.split()[1]) if line.startswith("VmSwap:") else 0
    return found


def test_an_idle_site_hibernates_and_goes_on_where_it_was(winter: Node) -> None:
    pid = hibernate(winter, "winter.test")
    await_true(lambda: _swapped(pid) > 1000, 10)
    shown = winter.show("winter.test")
    assert (shown["state"], shown["pid"], shown["wakes"]) == ("asleep", pid, 1)
    assert winter.get("winter.test").text == "flask"
    shown = winter.show("winter.test")
    assert (shown["state"], shown["pid"], shown["wakes"], shown["hibernating"]) == ("serving", pid, 1, False)
    await_true(lambda: winter.show("winter.test")["hibernating"], 30)  # and again


def test_new_code_is_served_by_a_site_that_hibernated(winter: Node) -> None:
    pid = hibernate(winter, "touched.test")
    winter.touch("touched.test", COSTLY.replace('"flask"', '"new"'))
    await_true(lambda: not alive(pid), 20)
    assert winter.get("touched.test").text == "new"


def test_a_supervisor_that_is_killed_leaves_those_who_hibernate_alone(winter: Node) -> None:
    pid = hibernate(winter, "orphan.test")
    supervisor = winter.status()["supervisor_pid"]
    subprocess.run(["kill", "-KILL", str(supervisor)], check=True)
    await_true(lambda: winter.status()["supervisor_pid"] != supervisor, 20)
    shown = winter.show("orphan.test")
    assert (shown["pid"], shown["hibernating"]) == (pid, True)
    assert winter.get("orphan.test").text == "flask"
    assert winter.show("orphan.test")["pid"] == pid


@pytest.mark.parametrize("how", ["disable", "remove"])
def test_what_hibernates_is_ended_with_its_site(winter: Node, how: str) -> None:
    pid = hibernate(winter, f"{how}d.test")
    if how == "disable":
        winter.cli("site", "disable", f"{how}d.test")
    else:
        winter.remove(f"{how}d.test")
    await_true(lambda: not alive(pid), 20)


def test_asgi_apps_and_commands_hibernate(winter: Node) -> None:
    winter.app(
        "asgi-winter.test", "import time\ntime.sleep(0.05)\n" + apps.FASTAPI, kind="asgi", app="idle = 1"
    )
    command = 'command = "sleep 0.1; exec python -m http.server --bind 127.0.0.1 $PORT"\nidle = 1'
    winter.site("command-winter.test", f'tenant = "alice"\n[app]\n{command}\ndirectory = "/var/www"\n')
    winter.await_route("command-winter.test")
    for domain in ("asgi-winter.test", "command-winter.test"):
        assert winter.get(domain).status == 200
    pids = {domain: winter.show(domain)["pid"] for domain in ("asgi-winter.test", "command-winter.test")}
    for domain, pid in pids.items():
        await_true(lambda domain=domain: winter.show(domain)["hibernating"], 20)
        assert winter.get(domain).status == 200
        assert winter.show(domain)["pid"] == pid


def test_requests_that_come_while_a_site_falls_asleep_are_answered(winter: Node) -> None:
    domains = [f"doze{number}.test" for number in range(6)]
    for domain in domains:
        winter.app(domain, SLOW, app="idle = 1\nthreads = 2")
        winter.get(domain, "/0")
    end, failures, slept = time.monotonic() + 25, [], [0]

    def visit(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end:
            domain = chance.choice(domains)
            answer = winter.get(domain, f"/{chance.choice((0, 0, 0.3))}")
            if answer.text != "done":
                failures.append(f"{domain}: {answer.status} {answer.text[:100]}")
            time.sleep(chance.choice((0.1, 1.0, 5.0, 5.2, 6.2)))

    visitors = [threading.Thread(target=visit, args=(seed,)) for seed in range(4)]
    for visitor in visitors:
        visitor.start()
    while time.monotonic() < end:
        slept[0] += sum(winter.show(domain)["hibernating"] for domain in domains)
        time.sleep(0.5)
    for visitor in visitors:
        visitor.join()
    assert not failures
    assert slept[0] > 5
