"""Refusals reach the log once, and then as a count."""

import pytest

from raft_zmq.transport.refusals import Refusal, Refusals


class World:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.told: list[Refusal] = []
        self.refusals = Refusals(self.told.append, interval_s=60, clock=lambda: self.now_s)

    def times(self) -> list[int]:
        return [refusal.times for refusal in self.told]

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.refusals.flush()


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_is_told_at_once_and_the_others_as_a_count(world: World) -> None:
    for number in range(1000):
        world.refusals.note("clients", "", "unknown_key", address=f"10.0.0.{number % 256}")
        world.pass_s(0.001)
    assert world.times() == [1]
    world.pass_s(60)
    assert world.times() == [1, 999]
    assert world.told[-1].address == f"10.0.0.{999 % 256}"
    world.pass_s(600)
    assert world.times() == [1, 999], "silence is not told"


def test_an_address_once_known_is_told(world: World) -> None:
    for address in ("10.0.0.1", "10.0.0.2", ""):
        world.refusals.note("clients", "", "handshake_no_curve", address=address)
    world.pass_s(60)
    assert world.told[-1].address == "10.0.0.2"


def test_after_a_silence_it_is_news_again(world: World) -> None:
    world.refusals.note("peers", "n2", "cluster_id")
    world.pass_s(61)
    world.refusals.note("peers", "n2", "cluster_id")
    assert world.times() == [1, 1]


def test_port_name_and_reason_are_told_apart(world: World) -> None:
    for port, who, reason in (("peers", "n1", "a"), ("clients", "n1", "a"), ("peers", "n2", "a"), ("peers", "n1", "b")):
        world.refusals.note(port, who, reason)
    assert world.times() == [1] * 4


def test_names_without_end_take_no_memory_without_end(world: World) -> None:
    for number in range(5000):
        world.refusals.note("peers", f"invented-{number}", "cluster_id")
    assert len(world.told) == 1001
    world.pass_s(60)
    assert world.told[-1].who == ""
    assert sum(world.times()) == 5000
