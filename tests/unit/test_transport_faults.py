"""The fault shim between two real transports."""

import math
from collections.abc import Iterator

import pytest

from raft_zmq.core.errors import SettingsError
from raft_zmq.transport.faults import FaultShim
from tests.unit.transport_world import Node, connect_all, number_of, reply, until

MESSAGES = [reply(number) for number in range(100)]


class Pair:
    """Node n1 behind a shim, and n2; the clock is the test's."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.n1, self.n2 = Node("n1", None), Node("n2", None)
        connect_all(self.n1, self.n2)

    def shim(self, seed: int = 1) -> FaultShim:
        return FaultShim(self.n1.transport, seed=seed, clock=lambda: self.now_s)

    def arrived(self, marker: int = 1000) -> list[int]:
        """What has come to n2 since the last call: a marker sent past the shim ends the wait."""
        self.n1.transport.send("n2", [reply(marker)])
        until(lambda: self.n2.numbers()[-1:] == [marker], self.n2)
        numbers = self.n2.numbers()[:-1]
        self.n2.received.clear()
        return numbers


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.n1.close()
    pair.n2.close()


def test_without_a_fault_everything_passes(pair: Pair) -> None:
    shim = pair.shim()
    assert not shim.active
    shim.send("n2", MESSAGES)
    assert pair.arrived() == list(range(100))


def test_drop_loses_a_share_the_same_for_the_same_seed(pair: Pair) -> None:
    runs = []
    for seed in (1, 1, 2):
        shim = pair.shim(seed)
        shim.apply("drop", ["n2"], share=0.3)
        shim.send("n2", MESSAGES)
        runs.append(pair.arrived())
    assert runs[0] == runs[1] != runs[2]
    assert 50 < len(runs[0]) < 90
    assert runs[0] == sorted(runs[0])


def test_drop_towards_another_peer_or_none_of_the_share_changes_nothing(pair: Pair) -> None:
    shim = pair.shim()
    shim.apply("drop", ["n3"])
    shim.apply("drop", ["n2"], share=0.0)
    shim.send("n2", MESSAGES)
    assert pair.arrived() == list(range(100))


def test_duplicate_sends_a_share_twice(pair: Pair) -> None:
    shim = pair.shim()
    shim.apply("duplicate", share=0.5)
    shim.send("n2", MESSAGES)
    numbers = pair.arrived()
    assert set(numbers) == set(range(100))
    assert 120 < len(numbers) < 180


def test_delay_holds_messages_back_until_their_time(pair: Pair) -> None:
    shim = pair.shim()
    shim.apply("delay", share=0.5, seconds=2.0)
    shim.send("n2", MESSAGES)
    early = pair.arrived()
    assert 20 < len(early) < 80
    assert shim.next_release_s == pair.now_s + 2.0
    shim.poll(pair.now_s + 1.9)
    assert pair.arrived() == []
    shim.poll(pair.now_s + 2.0)
    late = pair.arrived()
    assert sorted(early + late) == list(range(100))
    assert late == sorted(late), "in the order they were sent"
    assert shim.next_release_s == math.inf


def test_partition_stops_both_directions_until_cleared(pair: Pair) -> None:
    shim = pair.shim()
    shim.apply("partition", ["n2"])
    shim.send("n2", MESSAGES)
    assert pair.arrived() == []
    pair.n2.transport.send("n1", [reply(1)])
    until(lambda: pair.n1.transport.socket.poll(2))
    assert shim.receive() == []
    shim.clear()
    assert not shim.active
    pair.n2.transport.send("n1", [reply(2)])
    until(lambda: pair.n1.transport.socket.poll(2))
    assert [number_of(message) for _, _, message in shim.receive()] == [2]


def test_dropping_all_is_a_partition_in_one_direction(pair: Pair) -> None:
    shim = pair.shim()
    shim.apply("drop")
    shim.send("n2", MESSAGES)
    assert pair.arrived() == []
    pair.n2.transport.send("n1", [reply(2)])
    until(lambda: pair.n1.transport.socket.poll(2))
    assert [number_of(message) for _, _, message in shim.receive()] == [2]


def test_clear_lets_held_messages_go(pair: Pair) -> None:
    shim = pair.shim()
    shim.apply("delay", seconds=60.0)
    shim.send("n2", MESSAGES[:3])
    assert pair.arrived() == []
    shim.clear()
    assert pair.arrived() == [0, 1, 2]


def test_an_unknown_kind_is_refused(pair: Pair) -> None:
    with pytest.raises(SettingsError, match="expected one of drop, delay, duplicate, partition, found 'melt'"):
        pair.shim().apply("melt")
