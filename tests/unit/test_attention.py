"""Who takes too much of the supervisor's time waits; how many speak for it makes no difference."""

from __future__ import annotations

from innkeeper.supervisor.attention import Attention


def test_little_costs_no_wait_and_much_is_paid_off() -> None:
    now = [0.0]
    attention = Attention(lambda: now[0])
    assert attention.spend("alice", 0.05) == 0
    wait = attention.spend("alice", 0.15)
    assert wait > 0.4
    assert attention.spend("bob", 0.01) == 0  # that is alice's debt alone
    now[0] += wait + 0.3
    assert attention.spend("alice", 0.005) == 0


def test_many_who_never_stop_have_their_share_together() -> None:
    now, taken = [0.0], 0.0
    attention = Attention(lambda: now[0])
    due = dict.fromkeys(range(20), 0.0)
    while now[0] < 60:
        who = min(due, key=lambda each: due[each])
        now[0] = max(now[0], due[who]) + 0.005
        taken += 0.005
        due[who] = now[0] + attention.spend("mallory", 0.005)
    assert taken < 0.25 * 60
