"""Watching a connection must never stop what it watches."""

import time

import pytest
import zmq

from raft_zmq.transport import sockets
from raft_zmq.transport.monitor import ConnectionMonitor
from tests.unit.transport_world import free_port


@pytest.mark.timeout(60)
def test_events_that_nobody_reads_stop_no_connection():
    """a client rests while a node is away: libzmq tells of each try to connect, and with its queue full would wait"""
    context = zmq.Context()
    away = sockets.new_socket(context, zmq.DEALER, 1 << 20)
    away.set(zmq.RECONNECT_IVL, 1)
    away.set(zmq.RECONNECT_IVL_MAX, 0)
    monitor = ConnectionMonitor(away)
    sockets.connect(away, f"127.0.0.1:{free_port()}")
    server, client = context.socket(zmq.REP), context.socket(zmq.REQ)
    client.connect(f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}")
    until_s = time.monotonic() + 5.0  # several thousand tries
    while time.monotonic() < until_s:
        client.send(b"are you there?")
        assert server.poll(5_000), "the context's connections have stopped"
        server.send(server.recv())
        assert client.poll(5_000)
        client.recv()
    assert monitor.changes() == []
    monitor.close()
    for socket in (away, server, client):
        socket.close(linger=0)
    context.term()
