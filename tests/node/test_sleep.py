"""Falling asleep, waking, crashing and being killed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest

from tests.node.harness import PLAIN, Load, Node, alive, await_true, descendants

SLOW = """
import time
def application(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"] or 0))
    start_response("200 OK", [])
    return [b"done"]
"""


def test_idle_site_falls_asleep_and_wakes(node: Node) -> None:
    node.app("idle.test", app="idle = 1")
    assert node.get("idle.test").status == 200
    pid = node.show("idle.test")["pid"]
    assert alive(pid)
    found = node.await_state("idle.test", "asleep")
    assert found["pid"] is None
    await_true(lambda: not alive(pid), 5)
    assert node.get("idle.test").status == 200
    assert node.show("idle.test")["wakes"] == 2


def test_request_in_flight_keeps_a_site_awake(node: Node) -> None:
    node.app("busy.test", SLOW, app="idle = 1")
    assert node.get("busy.test", "/?3").text == "done"
    assert node.show("busy.test")["wakes"] == 1


def test_random_traffic_with_short_idle_loses_nothing(node: Node) -> None:
    domains = [f"nap{number}.test" for number in range(40)]
    for domain in domains:
        node.app(domain, app="idle = 2", answer=domain)
    end = time.monotonic() + 30
    failures: list[str] = []
    answered = [0]

    def visit(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end:
            domain = chance.choice(domains)
            # Around two seconds after a site's last request is when a stop and a request meet.
            try:
                answer = node.get(domain)
                if (answer.status, answer.text) != (200, domain):
                    failures.append(f"{domain}: {answer.status} {answer.text[:200]}")
            except Exception as error:
                failures.append(f"{domain}: {error!r}")
            answered[0] += 1
            time.sleep(chance.choice((0.05, 0.3, 1.9, 2.0, 2.1, 2.2)))

    visitors = [threading.Thread(target=visit, args=(seed,)) for seed in range(24)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    wakes = sum(site["wakes"] for site in node.status()["sites"] if site["domain"] in domains)
    assert not failures, failures[:5]
    assert wakes >= 100, f"{wakes} wakes in {answered[0]} requests"


def test_time_limit_of_a_request(node: Node) -> None:
    node.app("slow.test", SLOW, app="timeout = 2")
    answer = node.get("slow.test", "/?20")
    assert answer.status == 504
    assert "too long" in answer.text
    assert node.show("slow.test")["problems"][0]["code"] == "request-too-slow"
    assert "slow_test.py" in node.log("slow.test", "error")
    assert node.get("slow.test", "/?0").status == 200


BLOCKED = """
import time
async def app(scope, receive, send):
    assert scope["type"] == "http"
    time.sleep(float(scope["query_string"] or 0))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
"""


@pytest.mark.parametrize(("kind", "code"), [("wsgi", SLOW), ("asgi", BLOCKED)])
def test_slow_requests_are_no_crashes(node: Node, kind: str, code: str) -> None:
    domain = f"slow-{kind}.test"
    node.app(domain, code, kind=kind, app="timeout = 1")
    for _ in range(4):  # each soon after a start: what crashes as often is given up for a while
        assert node.get(domain, "/?20").status == 504
        assert node.get(domain, "/?0").text == "done"
    assert [problem["code"] for problem in node.show(domain)["problems"]] == ["request-too-slow"]


def test_killed_worker_leaves_nothing_behind_and_the_next_request_is_answered(node: Node) -> None:
    node.app(
        "killed.test",
        """
import subprocess
child = subprocess.Popen(["sleep", "1000"])
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"alive"]
""",
        app="processes = 2",
    )
    assert node.get("killed.test").text == "alive"
    pid = node.show("killed.test")["pid"]
    tree = await_true(lambda: (found := descendants(pid)) and len(found) >= 4 and found, 5)
    os.kill(pid, signal.SIGKILL)
    # Until it is gone its processes may still take a request, and die with it.
    await_true(lambda: not alive(pid), 5)
    assert node.get("killed.test").text == "alive"
    await_true(lambda: not any(alive(one) for one in tree), 5)
    assert node.show("killed.test")["pid"] != pid
    assert node.show("killed.test")["problems"][0]["code"] == "crashed"


def test_process_that_ends_itself_is_replaced(node: Node) -> None:
    node.app(
        "suicide.test",
        """
import os
def application(environ, start_response):
    if environ["PATH_INFO"] == "/die":
        os._exit(3)
    start_response("200 OK", [])
    return [b"alive"]
