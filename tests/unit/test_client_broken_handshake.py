"""Connections that are taken and ended at once, as by a proxy whose node is away: the client finds the node later."""

import time

import pytest

from raft_zmq.client.calls import RESEND_S, State
from raft_zmq.client.client import RaftClient, open_engine
from raft_zmq.client.config import ClientConfig, Endpoint
from raft_zmq.client.errors import NotDoneError
from raft_zmq.wire.client_messages import Status
from tests.unit.client_fakes import FakeNode, Leader
from tests.unit.transport_world import slammed_door


def test_a_request_that_met_a_broken_handshake_is_sent_again_soon():
    """what waited for that connection went with it, and nobody would answer for RESEND_S"""
    engine = open_engine(ClientConfig(cluster_id="raft", endpoints=(), keys=None))
    with slammed_door() as address:
        call = engine.ask(Status, 5.0, lambda call: None, address=address)
        while call.state is not State.DELAYED:
            assert time.monotonic() < call.deadline_at
            engine.turn(0.01)
        began = time.monotonic()
    node = FakeNode("a", address=address)
    Leader(node)
    engine.wait_for(call)
    assert time.monotonic() - began < RESEND_S
    engine.close()
    node.stop()


def test_a_node_is_found_where_connections_were_ended_at_once_before():
    with slammed_door() as address:
        client = RaftClient(ClientConfig(cluster_id="raft", endpoints=(Endpoint("a", address),), keys=None))
        with pytest.raises(NotDoneError):
            client.get(b"k", timeout_s=0.2)
    node = FakeNode("a", address=address)
    Leader(node)
    client.put(b"k", b"v")
    client.close()
    node.stop()
