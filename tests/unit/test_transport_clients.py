"""Requests and answers between clients and a node, over real sockets on loopback."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from raft_zmq.core.errors import SettingsError
from raft_zmq.transport import keys, sockets
from raft_zmq.transport.dealer import ClientConnection
from raft_zmq.transport.keys import ClientUser, Role
from raft_zmq.transport.monitor import Change
from raft_zmq.wire import codec
from raft_zmq.wire.client_messages import (
    ChangeMembers,
    Done,
    InjectFault,
    LogRange,
    Read,
    Redirect,
    Refused,
    Status,
    TakeSnapshot,
    Transfer,
    Write,
)
from raft_zmq.wire.frames import CLIENT_BATCH_MAX, ClientHeader
from tests.unit.transport_world import Node, client_of, free_port, shorten_patience, slow_link, until

CLIENTS = {"root": Role.ADMIN, "app": Role.READ_WRITE, "viewer": Role.READ_ONLY}


@pytest.fixture(scope="module")
def keys_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    keys.generate(folder, ["n1", "n2"], CLIENTS)
    return folder


@pytest.fixture
def secure(keys_dir: Path) -> Iterator[Node]:
    node = Node("n1", keys_dir)
    yield node
    node.close()


@pytest.fixture
def plain() -> Iterator[Node]:
    node = Node("n1", None)
    yield node
    node.close()


@pytest.fixture
def roomy() -> Iterator[Node]:
    """A node that takes frames as large as the default."""
    node = Node("n1", None, frame_bytes_max=sockets.FRAME_BYTES_MAX)
    yield node
    node.close()


@pytest.fixture
def stranger(plain: Node) -> Iterator[zmq.Socket[bytes]]:
    """A raw DEALER at the plain node's client port."""
    dealer = sockets.new_socket(plain.context, zmq.DEALER, 1 << 26)
    sockets.connect(dealer, plain.member.client_address)
    yield dealer
    dealer.close()


HEADER = codec.encode_client_header(ClientHeader(1, "raft"))


def raw_answers(node: Node, dealer: zmq.Socket[bytes], number: int) -> list[object]:
    """Turn the node until the raw DEALER has that many answers."""
    answers: list[object] = []

    def there() -> bool:
        if dealer.poll(0):
            header, body = dealer.recv_multipart()
            assert header == HEADER
            answers.extend(codec.decode_answers(body))
        return len(answers) >= number

    until(there, node)
    return answers


def answers_of(node: Node, connection: ClientConnection, number: int) -> list[object]:
    answers: list[object] = []

    def there() -> bool:
        answers.extend(connection.receive())
        return len(answers) >= number

    until(there, node)
    return answers


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_is_known_by_its_key(name: str, secure: Node, keys_dir: Path) -> None:
    with client_of(secure, keys.load_client_keys(keys_dir, name)) as connection:
        assert connection.send([Read(1, b"q"), Status(2)])
        until(lambda: secure.batches, secure)
        routing_id, user, requests = secure.batches[0]
        assert user == ClientUser(name, CLIENTS[name])
        assert requests == [Read(1, b"q"), Status(2)]
        secure.port.send(routing_id, [Done(2, b"two"), Redirect(1, "n2", "host:1")])
        assert answers_of(secure, connection, 2) == [Done(2, b"two"), Redirect(1, "n2", "host:1")]
        assert connection.monitor.changes() == [Change.CONNECTED]
    assert secure.counters.requests_received == 2
    assert secure.counters.answers_sent == 2
    assert secure.counters.keys_admitted == 1


def test_without_keys_everyone_is_anonymous(plain: Node) -> None:
    with client_of(plain, None) as connection:
        connection.send([Transfer(1)])
        until(lambda: plain.batches, plain)
        assert plain.batches[0][1:] == (keys.ANONYMOUS, [Transfer(1)])


def test_a_large_number_of_requests_is_split_into_batches(plain: Node) -> None:
    requests = [Status(number) for number in range(CLIENT_BATCH_MAX + 10)]
    with client_of(plain, None) as connection:
        assert connection.send(requests)
        until(lambda: sum(len(batch[2]) for batch in plain.batches) == len(requests), plain)
        assert [request for batch in plain.batches for request in batch[2]] == requests
        assert len(plain.batches) == 2
        plain.port.send(plain.batches[0][0], [Done(request.request_id, b"") for request in requests])
        assert len(answers_of(plain, connection, len(requests))) == len(requests)


