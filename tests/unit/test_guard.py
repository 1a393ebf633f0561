"""What others may take up: connections, handshakes, bytes; over real sockets on loopback."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from raft_zmq.core.errors import SettingsError
from raft_zmq.settings import Settings
from raft_zmq.transport import keys, sockets, tcp
from raft_zmq.transport.connections import PortConnections, Traffic
from raft_zmq.transport.counters import TransportCounters
from raft_zmq.transport.guard import CLIENTS, PEERS, Guard
from raft_zmq.wire import codec
from raft_zmq.wire.client_messages import Done, Status
from raft_zmq.wire.frames import ClientHeader
from tests.unit import zmtp
from tests.unit.transport_world import Node, client_of, until

HEADER = codec.encode_client_header(ClientHeader(1, "raft"))
ASKING = [HEADER, codec.encode_requests([Status(1)])]
HTTP = b"GET / HTTP/1.1\r\nHost: raft\r\n\r\n" + bytes(64)

NewNode = Callable[..., Node]


@pytest.fixture(scope="module")
def keys_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    keys.generate(folder, ["n1", "n2"], {"app": keys.Role.READ_WRITE, "other": keys.Role.READ_WRITE})
    return folder


@pytest.fixture
def new_node() -> Iterator[NewNode]:
    nodes: list[Node] = []

    def make(folder: Path | None = None, **limits: int) -> Node:
        nodes.append(Node("n1", folder, **limits))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


@contextlib.contextmanager
def plain_connections(node: Node, number: int) -> Iterator[list[socket.socket]]:
    """Connections that say nothing."""
    with contextlib.ExitStack() as opened:
        yield [
            opened.enter_context(socket.create_connection(("127.0.0.1", node.settings.client_port)))
            for _ in range(number)
        ]


def cut(node: Node) -> dict[str, int]:
    return node.counters.connections_cut


def is_served(node: Node, client_keys: keys.ClientKeys | None) -> None:
    """Fails unless another client is heard and answered."""
    before = len(node.batches)
    with client_of(node, client_keys) as connection:
        connection.send([Status(7)])
        until(lambda: len(node.batches) > before, node)
        node.port.send(node.batches[-1][0], [Done(7, b"")])
        until(lambda: connection.receive() == [Done(7, b"")], node)


# Bytes


def test_a_message_without_an_end_is_cut_off(new_node: NewNode) -> None:
    node = new_node(connection_bytes_max=4 << 20, waiting_bytes_max=8 << 20)
    endless = zmtp.connect(node.member.client_address)
    endless.sendall(zmtp.frame(HEADER, more=True))
    sent_bytes = 0
    frame = zmtp.frame(bytes(100_000), more=True)
    with contextlib.suppress(ConnectionError):
        while sent_bytes < 1 << 30:
            endless.sendall(frame)
            sent_bytes += len(frame)
    assert sent_bytes < 1 << 30
    until(lambda: cut(node) == {"connection_bytes_max": 1}, node)
    is_served(node, None)
    endless.close()


def test_messages_that_nobody_reads_in_time_are_cut_off(new_node: NewNode) -> None:
    """As while the node waits for its disk: the loop does not turn here."""
    node = new_node(connection_bytes_max=4 << 20, waiting_bytes_max=8 << 20)
    flood = zmtp.connect(node.member.client_address)
    message = zmtp.frame(HEADER, more=True) + zmtp.frame(bytes(100_000))
    with contextlib.suppress(ConnectionError):
        for _ in range(10_000):
            flood.sendall(message)
    until(lambda: cut(node) == {"connection_bytes_max": 1}, node)
    flood.close()
    is_served(node, None)


def test_answers_that_the_client_does_not_read_are_cut_off(new_node: NewNode) -> None:
    node = new_node(connection_bytes_max=4 << 20, waiting_bytes_max=8 << 20)
    lazy = zmtp.connect(node.member.client_address)
    lazy.sendall(zmtp.frame(HEADER, more=True) + zmtp.frame(ASKING[1]))
    until(lambda: node.batches, node)

    def answered() -> bool:
        for _ in range(10):
            node.port.send(node.batches[0][0], [Done(1, bytes(100_000))])
        node.port.tell_traffic()
        return bool(cut(node))

    until(answered, node)
    assert cut(node) == {"connection_bytes_max": 1}
    lazy.close()
    is_served(node, None)


def test_a_frame_beyond_the_limit_is_counted(new_node: NewNode) -> None:
    node = new_node(frame_bytes_max=10_000)
    large = zmtp.connect(node.member.client_address)
    large.sendall(zmtp.frame(HEADER, more=True) + zmtp.frame(ASKING[1]))
    until(lambda: node.batches, node)
    large.sendall(zmtp.frame(bytes(10_001)))
    until(lambda: cut(node) == {"oversized_or_silent": 1}, node)
    until(lambda: zmtp.ended(large), node)
    large.close()


def test_all_connections_together_have_a_bound_too(new_node: NewNode) -> None:
    node = new_node(connection_bytes_max=4 << 20, waiting_bytes_max=8 << 20)
    endless = [zmtp.connect(node.member.client_address) for _ in range(4)]
    for connection in endless:
        connection.sendall(zmtp.frame(HEADER, more=True))
        for _ in range(30):
            connection.sendall(zmtp.frame(bytes(100_000), more=True))
    until(lambda: cut(node), node)
    assert set(cut(node)) == {"waiting_bytes_max"}
    until(lambda: 0 < node.guard.levels()["waiting_bytes"] <= 8 << 20, node)
    for connection in endless:
        connection.close()


@pytest.mark.parametrize("auth", ["curve", "none"])
def test_a_busy_honest_client_is_never_cut_off(auth: str, keys_dir: Path, new_node: NewNode) -> None:
    """The node counts what it has read; what it cannot count exactly must not add up."""
    node = new_node(
        keys_dir if auth == "curve" else None,
        frame_bytes_max=4096,
        connection_bytes_max=200_000,
        waiting_bytes_max=400_000,
    )
    ring = keys.load_client_keys(keys_dir, "app") if auth == "curve" else None
    with client_of(node, ring) as connection:
        for number in range(20_000):
            connection.send([Status(number)])
            if number % 50 == 0:
                asked = number + 1
                until(lambda n=asked: len(node.batches) >= n, node)
                node.port.send(node.batches[-1][0], [Done(number, b"x" * 300)])
                connection.receive()
        assert node.guard.levels()["waiting_bytes_of_one"] < 200_000
    assert cut(node) == {}


# Numbers


def test_silent_connections_make_room_for_an_honest_one(keys_dir: Path, new_node: NewNode) -> None:
    node = new_node(keys_dir, handshakes_max=20)
    with plain_connections(node, 100) as silent:
        is_served(node, keys.load_client_keys(keys_dir, "app"))
        until(lambda: cut(node).get("handshakes_max", 0) >= 80, node)
        until(lambda: zmtp.ended(silent[0]), node)
        assert not zmtp.ended(silent[-1])
        assert node.guard.levels()["handshakes_under_way"] <= 20


def test_too_many_connections_cost_the_silent_ones_first(new_node: NewNode) -> None:
    node = new_node(connections_max=10, client_connections_max=10)
    with client_of(node, None) as connection:
        connection.send([Status(1)])
        until(lambda: node.batches, node)
        with plain_connections(node, 30):
            until(lambda: cut(node).get("connections_max", 0) >= 20, node)
            connection.send([Status(2)])
            until(lambda: len(node.batches) == 2, node)
    assert set(cut(node)) == {"connections_max"}


def test_one_client_may_not_take_all_connections(keys_dir: Path, new_node: NewNode) -> None:
    node = new_node(keys_dir, client_connections_max=3)
    ring = keys.load_client_keys(keys_dir, "app")
    with contextlib.ExitStack() as opened:
        for number in range(5):
            connection = opened.enter_context(client_of(node, ring))
            connection.send([Status(number)])
            until(lambda n=number: len(node.batches) > n, node)
        until(lambda: cut(node).get("client_connections_max", 0) >= 2, node)
        is_served(node, keys.load_client_keys(keys_dir, "other"))


def test_what_comes_by_the_number_of_one_that_was_cut_is_the_next_ones() -> None:
    """A message may be told before the guard has read that its connection has come and the former one has gone."""
    context = sockets.new_context()
    guard = Guard(context, Settings(node_id="n1", auth="none"), TransportCounters())
    guard._ports[CLIENTS] = connections = PortConnections()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as accepted:
        fd = accepted.fileno()
        connections.add(fd, 0.0)
        former = connections.get(fd)
        assert former is not None
        connections.end(former)
        told = Traffic(fd)
        told.owner = "app"
        guard.tell(CLIENTS, {fd: told})
        guard._calls.popleft()()
        connections.add(fd, 1.0)  # what the events say that are read next
        assert [(port, number) for port, number, _ in guard._early] == [(CLIENTS, fd)]
        guard._take(*guard._early.pop())
        present = connections.get(fd)
        assert (former.owner, present and present.owner) == ("", "app")
    guard.close()
    context.term()


def test_it_looks_less_often_only_while_nobody_but_other_nodes_is_connected() -> None:
    context = sockets.new_context()
    guard = Guard(context, Settings(node_id="n1", auth="none"), TransportCounters())
    guard._ports = {PEERS: PortConnections(), CLIENTS: PortConnections()}
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as accepted:
        assert guard._nodes_only()
        guard._ports[PEERS].add(accepted.fileno(), 0.0)
        assert not guard._nodes_only(), "it may be anyone"
        told = Traffic(accepted.fileno())
        told.owner = "n2"
        guard._take(PEERS, accepted.fileno(), told)
        assert guard._nodes_only()
        guard._ports[CLIENTS].add(accepted.fileno(), 0.0)
        assert not guard._nodes_only()
    guard.close()
    context.term()


def test_more_connections_than_the_system_allows_are_named(monkeypatch) -> None:
    monkeypatch.setattr(tcp.resource, "getrlimit", lambda _: (256, 256))
    with pytest.raises(SettingsError, match=r"^connections_max: expected a limit of at least 2512 open files"):
        tcp.allow_connections(1000)


# Handshakes that fail before a key is shown


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (HTTP, "no_zmtp"),
        (zmtp.GREETING, "no_curve"),
        (b"", "unfinished"),
    ],
    ids=["http", "no encryption", "nothing"],
)
def test_strangers_are_counted_with_where_they_came_from(
    said: bytes, reason: str, keys_dir: Path, new_node: NewNode
) -> None:
    node = new_node(keys_dir)
    with plain_connections(node, 1) as (stranger,):
        until(lambda: node.guard.levels().get("client_connections") == 1, node)
        stranger.sendall(said)
        if not said:
            stranger.shutdown(socket.SHUT_WR)
        failures: list[tuple[str, str, str]] = []
        until(lambda: failures.extend(node.guard.take_failures()) or failures, node)
    assert failures == [(CLIENTS, "127.0.0.1", reason)]
    assert node.counters.handshakes_failed == {reason: 1}


def test_a_wrong_server_key_is_counted_as_that(keys_dir: Path, new_node: NewNode) -> None:
    node = new_node(keys_dir)
    dealer = sockets.new_socket(node.context, zmq.DEALER, 1 << 20)
    sockets.use_curve(dealer, keys.load_node_keys(keys_dir, "n2").own, zmq.curve_keypair()[0])
    sockets.connect(dealer, node.member.peer_address)
    failures: list[tuple[str, str, str]] = []
    # A connection that was gone before the guard could look at it has no address.
    until(lambda: failures.extend(node.guard.take_failures()) or any(failure[1] for failure in failures), node)
    dealer.close()
    assert {(port, reason) for port, _, reason in failures} == {(PEERS, "wrong_server_key")}
    assert failures[-1][1] == "127.0.0.1"


@pytest.mark.parametrize(
    ("said", "reason"),
    [(zmtp.GREETING, "no_curve"), (zmtp.CURVE_GREETING + zmtp.hello(), "wrong_server_key")],
    ids=["no encryption", "wrong server key"],
)
def test_a_thousand_refused_handshakes_leave_nothing_behind(
    said: bytes, reason: str, keys_dir: Path, new_node: NewNode
) -> None:
    node = new_node(keys_dir)
    files_before = len(list(Path("/proc/self/fd").iterdir()))

    def knock() -> None:
        for _ in range(1000):
            with socket.create_connection(("127.0.0.1", node.settings.client_port)) as stranger:
                stranger.sendall(said)

    knocking = threading.Thread(target=knock)
    knocking.start()
    until(lambda: not knocking.is_alive(), node)
    until(lambda: sum(node.counters.handshakes_failed.values()) == 1000, node)
    assert set(node.counters.handshakes_failed) <= {reason, "unfinished"}
    until(lambda: node.guard.levels()["client_connections"] == 0, node)
    assert len(list(Path("/proc/self/fd").iterdir())) <= files_before + 5
    is_served(node, keys.load_client_keys(keys_dir, "app"))


def test_a_storm_of_strangers_that_speak_no_zmtp_is_counted(keys_dir: Path, new_node: NewNode) -> None:
    """They are gone before the guard can look at them, and libzmq tells nothing of why."""
    node = new_node(keys_dir)

    def knock() -> None:
        for _ in range(300):
            with plain_connections(node, 1) as (stranger,), contextlib.suppress(OSError):
                stranger.sendall(HTTP)
                while stranger.recv(100):
                    pass

    knocking = threading.Thread(target=knock)
    knocking.start()
    is_served(node, keys.load_client_keys(keys_dir, "app"))
    until(lambda: not knocking.is_alive(), node)
    until(lambda: node.counters.handshakes_failed.get("no_zmtp", 0) > 270, node)
    assert set(node.counters.handshakes_failed) <= {"no_zmtp", "unfinished"}
    assert sum(node.counters.handshakes_failed.values()) <= 300


# Keys in the middle of a life


def test_a_port_that_changes_its_key_ends_its_connections_and_lets_them_in_again(
    keys_dir: Path, new_node: NewNode, tmp_path: Path
) -> None:
    node = new_node(keys_dir)
    old = keys.load_client_keys(keys_dir, "app")
    new = keys.load_node_keys(keys_dir, "n1")
    public, secret = zmq.curve_keypair()
    both = keys.ClientKeys(old.server_public, old.own, (public,))
    with client_of(node, both) as connection:
        connection.send([Status(1)])
        until(lambda: node.batches, node)
        node.ring.current = keys.NodeKeys(
            service=keys.KeyPair(public, secret),
            own=new.own,
            peer_keys=new.peer_keys,
            peer_owners=new.peer_owners,
            client_owners=new.client_owners,
        )
        until(node.port.keys_changed, node)
        begun_s = time.monotonic()

        def heard() -> bool:
            connection.changes()
            connection.send([Status(2)])
            return len(node.batches) > 1

        until(heard, node)
        assert time.monotonic() - begun_s < 5
        assert connection.monitor.connected
