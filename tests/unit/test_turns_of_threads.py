"""The turns that the threads of one app take, by a clock that stands still between requests."""

from __future__ import annotations

import io
import threading

from innkeeper.worker.answering import guarded
from innkeeper.worker.turns import Turns

MS = 0.001


class Time:
    """A clock that goes when told to, and what was slept by it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def answer(turns: Turns, time: Time, *, takes: float, after: float = 0.00002) -> None:
    time.now += after
    turns.begin()
    time.now += takes
    turns.end()


def test_who_answers_on_end_lets_others_go_first_once_in_a_turn() -> None:
    time = Time()
    turns = Turns(time, time.sleep)
    for _ in range(40):  # 4.8 ms
        answer(turns, time, takes=0.1 * MS)
    assert 3 <= len(time.slept) <= 4
    assert all(0 < seconds < 0.5 * MS for seconds in time.slept)


def test_an_app_that_takes_longer_than_a_turn_lets_others_go_first_each_time() -> None:
    time = Time()
    turns = Turns(time, time.sleep)
    for _ in range(5):
        answer(turns, time, takes=3 * MS)
    assert len(time.slept) == 4


def test_nobody_waits_who_had_a_pause() -> None:
    time = Time()
    turns = Turns(time, time.sleep)
    for _ in range(40):
        answer(turns, time, takes=0.1 * MS, after=0.2 * MS)
    assert not time.slept


def test_another_thread_begins_a_turn_of_its_own() -> None:
    time = Time()
    turns = Turns(time, time.sleep)
    for _ in range(20):
        other = threading.Thread(target=answer, args=(turns, time), kwargs={"takes": 0.4 * MS})
        answer(turns, time, takes=0.4 * MS)
        other.start()
        other.join()
    assert not time.slept


def test_each_answer_counts_that_of_a_failed_app_too() -> None:
    told: list[str] = []

    class Told(Turns):
        def begin(self) -> None:
            told.append("begin")

        def end(self) -> None:
            told.append("end")

    def fails(environ: object, start_response: object) -> list[bytes]:
        raise ValueError

    environ = {"wsgi.input": io.BytesIO(), "REQUEST_URI": "/", "wsgi.file_wrapper": None}
    assert guarded(fails, 0, Told())(environ, lambda status, headers: None)
    assert told == ["begin", "end"]