def test_large_answers_go_in_several_messages(plain: Node) -> None:
    """Together they would be beyond the frame that the client takes, and end its connection."""
    answers = [Done(number, bytes(900_000)) for number in range(30)]
    with client_of(plain, None) as connection:
        connection.send([Status(1)])
        until(lambda: plain.batches, plain)
        plain.port.send(plain.batches[0][0], answers)
        assert answers_of(plain, connection, 30) == answers
        assert connection.monitor.changes() == [Change.CONNECTED]


def test_an_answer_to_a_client_that_left_is_dropped_and_counted(plain: Node) -> None:
    with client_of(plain, None) as connection:
        connection.send([Status(1)])
        until(lambda: plain.batches, plain)
    routing_id = plain.batches[0][0]

    def dropped() -> int:
        plain.port.send(routing_id, [Done(1, b"")])
        return plain.counters.answers_dropped

    until(dropped, plain)
    plain.port.send(b"\x00never", [Done(1, b"")])
    assert plain.counters.answers_dropped == 2


def test_a_client_that_does_not_read_never_blocks_the_node(plain: Node) -> None:
    with client_of(plain, None) as connection:
        connection.send([Status(1)])
        until(lambda: plain.batches, plain)
        answer = [Done(1, bytes(50_000))]
        begun_s = time.monotonic()
        while not plain.counters.answers_dropped:
            plain.port.send(plain.batches[0][0], answer)
            assert time.monotonic() - begun_s < 20
        assert plain.counters.answers_sent >= sockets.QUEUED_MESSAGES_MAX


def test_a_restarted_node_is_reached_by_the_same_connection(keys_dir: Path) -> None:
    first = Node("n1", keys_dir)
    with client_of(first, keys.load_client_keys(keys_dir, "app")) as connection:
        until(lambda: connection.monitor.changes() == [Change.CONNECTED], first)
        first.close()
        deadline_s = time.monotonic() + 20
        while Change.LOST not in connection.monitor.changes():
            assert time.monotonic() < deadline_s
            connection.monitor.socket.poll(10)
        again = Node("n1", keys_dir, client_port=first.settings.client_port)
        connection.send([Read(3, b"")])
        until(lambda: again.batches, again)
        assert again.batches[0][2] == [Read(3, b"")]
        again.close()


def test_what_takes_long_to_arrive_does_not_cost_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """libzmq hears no sign of life before a frame is there as a whole"""
    shorten_patience(monkeypatch)
    node = Node("n1", None, frame_bytes_max=sockets.FRAME_BYTES_MAX)
    large = bytes(1_000_000)
    with slow_link(node.settings.client_port) as link, client_of(node, None, address=link.address) as connection:
        connection.send([Write(1, large)])
        until(lambda: node.batches, node)
        node.port.send(node.batches[0][0], [Done(1, large)])
        assert answers_of(node, connection, 1) == [Done(1, large)]
    node.close()
    assert link.connections == 1


# Roles

READS = [Read(1, b""), Status(2), LogRange(3, 1)]
ADMINISTRATION = [Transfer(5), InjectFault(6, "drop"), ChangeMembers(7, remove=("n1",)), TakeSnapshot(8)]


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("viewer", READS, [Write(4, b""), *ADMINISTRATION]),
        ("app", [*READS, Write(4, b"")], ADMINISTRATION),
        ("root", [*READS, Write(4, b""), *ADMINISTRATION], []),
    ],
)
def test_a_role_allows_what_it_says(
    name: str, allowed: list[object], refused: list[object], secure: Node, keys_dir: Path
) -> None:
    with client_of(secure, keys.load_client_keys(keys_dir, name)) as connection:
        connection.send([*refused, *allowed])
        until(lambda: secure.batches, secure)
        assert secure.batches[0][2] == allowed
        answers = answers_of(secure, connection, len(refused))
    assert [(answer.request_id, answer.kind) for answer in answers] == [(r.request_id, "not_allowed") for r in refused]
    assert secure.counters.requests_refused == ({"not_allowed": len(refused)} if refused else {})


# Keys


