"""Watching a connection must never stop what it watches, nor gather without end what nobody reads."""

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest
import zmq

from raft_zmq.core.membership import Member
from raft_zmq.transport import monitor as watching
from raft_zmq.transport import sockets
from raft_zmq.transport.dealer import ClientConnection
from raft_zmq.transport.monitor import Change, ConnectionMonitor
from tests.unit.transport_world import Node, free_port, slammed_door, until

Watched = tuple[sockets.Socket, ConnectionMonitor]


@pytest.fixture
def eager() -> Iterator[Watched]:
    """A socket that tries to connect hundreds of times a second, and its monitor."""
    context = zmq.Context()
    watched = sockets.new_socket(context, zmq.DEALER, 1 << 20)
    watched.set(zmq.RECONNECT_IVL, 1)
    watched.set(zmq.RECONNECT_IVL_MAX, 0)
    monitor = ConnectionMonitor(watched)
    yield watched, monitor
    monitor.close()
    context.destroy(linger=0)


def test_a_node_that_is_away_leaves_nothing_to_read_later(eager: Watched) -> None:
    """a client may rest for days, and would have to keep a word on each of twelve tries a second, and then read them"""
    away, monitor = eager
    sockets.connect(away, f"127.0.0.1:{free_port()}")
    assert not monitor.socket.poll(1_000), "expected no word on several hundred tries"


def test_a_client_comes_once_where_it_is_turned_away_at_once() -> None:
    """it may rest there for days as well: a proxy stands before a node that is away"""
    with (
        slammed_door() as address,
        zmq.Context() as context,
        contextlib.closing(
            ClientConnection(address, None, "raft", context=context, stops_when_broken=True)
        ) as connection,
    ):
        assert connection.monitor.socket.poll(5_000)
        assert not threading.Event().wait(0.5)
        assert connection.changes() == [Change.BROKEN]
        assert (connection.monitor.given_up, connection.monitor.broken_handshakes) == (True, 1)


def test_a_member_that_was_never_there_is_not_told_as_lost() -> None:
    node = Node("n1", None)
    with slammed_door() as address:
        node.transport.set_members([node.member, Member("n2", peer_address=address)])
        until_s = time.monotonic() + 0.5  # some handshakes that break
        until(lambda: time.monotonic() >= until_s, node)
    assert node.connections == []
    node.close()


def test_what_has_gathered_is_read_in_pieces(eager: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """or the first call after a long rest would wait for all of it"""
    monkeypatch.setattr(watching, "_EVENTS_PER_CALL", 5)
    turned_away, monitor = eager
    with slammed_door() as address:
        sockets.connect(turned_away, address)
        assert not threading.Event().wait(0.5)  # some hundred tries
    monitor.changes()
    assert 1 <= monitor.broken_handshakes <= 5
    assert sockets.is_readable(monitor.socket)


@pytest.mark.timeout(60)
def test_events_that_nobody_reads_stop_no_connection(eager: Watched) -> None:
    """a client rests while a node turns it away: libzmq tells of each try, and with its queue full would wait"""
    turned_away, monitor = eager
    context = turned_away.context
    server, client = context.socket(zmq.REP), context.socket(zmq.REQ)
    client.connect(f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}")
    with slammed_door() as address:
        sockets.connect(turned_away, address)
        until_s = time.monotonic() + 5.0  # several thousand tries
        while time.monotonic() < until_s:
            client.send(b"are you there?")
            assert server.poll(5_000), "the context's connections have stopped"
            server.send(server.recv())
            assert client.poll(5_000)
            client.recv()
    assert set(monitor.changes()) == {Change.BROKEN}
    for used in (server, client):
        used.close(linger=0)
