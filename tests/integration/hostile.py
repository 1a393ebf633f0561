"""Programs that mean no good, for a cluster that a test has started on loopback.

`python -m tests.integration.hostile knock|garbage KEYS STRANGE_KEYS NODE CLIENT_ADDRESS PEER_ADDRESS` does so for as
many seconds as each line of its input says, and prints how often it did what. KEYS has the keys that a thief might
have, STRANGE_KEYS those of another cluster. `listen` is the ports of a node without the node, for comparison.
"""

import contextlib
import itertools
import json
import os
import random
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from raft_zmq.core.messages import VoteRequest
from raft_zmq.transport import key_files, keys, sockets
from raft_zmq.transport.key_files import KeyPair
from raft_zmq.wire import codec
from raft_zmq.wire.client_messages import LogRange, Read, Status, Transfer, Write
from raft_zmq.wire.commands import OpenSession, Put, Scan, SessionCommand
from raft_zmq.wire.frames import CLIENT_BATCH_MAX, ClientHeader, PeerHeader
from tests.unit import transport_world, zmtp

CLUSTER_ID = "local"
KNOCKS_PER_S = 1000
OPEN_MAX = 64  # a knock is over when so many have followed
HIGH_TERM = 1_000_000

HEADER = codec.encode_client_header(ClientHeader(1, CLUSTER_ID))
encode = msgspec.msgpack.encode


class Knocker:
    """Tries to get in, in every way that must not work. `try_all` is one try of each."""

    def __init__(self, own: Path, strange: Path, node_id: str, client_address: str, peer_address: str) -> None:
        self.context = zmq.Context()
        self._open: deque[zmq.Socket[bytes] | socket.socket] = deque()
        self._client_address = client_address
        self._peer_address = peer_address
        self._service = key_files.read_key(own / "service.public")
        self._node = key_files.public_keys(own, f"peer.{node_id}")[0]
        self._revoked = key_files.read_pair(strange, "client.revoked")
        self._unknown = key_files.new_pair()
        self._admin = key_files.read_pair(own, "client.app")
        self._n3 = key_files.read_pair(own, "peer.n3")
        self.tries: dict[str, Callable[[], None]] = {
            "without a key": lambda: self._raw(client_address, zmtp.GREETING),
            "without a key at the peer port": lambda: self._raw(peer_address, zmtp.GREETING),
            "with a wrong key": lambda: self._ask(self._unknown, self._service),
            "with a wrong server key": lambda: self._raw(client_address, zmtp.CURVE_GREETING + zmtp.hello()),
            "with a revoked key": lambda: self._ask(self._revoked, self._service),
            "with a node's key at the client port": lambda: self._ask(self._n3, self._service),
            "with a client's key at the peer port": lambda: self._vote(self._admin, "n2"),
            "with a peer's key under another node id": lambda: self._vote(self._n3, "n2"),
        }

    def _raw(self, address: str, said: bytes) -> None:
        host, _, port = address.rpartition(":")
        stranger = socket.create_connection((host, int(port)), timeout=5)
        stranger.sendall(said)
        self._keep(stranger)

    def _ask(self, own: KeyPair, server_public: bytes) -> None:
        stolen = SessionCommand(1, 1, 0, encode(Put(b"stolen", b"by a stranger")))
        requests = [Write(1, encode(OpenSession(b"stranger"))), Write(2, encode(stolen)), Transfer(3), Status(4)]
        self._dealer(self._client_address, own, server_public, [HEADER, codec.encode_requests(requests)])

    def _vote(self, own: KeyPair, sender: str) -> None:
        request = VoteRequest(
            term=HIGH_TERM, last_log_index=HIGH_TERM, last_log_term=HIGH_TERM, pre_vote=False, transfer=True
        )
        header = codec.encode_peer_header(PeerHeader(1, CLUSTER_ID, sender, "x"))
        self._dealer(self._peer_address, own, self._node, [header, *codec.encode_peer([request])])

    def _dealer(self, address: str, own: KeyPair, server_public: bytes, message: list[bytes]) -> None:
        dealer = self.context.socket(zmq.DEALER)
        dealer.set(zmq.LINGER, 0)
        dealer.set(zmq.RECONNECT_IVL, -1)  # libzmq would try again by itself, and uncounted
        sockets.use_curve(dealer, own, server_public)
        dealer.connect(f"tcp://{address}")
        with contextlib.suppress(zmq.Again):  # refused already
            dealer.send_multipart(message, zmq.DONTWAIT)
        self._keep(dealer)

    def _keep(self, opened: "zmq.Socket[bytes] | socket.socket") -> None:
        self._open.append(opened)
        if len(self._open) > OPEN_MAX:
            self._open.popleft().close()

    def answered(self) -> int:
        """How many of those still open have been told anything."""
        return sum(1 for opened in self._open if isinstance(opened, zmq.Socket) and opened.poll(0))

    def close(self) -> None:
        while self._open:
            self._open.popleft().close()
        self.context.destroy(linger=0)