def test_a_key_that_is_not_known_is_refused_and_told_so(secure: Node, keys_dir: Path) -> None:
    known = keys.load_client_keys(keys_dir, "app")
    public, secret = zmq.curve_keypair()
    changes: list[Change] = []
    with client_of(secure, keys.ClientKeys(known.server_public, keys.KeyPair(public, secret))) as connection:
        connection.send([Status(1)])
        until(lambda: changes.extend(connection.monitor.changes()) or changes, secure)
        assert changes == [Change.REFUSED]
        assert connection.monitor.given_up
    assert not secure.batches
    assert secure.counters.keys_refused == {"unknown_key": 1}


def test_a_peers_key_is_refused_at_the_client_port(secure: Node, keys_dir: Path) -> None:
    known = keys.load_client_keys(keys_dir, "app")
    peer = keys.load_node_keys(keys_dir, "n2").own
    with client_of(secure, keys.ClientKeys(known.server_public, peer)) as connection:
        until(lambda: connection.monitor.changes() == [Change.REFUSED], secure)


def test_a_client_that_expects_another_server_key_sends_nothing(secure: Node, keys_dir: Path) -> None:
    other, _ = zmq.curve_keypair()
    with client_of(secure, keys.ClientKeys(other, keys.load_client_keys(keys_dir, "app").own)) as connection:
        connection.send([Status(1)])
        waited_at_s = time.monotonic() + 0.3
        until(lambda: time.monotonic() > waited_at_s, secure)
        assert not connection.monitor.connected
    assert not secure.batches
    assert secure.counters.keys_admitted == 0


def test_a_key_taken_off_the_list_loses_its_live_connection(secure: Node, keys_dir: Path, tmp_path: Path) -> None:
    with client_of(secure, keys.load_client_keys(keys_dir, "app")) as connection:
        connection.send([Status(1)])
        until(lambda: secure.batches, secure)
        keys.generate(tmp_path, ["n1"], {})
        secure.ring.current = keys.load_node_keys(tmp_path, "n1")
        connection.send([Status(2)])
        (answer,) = answers_of(secure, connection, 1)
    assert (answer.request_id, answer.kind) == (0, "not_allowed")
    assert len(secure.batches) == 1


# Bad bytes


@pytest.mark.parametrize(
    ("header", "reason"),
    [(ClientHeader(1, "other"), "cluster_id"), (ClientHeader(2, "raft"), "protocol_version")],
)
def test_a_client_of_another_cluster_or_version_is_told_so(
    header: ClientHeader, reason: str, plain: Node, stranger: zmq.Socket[bytes]
) -> None:
    stranger.send_multipart([codec.encode_client_header(header), codec.encode_requests([Status(1)])])
    (answer,) = raw_answers(plain, stranger, 1)
    assert isinstance(answer, Refused)
    assert (answer.request_id, answer.kind) == (0, "invalid")
    assert "expected" in answer.message
    assert "found" in answer.message
    assert plain.counters.requests_refused == {reason: 1}
    assert not plain.batches


def test_a_longer_header_of_a_newer_client_is_read(plain: Node, stranger: zmq.Socket[bytes]) -> None:
    longer = codec.encode_client_header(ClientHeader(1, "raft")).replace(b"\x92", b"\x93", 1) + b"\xc0"
    stranger.send_multipart([longer, codec.encode_requests([Status(1)])])
    until(lambda: plain.batches, plain)


@pytest.mark.parametrize("frames", [[HEADER], [HEADER, codec.encode_requests([Status(1)]), b""]])
def test_a_message_with_too_few_or_too_many_frames_is_refused(
    frames: list[bytes], plain: Node, stranger: zmq.Socket[bytes]
) -> None:
    stranger.send_multipart(frames)
    (answer,) = raw_answers(plain, stranger, 1)
    assert answer.request_id == 0
    assert plain.counters.requests_refused == {"frames": 1}


def test_the_good_requests_of_a_batch_outlive_the_bad(plain: Node, stranger: zmq.Socket[bytes]) -> None:
    good = [codec.encode_requests([request])[1:] for request in (Read(1, b"q"), Status(5))]
    unknown = b"\x92\xa8Surprise\x07"
    wrong_type = b"\x93\xa4Read\x08\xa1q"  # a string where bytes belong
    no_id = b"\x92\xa6Status\xa1x"
    stranger.send_multipart([HEADER, b"\x95" + good[0] + unknown + wrong_type + no_id + good[1]])
    answers = raw_answers(plain, stranger, 3)
    assert [(answer.request_id, answer.kind) for answer in answers] == [(7, "invalid"), (8, "invalid"), (0, "invalid")]
    assert "Surprise" in answers[0].message
    assert plain.batches[0][2] == [Read(1, b"q"), Status(5)]
    assert plain.counters.requests_refused == {"bad_request": 3}


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x91" * 50_000, b"\xff" * 1000, b"\x80"])
def test_garbage_behind_a_good_header_is_answered(body: bytes, plain: Node, stranger: zmq.Socket[bytes]) -> None:
    stranger.send_multipart([HEADER, body])
    (answer,) = raw_answers(plain, stranger, 1)
    assert (answer.request_id, answer.kind) == (0, "invalid")
    assert not plain.batches