""",
        app="processes = 2",
    )
    assert node.get("suicide.test").text == "alive"
    answer = node.get("suicide.test", "/die")
    assert answer.status == 502
    assert "broke off" in answer.text
    assert node.get("suicide.test").text == "alive"
    assert "exit status 3" in node.show("suicide.test")["problems"][0]["message"]


def test_app_that_fails_in_a_request_gives_500(node: Node) -> None:
    node.app(
        "raises.test", "def application(environ, start_response):\n    raise ValueError('inner matter')\n"
    )
    answer = node.get("raises.test")
    assert answer.status == 500
    assert "inner matter" not in answer.text
    await_true(lambda: "inner matter" in node.log("raises.test", "error"), 5)
    assert node.get("raises.test", method="POST", body=b"x" * 1_000_000).status == 500


def test_supervisor_killed_under_load(own_node: Node) -> None:
    node = own_node
    for name in ("awake1", "awake2", "asleep1", "asleep2"):
        node.app(f"{name}.test", answer=name)
    for name in ("awake1", "awake2"):
        assert node.get(f"{name}.test").text == name
    before = {name: node.show(f"{name}.test")["pid"] for name in ("awake1", "awake2")}
    supervisor = node.status()["supervisor_pid"]
    with Load(node, "awake1.test", threads=4) as one, Load(node, "awake2.test", threads=4) as two:
        time.sleep(0.5)
        os.kill(supervisor, signal.SIGKILL)
        woken = node.get("asleep1.test")
        assert woken.text == "asleep1"
        assert woken.seconds < 2.0
        assert node.get("asleep2.test").text == "asleep2"
        time.sleep(0.5)
    assert not one.failures
    assert not two.failures
    assert one.answers > 50
    after = node.status()
    assert after["supervisor_pid"] != supervisor
    assert {name: node.show(f"{name}.test")["pid"] for name in before} == before
    assert node.show("awake1.test")["wakes"] == 1
    node.touch("awake1.test", PLAIN.replace("{answer}", "newer"))
    await_true(lambda: node.get("awake1.test").text == "newer", 5, step=0.05)
    await_true(
        lambda: len([pid for pid in node.pids() if _is_first(pid)]) == 4, 5
    )  # nothing is started twice


def test_supervisor_killed_again_and_again_while_sites_wake_and_sleep(own_node: Node) -> None:
    node = own_node
    for number in range(6):
        node.app(f"s{number}.test", app="idle = 1", answer=f"s{number}")
    failures = []
    for turn in range(4):
        os.kill(node.status()["supervisor_pid"], signal.SIGKILL)
        for number in range(6):
            answer = node.get(f"s{number}.test")
            if answer.text != f"s{number}":
                failures.append((turn, number, answer.status))
        time.sleep(0.3)
    assert not failures
    await_true(lambda: {node.state(f"s{number}.test") for number in range(6)} == {"asleep"}, 10, step=0.2)
    await_true(lambda: not [pid for pid in node.pids() if _is_first(pid)], 10)


def test_a_worker_that_was_ordered_by_a_killed_supervisor_is_known(own_node: Node) -> None:
    """It is forked while the next one calls the roll."""
    node = own_node
    node.app("ordered.test", answer="ordered")
    supervisor = node.status()["supervisor_pid"]
    takers = [pid for pid in node.pids() if _name(pid) == "ik orders"]
    for pid in takers:
        os.kill(pid, signal.SIGSTOP)
    visitor = threading.Thread(target=node.get, args=["ordered.test"])
    visitor.start()
    try:
        node.await_state("ordered.test", "starting")
        os.kill(supervisor, signal.SIGKILL)
    finally:
        for pid in takers:
            os.kill(pid, signal.SIGCONT)
    visitor.join()
    found = node.await_state("ordered.test", "serving")
    assert found["pid"] and alive(found["pid"])
    assert node.status()["supervisor_pid"] != supervisor


def test_nginx_killed_is_started_again(own_node: Node) -> None:
    node = own_node
    node.app("n.test")
    assert node.get("n.test").status == 200
    master = int(node.layout.nginx_pid.read_text())
    os.kill(master, signal.SIGKILL)
    await_true(
        lambda: node.layout.nginx_pid.exists() and int(node.layout.nginx_pid.read_text()) != master, 10
    )
    assert node.get("n.test").status == 200


def test_zygote_killed_is_started_again(own_node: Node) -> None:
    node = own_node
    node.app("z.test")
    zygotes = [pid for pid in node.pids() if _name(pid) == "ik zygote"]
    assert zygotes
    for pid in zygotes:
        os.kill(pid, signal.SIGKILL)
    assert node.get("z.test").status == 200


def test_stopping_the_node_ends_every_process(own_node: Node) -> None:
    node = own_node
    node.app(
        "tree.test",
        """
import os, subprocess
subprocess.Popen(["setsid", "sh", "-c", "trap '' TERM HUP INT; sleep 1000"])
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
""",
    )
    assert node.get("tree.test").status == 200
    everything = node.pids()
    assert len(everything) > 6
    assert node.stop() == 0
    assert not [pid for pid in everything if alive(pid)]
    node.start()
    assert node.get("tree.test").status == 200


def test_stopping_the_node_lets_requests_finish(own_node: Node) -> None:
    node = own_node
    node.app("long.test", SLOW)
    node.get("long.test")
    answers: list[str] = []
    visitor = threading.Thread(target=lambda: answers.append(node.get("long.test", "/?2").text))
    visitor.start()
    time.sleep(0.5)
    assert node.stop() == 0
    visitor.join()
    assert answers == ["done"]


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _is_first(pid: int) -> bool:
    """Whether it is the first process of a site's worker: process 1 of its PID namespace, and not a spare."""
    if _name(pid) == "ik spare":
        return False
    try:
        with open(f"/proc/{pid}/status") as file:
            numbers = next(line for line in file if line.startswith("NSpid:")).split()[1:]
    except (FileNotFoundError, ProcessLookupError, StopIteration):
        return False
    return numbers[-1] == "1" and str(pid) != "1" and len(numbers) > 1
