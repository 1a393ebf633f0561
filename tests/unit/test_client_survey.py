"""Asking all nodes, starting from some."""

from collections.abc import Iterator

import msgspec
import pytest

from raft_zmq.client.client import RaftClient
from raft_zmq.core.errors import SettingsError
from raft_zmq.wire.client_messages import Done, Request, Status
from tests.unit.client_fakes import FakeNode, config, status


@pytest.fixture
def nodes() -> Iterator[list[FakeNode]]:
    three = [FakeNode("a"), FakeNode("b"), FakeNode("c")]
    for node in three:
        node.answer = telling(node, three)
    yield three
    for node in three:
        node.stop()


def telling(node: FakeNode, everyone: list[FakeNode]):
    def answer(request: Request):
        if not isinstance(request, Status):
            return None
        own = status(node.node_id, leader=everyone[0])
        addresses = {other.node_id: other.address for other in everyone}
        return Done(
            request.request_id, msgspec.msgpack.encode(msgspec.structs.replace(own, client_addresses=addresses))
        )

    return answer


def test_one_known_node_leads_to_all(nodes):
    with RaftClient(config(nodes[1])) as client:
        assert [(found.node_id, found.address) for found in client.survey()] == [(n.node_id, n.address) for n in nodes]


def test_service_without_a_name_is_no_node_of_its_own(nodes):
    service = config(nodes[1])
    endpoint = msgspec.structs.replace(service.endpoints[0], node_id="")
    with RaftClient(msgspec.structs.replace(service, endpoints=(endpoint,))) as client:
        assert [found.node_id for found in client.survey()] == ["a", "b", "c"]
        assert client.address_of("c") == nodes[2].address


def test_silent_node_is_there_without_a_status(nodes):
    nodes[2].answer = lambda request: None
    with RaftClient(config(nodes[0])) as client:
        assert [found.status is None for found in client.survey(timeout_s=0.3)] == [False, False, True]


def test_nobody_answers(nodes):
    nodes[0].answer = lambda request: None
    with RaftClient(config(nodes[0])) as client:
        (found,) = client.survey(timeout_s=0.2)
        assert (found.name, found.status) == ("a", None)


def test_node_is_found_by_id_or_address(nodes):
    with RaftClient(config(nodes[0])) as client:
        assert client.address_of("b") == nodes[1].address
        assert client.address_of("10.0.0.1:99") == "10.0.0.1:99"
        with pytest.raises(SettingsError, match="expected one of a, b, c, or host:port, found 'z'"):
            client.address_of("z")