def test_garbage_instead_of_a_header_is_dropped_and_counted(plain: Node, stranger: zmq.Socket[bytes]) -> None:
    for frames in ([b""], [b"\xc1", b""], [bytes(5000)], [b"x"] * 7):
        stranger.send_multipart(frames)
    stranger.send_multipart([HEADER, codec.encode_requests([Status(1)])])
    until(lambda: plain.batches, plain)
    assert plain.counters.requests_refused == {"bad_header": 4}
    assert not stranger.poll(0)


def test_a_message_of_many_frames_holds_up_nobody(plain: Node, stranger: zmq.Socket[bytes]) -> None:
    stranger.send(HEADER, zmq.SNDMORE)
    for _ in range(50_000):
        stranger.send(b"", zmq.SNDMORE)
    stranger.send(b"")
    with client_of(plain, None) as other:
        other.send([Status(1)])
        until(lambda: plain.batches, plain)
    assert raw_answers(plain, stranger, 1)
    assert plain.counters.requests_refused == {"frames": 1}


def test_an_answer_the_client_cannot_read_is_counted_there(plain: Node) -> None:
    with client_of(plain, None) as connection:
        connection.send([Status(1)])
        until(lambda: plain.batches, plain)
        routing_id = plain.batches[0][0]
        plain.port.socket.send_multipart([routing_id, HEADER, b"\x91\x92\xa8Surprise\x07"])
        plain.port.send(routing_id, [Done(1, b"")])
        assert answers_of(plain, connection, 1) == [Done(1, b"")]
        assert connection.unreadable_answers == 1


@pytest.mark.parametrize("address", ["", "host", "host:port", "host:70000", ":7000"])
def test_an_address_that_is_none_is_named(address: str) -> None:
    context = zmq.Context()
    with pytest.raises(SettingsError, match=r"^address: expected host:port, found"):
        ClientConnection(address, None, "raft", context=context)
    context.term()


def test_requests_to_a_node_that_is_not_there_never_block() -> None:
    context = zmq.Context()
    connection = ClientConnection(f"127.0.0.1:{free_port()}", None, "raft", context=context)
    sent = 0
    while connection.send([Status(1)]):
        sent += 1
        assert sent <= sockets.QUEUED_MESSAGES_MAX
    assert connection.receive() == []
    connection.close()
    context.term()


def answer_to(node: Node, body: bytes) -> object:
    """What the node says to that as its requests."""
    dealer = sockets.new_socket(node.context, zmq.DEALER, 1 << 26)
    sockets.connect(dealer, node.member.client_address)
    dealer.send_multipart([HEADER, body])
    (answer,) = raw_answers(node, dealer, 1)
    dealer.close()
    return answer


@pytest.mark.parametrize("bad", [b"\xc1", b"\x92\xa8Surprise\x07"])
def test_a_large_message_with_a_bad_request_is_refused_as_a_whole(bad: bytes, roomy: Node) -> None:
    good = codec.encode_requests([Write(1, bytes(2 << 20))])[1:]
    answer = answer_to(roomy, b"\x92" + good + bad)
    assert (answer.request_id, answer.kind) == (0, "invalid")
    assert not roomy.batches


def test_names_without_end_are_not_even_read(roomy: Node) -> None:
    """Millions of members fit into a frame, and take a second and a gigabyte to decode."""
    number = 5_000_000
    members = b"\xdd" + number.to_bytes(4, "big") + b"\x91\xa1x" * number
    begun_s = time.thread_time()
    answer = answer_to(roomy, b"\x91\x93\xadChangeMembers\x01" + members)
    assert (answer.request_id, answer.kind) == (0, "invalid")
    assert time.thread_time() - begun_s < 0.5
