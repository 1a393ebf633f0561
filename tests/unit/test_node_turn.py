"""One turn of the loop: who is too many is told so before the rest of it is done."""

import threading
from collections.abc import Callable

import pytest
import zmq

from raft_zmq.client.session import opening
from raft_zmq.node import Node
from raft_zmq.settings import load
from raft_zmq.storage.disk import Disk
from raft_zmq.transport.dealer import ClientConnection
from raft_zmq.wire.client_messages import Answer, Busy, Done, Status, Write
from tests.lone_node import lone_node
from tests.unit.storage_disks import wait_until

PATIENCE_MS = 30_000


class WatchedDisk(Disk):
    """Calls `meanwhile` in the middle of each sync, in the thread that syncs."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def fdatasync(self, descriptor: int) -> None:
        self.meanwhile()
        super().fdatasync(descriptor)


@pytest.fixture
def disk():
    return WatchedDisk()


@pytest.fixture
def node(tmp_path, disk):
    """A cluster of one that lets one request in at a time."""
    node = Node(load(lone_node(tmp_path, log_level="error", requests_max=1), {}), disk=disk)
    thread = threading.Thread(target=node.run)
    thread.start()
    yield node
    node.stop("the test is over")
    thread.join(PATIENCE_MS / 1000)
    assert not thread.is_alive()


@pytest.fixture
def connect(node):
    """Makes a connection whose handshake is done."""
    connections: list[ClientConnection] = []

    def connect() -> ClientConnection:
        connection = ClientConnection(f"127.0.0.1:{node.settings.client_port}", None, "raft")
        connections.append(connection)
        connection.send([Status(1)])
        assert isinstance(answer_of(connection), Done)
        return connection

    yield connect
    for connection in connections:
        connection.close()


def answer_of(connection: ClientConnection) -> Answer:
    assert connection.socket.poll(PATIENCE_MS, zmq.POLLIN), "an answer comes"
    (answer,) = connection.receive()
    return answer


def test_who_comes_during_a_sync_is_told_busy_before_what_was_synced_is_applied(node, disk, connect):
    """in the next turn the first write would have ended, and there would be room"""
    first, second = connect(), connect()
    wait_until(lambda: isinstance(asked(first, 1), Done))  # until it leads

    def ask_second_once() -> None:
        if not node._requests.levels()["requests_under_way"]:
            return  # the sync of something else
        disk.meanwhile = lambda: None
        second.send([Write(2, opening(b"second"))])
        wait_until(node._network.clients_wait)

    disk.meanwhile = ask_second_once
    assert isinstance(asked(first, 2), Done)
    assert isinstance(answer_of(second), Busy)
    assert isinstance(asked(second, 3), Done)


def test_who_comes_to_an_overloaded_node_does_not_wait_for_its_disk(node, disk, connect):
    """who is turned away hears it while the sync goes on, once there has been too much"""
    first, second = connect(), connect()
    wait_until(lambda: isinstance(asked(first, 1), Done))  # until it leads
    answers: list[Answer] = []

    def ask_second() -> None:
        if not node._requests.levels()["requests_under_way"]:
            return  # the sync of something else
        disk.meanwhile = lambda: None
        second.send([Write(2, opening(b"second"))])
        if threading.current_thread().name.startswith("sync"):
            answers.append(answer_of(second))
        else:  # nobody has been turned away lately
            wait_until(node._network.clients_wait)

    def has_answered_meanwhile() -> bool:
        disk.meanwhile = ask_second
        assert isinstance(asked(first, 2), Done)
        return bool(answers) or not isinstance(answer_of(second), Busy)

    wait_until(has_answered_meanwhile)
    assert [type(answer) for answer in answers] == [Busy]
    assert isinstance(asked(second, 4), Done)


def asked(connection: ClientConnection, request_id: int) -> Answer:
    connection.send([Write(request_id, opening(b"%d" % request_id))])
    return answer_of(connection)
