"""Messages between nodes, over real sockets on loopback."""

import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from raft_zmq.core.errors import SettingsError
from raft_zmq.core.membership import Member
from raft_zmq.core.messages import AppendEntries, Entry, EntryKind, TimeoutNow
from raft_zmq.settings import Settings
from raft_zmq.transport import keys, sockets, tcp
from raft_zmq.transport.clients import ClientPort
from raft_zmq.transport.counters import TransportCounters
from raft_zmq.transport.guard import Guard
from raft_zmq.transport.peers import PeerTransport
from raft_zmq.transport.refusals import Refusals
from raft_zmq.wire import codec
from raft_zmq.wire.frames import PEER_MESSAGES_MAX, PeerHeader
from tests.unit import zmtp
from tests.unit.transport_world import Node, connect_all, free_port, reply, shorten_patience, slow_link, until

NewNode = Callable[..., Node]


@pytest.fixture(scope="module")
def keys_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    keys.generate(folder, ["n1", "n2", "n3"], {"admin": keys.Role.ADMIN})
    return folder


@pytest.fixture
def new_node() -> Iterator[NewNode]:
    nodes: list[Node] = []

    def make(*args: object, **options: object) -> Node:
        nodes.append(Node(*args, **options))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


def stranger(node: Node, **options: object) -> zmq.Socket[bytes]:
    """A raw DEALER at the peer port; `curve` is (own pair, server's public key)."""
    curve = options.pop("curve", None)
    dealer = sockets.new_socket(node.context, zmq.DEALER, 1 << 26)
    if curve:
        sockets.use_curve(dealer, *curve)
    sockets.connect(dealer, node.member.peer_address)
    return dealer


def header(sender: str = "n2", cluster_id: str = "raft", version: int = 1) -> bytes:
    return codec.encode_peer_header(PeerHeader(version, cluster_id, sender, "x"))


@pytest.mark.parametrize("auth", ["curve", "none"])
def test_messages_arrive_in_order_with_sender_and_incarnation(auth: str, keys_dir: Path, new_node: NewNode) -> None:
    n1, n2, n3 = (new_node(name, keys_dir if auth == "curve" else None) for name in ("n1", "n2", "n3"))
    connect_all(n1, n2, n3)
    n1.transport.send("n2", [reply(1), reply(2)])
    n1.transport.send("n2", [reply(3)])
    n3.transport.send("n2", [reply(4)])
    until(lambda: len(n2.received) == 4, n1, n2, n3)
    assert [d for d in n2.received if d[0] == "n1"] == [("n1", "incarnation-n1", reply(n)) for n in (1, 2, 3)]
    assert ("n3", "incarnation-n3", reply(4)) in n2.received
    assert n1.counters.peer_messages_sent == 3
    assert n2.counters.peer_messages_received == 4
    assert not n2.refused


def options_of_connections(port: int, end: Callable[[socket.socket], tuple[str, int]]) -> set[tuple[int, ...]]:
    """How long the kernel waits for whom at this process's connections that have that port at the given end."""
    waits = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT)
    found = set()
    for file in Path("/proc/self/fd").iterdir():
        handle = tcp.duplicate(int(file.name))
        if handle is None:
            continue
        with handle:
            if tcp.remote_host(handle) and end(handle)[1] == port:
                is_kept = handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                found.add((is_kept, *(handle.getsockopt(socket.IPPROTO_TCP, wait) for wait in waits)))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its open files and has these options")
def test_the_kernel_watches_for_peers_that_go_silent(new_node: NewNode) -> None:
    n1, n2 = new_node("n1", None), new_node("n2", None)
    connect_all(n1, n2)
    port = n1.settings.peer_port
    assert options_of_connections(port, socket.socket.getsockname) == {(1, 2, 1, 5_000)}
    assert {user_timeout for *_, user_timeout in options_of_connections(port, socket.socket.getpeername)} == {5_000}
    assert n1.transport.socket.get(zmq.HEARTBEAT_IVL) == 0, "libzmq's thread is not woken for that"


