"""Long work in small parts, each client in its turn; and how many requests may be under way."""

import time

import pytest

from raft_zmq.node import work
from raft_zmq.node.admission import Admission
from raft_zmq.node.work import Work


def spend(seconds: float) -> None:
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        pass


def test_a_turn_is_short_however_much_there_is_to_do() -> None:
    done: list[int] = []

    def do(item: int) -> int:
        spend(0.001)
        done.append(item)
        return 0

    waiting: Work[int] = Work(do)
    for item in range(200):
        waiting.add(b"a", item)
    turns = 0
    while waiting:
        before = len(done)
        waiting.go_on()
        waiting.go_on()  # the same turn: no more time for it
        assert 1 <= len(done) - before <= 1 + work.WORK_S / 0.001
        waiting.turn_begins()
        turns += 1
    assert done == list(range(200))
    assert turns >= 200 * 0.001 / work.WORK_S


def test_large_answers_end_a_turn(monkeypatch) -> None:
    monkeypatch.setattr(work, "WORK_S", 60)
    waiting: Work[int] = Work(lambda size_bytes: size_bytes)
    for _ in range(10):
        waiting.add(b"a", work.ANSWER_BYTES_MAX // 2)
    waiting.go_on()
    assert len(waiting) == 7


def test_clients_take_turns() -> None:
    done: list[str] = []

    def do(item: str) -> int:
        done.append(item)
        return 0

    waiting: Work[str] = Work(do)
    for _ in range(10 * work.ITEMS_IN_TURN):
        waiting.add(b"greedy", "greedy")
    waiting.add(b"modest", "modest")
    waiting.go_on()
    assert done.index("modest") == work.ITEMS_IN_TURN


def test_what_nobody_waits_for_is_given_back() -> None:
    waiting: Work[int] = Work(lambda _: 0)
    waiting.add(b"a", 1)
    waiting.add(b"b", 2)
    assert waiting.forget(b"a") == [1]
    assert waiting.forget(b"c") == []
    assert len(waiting) == 1


@pytest.mark.parametrize(
    ("under_way", "wanted", "admitted"),
    [({}, 4, 4), ({}, 9, 6), ({"me": 6}, 1, 0), ({"other": 6}, 9, 4), ({"me": 2, "other": 6}, 9, 2), ({}, 0, 0)],
)
def test_admission(under_way: dict[str, int], wanted: int, admitted: int) -> None:
    admission = Admission(most=10, most_of_client=6)
    for client, number in under_way.items():
        assert admission.admit(client, number) == number
    assert admission.admit("me", wanted) == admitted
    for _ in range(admitted):
        admission.ended("me")
    assert admission.under_way == sum(under_way.values())


def test_what_cannot_be_admitted_whole_is_not_admitted_at_all() -> None:
    admission = Admission(most=10, most_of_client=6)
    assert admission.admit_whole("me", 6)
    assert not admission.admit_whole("me", 1)
    assert not admission.admit_whole("other", 5)
    assert not admission.is_full(4)
    assert admission.is_full(5)
    assert admission.admit_whole("other", 4)
    admission.ended("me", 6)
    assert admission.admit_whole("me", 6)
    assert admission.under_way == 10


def test_whom_nothing_was_admitted_of_is_not_remembered() -> None:
    """Names come and go, and a full node is asked by many."""
    admission = Admission(most=1, most_of_client=1)
    assert admission.admit("first", 1) == 1
    assert admission.admit("second", 1) == 0
    assert list(admission._of_client) == ["first"]


def test_room_comes_back_with_the_answers() -> None:
    admission = Admission(most=10, most_of_client=6)
    for _ in range(100):
        assert admission.admit("me", 6) == 6
        for _ in range(6):
            admission.ended("me")
