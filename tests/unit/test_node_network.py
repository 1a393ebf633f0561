"""Which messages go to whom together."""

from types import SimpleNamespace

import pytest

from raft_zmq.core.messages import PeerMessage
from raft_zmq.node.network import Network
from tests.unit.transport_world import reply

pytestmark = pytest.mark.interpreted


class Sent:
    def __init__(self) -> None:
        self.batches: list[tuple[list[str], list[PeerMessage]]] = []

    def send_all(self, peers: list[str], messages: list[PeerMessage]) -> None:
        self.batches.append((peers, messages))


def sent(*messages: tuple[str, PeerMessage]) -> list[tuple[list[str], list[PeerMessage]]]:
    faults = Sent()
    Network.to_peers(SimpleNamespace(faults=faults), messages)
    return faults.batches


def test_peers_that_get_the_very_same_messages_get_them_together():
    first, second = reply(1), reply(2)
    assert sent(("n2", first), ("n2", second), ("n3", first), ("n3", second)) == [(["n2", "n3"], [first, second])]


def test_what_differs_goes_by_itself_and_in_order():
    first, second, third = reply(1), reply(2), reply(3)
    assert sent(("n2", first), ("n3", first), ("n3", third), ("n4", second), ("n2", second)) == [
        (["n2"], [first, second]),
        (["n3"], [first, third]),
        (["n4"], [second]),
    ]