def knock(knocker: Knocker, seconds: float, wait: Callable[[float], object]) -> Counter[str]:
    """Try as often as KNOCKS_PER_S, or as this machine can."""
    tried: Counter[str] = Counter()
    begun_s = time.monotonic()
    for number, (name, attempt) in enumerate(itertools.cycle(knocker.tries.items())):
        now_s = time.monotonic()
        if now_s - begun_s > seconds:
            return tried
        if number / KNOCKS_PER_S > now_s - begun_s:
            wait(number / KNOCKS_PER_S - (now_s - begun_s))
        if number % 50 == 0:
            tried["answered"] += knocker.answered()
        try:
            attempt()
            tried[name] += 1
        except OSError:  # cut before the greeting was out
            tried["cut"] += 1
    raise AssertionError


class Garbage:
    """Everything a client with a valid key should not say."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.kinds: dict[str, Callable[[], list[bytes]]] = {
            "random": lambda: [HEADER, self._random.randbytes(self._random.randrange(5000))],
            "random frames": lambda: [self._random.randbytes(self._random.randrange(50)) for _ in range(5)],
            "truncated": self._truncated,
            "flipped": self._flipped,
            "oversized": lambda: [HEADER, bytes((20 << 20) + 1)],
            "deeply nested": lambda: [HEADER, b"\x91" * 1_000_000],
            "deeply nested in a request": lambda: [HEADER, b"\x91\x93\xa4Read\x01" + b"\x91" * 500_000],
            "deeply nested in a query": lambda: self._asking([Read(1, b"\x91" * 10_000)] * 100),
            "many frames": lambda: [HEADER, *[b""] * 20_000],
            "many large frames": lambda: [HEADER, *[bytes(1 << 20)] * 80],
            "many bad requests": lambda: [HEADER, b"\xdc\x10\x00" + b"\x92\xa8Surprise\x07" * CLIENT_BATCH_MAX],
            "an array too long": lambda: [HEADER, b"\xdd\xff\xff\xff\xff" + bytes(1000)],
            "millions of members": self._many_members,
            "thousands of long scans": lambda: self._asking([Read(n, encode(Scan(b"", 10_000))) for n in range(4000)]),
            "thousands of looks at the log": lambda: self._asking([LogRange(n, 1, 10_000) for n in range(4000)]),
            "thousands of questions": lambda: self._asking([Status(n) for n in range(4000)]),
            "commands of nonsense": lambda: self._asking(
                [Write(n, b"\x92\x02" + self._random.randbytes(100)) for n in range(1000)]
            ),
            "sessions that never were": lambda: self._asking(
                [Write(n, encode(SessionCommand(n + 1, 1, 0, self._random.randbytes(50)))) for n in range(1000)]
            ),
            "large queries": lambda: self._asking([Read(n, bytes(15_000)) for n in range(1000)]),
        }

    def _asking(self, requests: list[object]) -> list[bytes]:
        return [HEADER, codec.encode_requests(requests)]

    def _valid(self) -> bytes:
        return codec.encode_requests(
            [Write(1, encode(OpenSession(b"n"))), Read(2, encode(Scan(b"k"))), LogRange(3, 1, 10), Transfer(4, "n2")]
        )

    def _truncated(self) -> list[bytes]:
        valid = self._valid()
        return [HEADER, valid[: self._random.randrange(len(valid))]]

    def _flipped(self) -> list[bytes]:
        valid = bytearray(self._valid())
        for _ in range(3):
            valid[self._random.randrange(len(valid))] ^= 1 << self._random.randrange(8)
        return [HEADER, bytes(valid)]

    def _many_members(self) -> list[bytes]:
        number = 5_000_000
        members = b"\xdd" + number.to_bytes(4, "big") + b"\x91\xa1x" * number
        return [HEADER, b"\x91\x93\xadChangeMembers\x01" + members]


def talk_garbage(
    own: KeyPair, service: bytes, address: str, seconds: float, wait: Callable[[float], object]
) -> Counter[str]:
    """Send one kind of garbage after the other and read nothing of what comes back half of the time."""
    context = zmq.Context()
    garbage = Garbage(seed=7)
    sent: Counter[str] = Counter()
    end_s = time.monotonic() + seconds

    def connect() -> "zmq.Socket[bytes]":
        dealer = sockets.new_socket(context, zmq.DEALER, 1 << 26)
        sockets.use_curve(dealer, own, service)
        sockets.connect(dealer, address)
        return dealer

    dealers = [connect() for _ in range(4)]
    for number, (name, make) in enumerate(itertools.cycle(garbage.kinds.items())):
        if time.monotonic() > end_s:
            break
        dealer = dealers[number % len(dealers)]
        try:
            dealer.send_multipart(make(), zmq.DONTWAIT)
            sent[name] += 1
        except zmq.Again:  # the node takes no more from this connection, or has cut it
            wait(0.01)
        if number % 2:
            while dealer.poll(0):
                dealer.recv_multipart()
        if number % 100 == 99:
            dealer.close(linger=0)
            dealers[number % len(dealers)] = connect()
    context.destroy(linger=0)
    return sent


def listen(node_id: str, own: Path, client_address: str, peer_address: str) -> None:
    """Let in and refuse as the node of that name does, until the input ends."""
    client_port, peer_port = (int(address.rpartition(":")[2]) for address in (client_address, peer_address))
    node = transport_world.Node(node_id, own, peer_port=peer_port, client_port=client_port, cluster_id=CLUSTER_ID)
    node.poller.register(sys.stdin, zmq.POLLIN)
    print(json.dumps({}), flush=True)
    while sys.stdin.fileno() not in dict(node.poller.poll()):
        node.turn()
    node.close()


def main() -> None:
    """See the module's text."""
    what, own, strange, node_id, client_address, peer_address = sys.argv[1:]
    never = zmq.Context().socket(zmq.PULL)

    def wait(pause_s: float) -> object:
        return never.poll(max(1, int(pause_s * 1000)))

    def act(seconds: float) -> Counter[str]:
        if what == "knock":
            return knock(knocker, seconds, wait)
        app = keys.load_client_keys(Path(own), "app")
        return talk_garbage(app.own, app.server_public, client_address, seconds, wait)

    if what == "listen":
        listen(node_id, Path(own), client_address, peer_address)
    else:
        if sys.platform == "linux":  # a stranger has a machine of its own: here it gets what is left of this one
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        knocker = Knocker(Path(own), Path(strange), node_id, client_address, peer_address)
        for line in sys.stdin:
            print(json.dumps(act(float(line))), flush=True)
        knocker.close()
    never.close()


if __name__ == "__main__":
    main()