def test_more_messages_than_one_zeromq_message_may_hold_are_split(new_node: NewNode) -> None:
    n1, n2 = new_node("n1", None), new_node("n2", None)
    connect_all(n1, n2)
    count = 2 * PEER_MESSAGES_MAX + 1
    n1.transport.send("n2", [reply(n) for n in range(count)])
    until(lambda: len(n2.received) == count, n2)
    assert n2.numbers() == list(range(count))


def test_large_entries_arrive_whole(keys_dir: Path, new_node: NewNode) -> None:
    n1, n2 = new_node("n1", keys_dir), new_node("n2", keys_dir)
    connect_all(n1, n2)
    entries = tuple(Entry(i, 1, EntryKind.COMMAND, bytes([i]) * 200_000) for i in (1, 2, 3))
    append = AppendEntries(term=1, prev_log_index=0, prev_log_term=0, entries=entries, leader_commit=0, read_token=0)
    n1.transport.send("n2", [append])
    until(lambda: n2.received, n1, n2)
    assert n2.received[0][2] == append


def test_what_takes_long_to_arrive_does_not_cost_the_connection(
    new_node: NewNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libzmq hears no sign of life before a frame is there as a whole"""
    shorten_patience(monkeypatch)
    n1, n2 = (new_node(name, None, frame_bytes_max=sockets.FRAME_BYTES_MAX) for name in ("n1", "n2"))
    entries = (Entry(1, 1, EntryKind.COMMAND, bytes(1_000_000)),)
    append = AppendEntries(term=1, prev_log_index=0, prev_log_term=0, entries=entries, leader_commit=0, read_token=0)
    with slow_link(n2.settings.peer_port) as link:
        n1.transport.set_members([n1.member, Member("n2", link.address, n2.member.client_address)])
        until(lambda: n1.connected_to("n2"), n1, n2)
        n1.transport.send("n2", [append])
        until(lambda: n2.received, n1, n2)
        assert link.connections == 1


def test_a_large_message_to_several_peers_arrives_whole_at_each(keys_dir: Path, new_node: NewNode) -> None:
    nodes = [new_node(name, keys_dir) for name in ("n1", "n2", "n3")]
    connect_all(*nodes)
    data = bytes(range(256)) * 2000
    entries = (Entry(1, 1, EntryKind.COMMAND, data),)
    append = AppendEntries(term=1, prev_log_index=0, prev_log_term=0, entries=entries, leader_commit=0, read_token=0)
    nodes[0].transport.send_all(["n2", "n3"], [append, reply(1)])
    until(lambda: all(len(node.received) == 2 for node in nodes[1:]), *nodes)
    for node in nodes[1:]:
        heard, after = (message for _, _, message in node.received)
        assert isinstance(heard, AppendEntries)
        assert [(entry.index, bytes(entry.data)) for entry in heard.entries] == [(1, data)]
        assert after == reply(1)


@pytest.mark.interpreted
def test_what_goes_to_several_peers_is_encoded_once(new_node: NewNode, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [new_node(name, None) for name in ("n1", "n2", "n3")]
    connect_all(*nodes)
    encoded: list[object] = []
    encode = codec.encode_peer
    monkeypatch.setattr(codec, "encode_peer", lambda messages: encoded.extend(messages) or encode(messages))
    messages = [reply(1), reply(2)]
    nodes[0].transport.send_all(["n2", "n3"], messages)
    until(lambda: all(len(node.received) == 2 for node in nodes[1:]), *nodes)
    assert encoded == messages
    assert [[heard[2] for heard in node.received] for node in nodes[1:]] == [messages] * 2


def test_a_peer_that_is_not_there_never_blocks_send(new_node: NewNode) -> None:
    n1 = new_node("n1", None)
    n1.transport.set_members([Member("n2", f"127.0.0.1:{free_port()}")])
    begun_s = time.monotonic()
    for _ in range(2_000):
        n1.transport.send("n2", [reply(1)])
        n1.transport.send("n9", [reply(1)])
    assert time.monotonic() - begun_s < 5
    assert n1.counters.peer_messages_dropped == 4_000
    assert n1.counters.peer_messages_sent == 0


def test_a_peer_that_does_not_read_never_blocks_send(new_node: NewNode) -> None:
    n1, n2 = new_node("n1", None), new_node("n2", None)
    connect_all(n1, n2)
    append = AppendEntries(
        term=1,
        prev_log_index=0,
        prev_log_term=0,
        entries=(Entry(1, 1, EntryKind.COMMAND, bytes(50_000)),),
        leader_commit=0,
        read_token=0,
    )
    for _ in range(4 * sockets.QUEUED_MESSAGES_MAX):
        n1.transport.send("n2", [append])
    assert n1.counters.peer_messages_dropped > 0
    assert n1.counters.peer_messages_sent >= sockets.QUEUED_MESSAGES_MAX
    sent = n1.counters.peer_messages_sent
    until(lambda: len(n2.received) == sent, n2)


@pytest.mark.parametrize("auth", ["curve", "none"])
def test_a_restarted_peer_is_found_again_at_once(auth: str, keys_dir: Path, new_node: NewNode) -> None:
    folder = keys_dir if auth == "curve" else None
    n1, n2 = new_node("n1", folder), new_node("n2", folder)
    connect_all(n1, n2)
    n2.close()
    until(lambda: not n1.connected_to("n2"), n1)
    until(lambda: n1.transport.send("n2", [reply(0)]) or n1.counters.peer_messages_dropped, n1)
    again = new_node("n2", folder, peer_port=n2.settings.peer_port)
    begun_s = time.monotonic()
    until(lambda: n1.connected_to("n2"), n1, again)
    assert time.monotonic() - begun_s < 2, "reconnecting takes 100 ms at most, plus what a loaded machine adds"
    n1.transport.send("n2", [reply(7)])
    until(lambda: again.received, n1, again)
    assert again.numbers() == [7], "messages from before the restart are not delivered late"
    assert n1.connections == [("n2", True), ("n2", False), ("n2", True)]


def test_a_member_that_moved_is_reached_at_its_new_address(new_node: NewNode) -> None:
    n1, n2 = new_node("n1", None), new_node("n2", None)
    connect_all(n1, n2)
    n2.close()
    moved = new_node("n2", None)
    n1.transport.set_members([n1.member, moved.member])
    until(lambda: n1.connected_to("n2"), n1, moved)
    n1.transport.send("n2", [reply(5)])
    until(lambda: moved.numbers() == [5], n1, moved)


def test_a_member_that_left_is_not_sent_to(new_node: NewNode) -> None:
    n1, n2 = new_node("n1", None), new_node("n2", None)
    connect_all(n1, n2)
    n1.transport.set_members([n1.member])
    assert n1.connections == [("n2", True), ("n2", False)]
    n1.transport.send("n2", [reply(5)])
    assert n1.counters.peer_messages_dropped == 1


def test_a_sender_that_is_no_member_here_is_answered_where_it_says(keys_dir: Path, new_node: NewNode) -> None:
    n1, n2 = new_node("n1", keys_dir), new_node("n2", keys_dir)
    n1.transport.set_members([n1.member, n2.member])
    until(lambda: n1.connected_to("n2"), n1, n2)
    n1.transport.send("n2", [reply(1)])
    until(lambda: n2.connected_to("n1"), n1, n2)
    n2.transport.send("n1", [reply(2)])
    until(lambda: n1.numbers() == [2], n1, n2)


def test_a_sender_that_names_no_address_is_heard_all_the_same(new_node: NewNode) -> None:
    n1, n2 = new_node("n1", None), new_node("n2", None)
    n1.transport.set_members([n2.member])
    until(lambda: n1.connected_to("n2"), n1, n2)
    n1.transport.send("n2", [reply(1)])
    until(lambda: n2.numbers() == [1], n1, n2)
    n2.transport.send("n1", [reply(2)])
    assert n2.counters.peer_messages_dropped == 1


def test_a_host_name_is_looked_up(new_node: NewNode) -> None:
    n1, n2 = new_node("n1", None), new_node("n2", None)
    n1.transport.set_members([Member("n2", f"localhost:{n2.settings.peer_port}")])
    until(lambda: n1.connected_to("n2"), n1, n2)


def test_port_in_use_names_the_setting_and_the_port(new_node: NewNode) -> None:
    n1 = new_node("n1", None)
    context = sockets.new_context()
    guard = Guard(context, n1.settings, n1.counters)
    with pytest.raises(SettingsError, match=rf"^peer_port: expected a free port, found {n1.settings.peer_port} in use"):
        PeerTransport(
            context,
            n1.settings,
            "x",
            None,
            n1.counters,
            guard,
            n1.refusals,
            on_connection=lambda *_: None,
        )
    with pytest.raises(SettingsError, match=rf"^client_port: expected a free port, found {n1.settings.client_port} in"):
        ClientPort(context, n1.settings, None, n1.counters, guard, n1.refusals)
    guard.close()
    context.term()  # returns only when nothing is left open


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    context = sockets.new_context()
    settings = Settings(node_id="n1", bind_host="192.0.2.1", auth="none")
    guard = Guard(context, settings, TransportCounters())
    with pytest.raises(
        SettingsError, match=r"^bind_host: expected an address of this machine or \*, found '192.0.2.1'"
    ):
        ClientPort(context, settings, None, TransportCounters(), guard, Refusals(lambda _: None, 1))
    guard.close()
    context.term()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (header(cluster_id="other"), "cluster_id"),
        (header(version=2), "protocol_version"),
        (header(sender="n1"), "own_node_id"),
    ],
)
def test_messages_not_for_this_cluster_are_dropped_counted_and_reported_once(
    frame: bytes, reason: str, new_node: NewNode
) -> None:
    n1 = new_node("n1", None)
    dealer = stranger(n1)
    for _ in range(3):
        dealer.send_multipart([frame, *codec.encode_peer([reply(1)])])
    dealer.send_multipart([header(), *codec.encode_peer([reply(2)])])
    until(lambda: n1.received, n1)
    dealer.close()
    assert n1.numbers() == [2]
    assert n1.counters.peer_messages_refused == {reason: 3}
    assert [why for _, why in n1.refused] == [reason]


def test_garbage_is_dropped_and_the_good_around_it_arrives(new_node: NewNode) -> None:
    n1 = new_node("n1", None)
    dealer = stranger(n1)
    deep = b"\x92\xaaTimeoutNow" + b"\x91" * 100_000
    unknown = b"\x92\xa8Surprise\x01"
    for frames in ([b""], [b"\xff" * 50], [deep], [header()], [header(), b"", deep, unknown, b"\xc1"]):
        dealer.send_multipart(frames)
    dealer.send_multipart(
        [header(), unknown, *codec.encode_peer([reply(1), TimeoutNow(term=3)]), b"\xdd\xff\xff\xff\xff"]
    )
    until(lambda: len(n1.received) == 2, n1)
    dealer.close()
    assert [message for _, _, message in n1.received] == [reply(1), TimeoutNow(term=3)]
    assert n1.counters.peer_messages_refused == {"bad_header": 3, "bad_message": 6}


def test_a_claimed_user_id_that_is_no_text_ends_nothing(new_node: NewNode) -> None:
    """only without CURVE, which says itself whose key it is"""
    n1 = new_node("n1", None)
    with zmtp.connect(n1.member.peer_address, user_id=b"\xff\xfe") as connection:
        (message,) = codec.encode_peer([reply(1)])
        connection.sendall(zmtp.frame(header(), more=True) + zmtp.frame(message))
        until(lambda: n1.received, n1)
    assert n1.numbers() == [1]


def test_an_unknown_kind_of_message_is_reported_by_its_name(new_node: NewNode) -> None:
    n1 = new_node("n1", None)
    dealer = stranger(n1)
    dealer.send_multipart([header(), b"\x92\xa8Surprise\x01"])
    until(lambda: n1.refused, n1)
    dealer.close()
    peer, reason = n1.refused[0]
    assert peer == "n2"
    assert reason.startswith("bad_message: ")
    assert "Surprise" in reason


def test_a_message_of_many_frames_is_skipped_without_stopping_the_loop(new_node: NewNode) -> None:
    n1 = new_node("n1", None)
    dealer = stranger(n1)
    dealer.send(header(), zmq.SNDMORE)
    frame = codec.encode_peer([reply(1)])[0]
    for _ in range(50_000):
        dealer.send(frame, zmq.SNDMORE)
    dealer.send(frame)
    dealer.send_multipart([header(), *codec.encode_peer([reply(2)])])
    turns = 0
    while not n1.received:
        n1.turn()
        turns += 1
        assert turns < 1_000_000
    dealer.close()
    assert n1.numbers() == [2], "nothing of the long message counts"
    assert n1.counters.peer_messages_refused == {"too_many_frames": 1}
    assert turns > 5, "one turn of the loop does not read it all"


def test_a_frame_beyond_the_limit_ends_that_connection_alone(new_node: NewNode) -> None:
    n1 = new_node("n1", None, frame_bytes_max=10_000)
    good, bad = stranger(n1), stranger(n1)
    bad.send_multipart([header("n3"), bytes(10_001)])
    good.send_multipart([header(), *codec.encode_peer([reply(1)])])
    until(lambda: n1.received, n1)
    assert n1.numbers() == [1]
    good.close()
    bad.close()


# Keys


def test_a_key_that_is_not_known_is_refused_and_told_so(keys_dir: Path, new_node: NewNode, tmp_path: Path) -> None:
    keys.generate(tmp_path, ["n1", "n2"], {})
    for name in ("service.public", "service.secret", "peer.n1.public"):
        (tmp_path / name).write_bytes((keys_dir / name).read_bytes())
    n1, intruder = new_node("n1", keys_dir), new_node("n2", tmp_path)
    intruder.transport.set_members([n1.member])
    until(lambda: intruder.refused, n1, intruder)
    assert intruder.refused == [("n1", "refused_by_peer")]
    intruder.transport.send("n1", [reply(1)])
    assert intruder.counters.peer_messages_dropped == 1
    assert n1.counters.keys_refused == {"unknown_key": 1}
    assert n1.counters.keys_admitted == 0


def test_a_refused_peer_gets_in_once_its_key_is_known(keys_dir: Path, new_node: NewNode, tmp_path: Path) -> None:
    keys.generate(tmp_path, ["n1", "n2"], {})
    for name in ("peer.n1.public", "peer.n1.secret"):
        (tmp_path / name).write_bytes((keys_dir / name).read_bytes())
    n1, n2 = new_node("n1", keys_dir), new_node("n2", tmp_path)
    n2.transport.set_members([n1.member])
    until(lambda: n2.refused, n1, n2)
    n1.ring.current = keys.load_node_keys(tmp_path, "n1")
    until(lambda: n2.connected_to("n1"), n1, n2)


def test_a_key_taken_off_the_ring_loses_its_live_connection(keys_dir: Path, new_node: NewNode, tmp_path: Path) -> None:
    n1, n2 = new_node("n1", keys_dir), new_node("n2", keys_dir)
    connect_all(n1, n2)
    n2.transport.send("n1", [reply(0)])
    until(lambda: n1.received, n1, n2)
    keys.generate(tmp_path, ["n1", "n2"], {})
    n1.ring.current = keys.load_node_keys(tmp_path, "n1")
    n2.transport.send("n1", [reply(1)])
    until(lambda: n1.refused, n1, n2)
    assert n1.numbers() == [0]
    assert n1.counters.peer_messages_refused == {"revoked_key": 1}
    until(lambda: not n2.connected_to("n1"), n1, n2)
    assert n1.counters.connections_cut["revoked_key"] == 1


def test_a_clients_key_is_refused_at_the_peer_port(keys_dir: Path, new_node: NewNode) -> None:
    n1 = new_node("n1", keys_dir)
    admin = keys.load_client_keys(keys_dir, "admin").own
    dealer = stranger(n1, curve=(admin, n1.ring.current.own.public))
    dealer.send_multipart([header(), *codec.encode_peer([reply(1)])])
    until(lambda: n1.counters.keys_refused, n1)
    dealer.close()
    assert n1.counters.keys_refused == {"unknown_key": 1}
    assert not n1.received


def test_a_peers_key_under_another_node_id_is_dropped(keys_dir: Path, new_node: NewNode) -> None:
    n1 = new_node("n1", keys_dir)
    n3 = keys.load_node_keys(keys_dir, "n3").own
    dealer = stranger(n1, curve=(n3, n1.ring.current.own.public))
    dealer.send_multipart([header("n2"), *codec.encode_peer([reply(1)])])
    dealer.send_multipart([header("n3"), *codec.encode_peer([reply(2)])])
    until(lambda: n1.received, n1)
    dealer.close()
    assert n1.numbers() == [2]
    assert n1.refused == [("n3", "sender_is_not_key_owner")], "reported under the name the key proves"


def test_a_peer_without_encryption_gets_nowhere(keys_dir: Path, new_node: NewNode) -> None:
    n1, good = new_node("n1", keys_dir), new_node("n2", keys_dir)
    plain = stranger(n1)
    plain.send_multipart([header(), *codec.encode_peer([reply(1)])])
    connect_all(n1, good)
    good.transport.send("n1", [reply(2)])
    until(lambda: n1.received, n1, good)
    plain.close()
    assert n1.numbers() == [2]


def test_a_node_with_the_wrong_server_key_is_not_spoken_to(keys_dir: Path, new_node: NewNode, tmp_path: Path) -> None:
    """Whoever took n1's address without its secret key learns nothing, as n2 expects n1's own key there."""
    keys.generate(tmp_path, ["n1", "n2"], {})
    impostor, n2 = new_node("n1", tmp_path), new_node("n2", keys_dir)
    n2.transport.set_members([impostor.member])
    retried_at_s = time.monotonic() + 0.5
    until(lambda: time.monotonic() > retried_at_s, impostor, n2)
    n2.transport.send("n1", [reply(1)])
    assert n2.counters.peer_messages_dropped == 1
    assert not n2.connections
    assert impostor.counters.keys_admitted == 0


def test_a_member_without_a_public_key_is_reported(keys_dir: Path, new_node: NewNode) -> None:
    n1 = new_node("n1", keys_dir)
    n1.transport.set_members([Member("n9", "127.0.0.1:1")])
    assert n1.refused == [("n9", "no_public_key")]


@pytest.mark.parametrize("address", ["nowhere", "host:0", "host:x"])
def test_a_member_with_an_unusable_address_is_reported_and_does_no_harm(address: str, new_node: NewNode) -> None:
    n1, n2 = new_node("n1", None), new_node("n2", None)
    n1.transport.set_members([Member("n9", address), n2.member])
    until(lambda: n1.connected_to("n2"), n1, n2)
    assert [(peer, reason.split(":")[0]) for peer, reason in n1.refused] == [("n9", "bad_address")]
