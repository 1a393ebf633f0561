"""Which keys may connect: ZeroMQ's authentication protocol (RFC 27), answered in the node's own loop.

libzmq asks about each CURVE handshake over an inproc socket and holds the connection until it is answered. The user
id given back is the public key itself: the ports look it up in the key ring for every message, so a key that is taken
off the ring counts no longer in live connections either.
"""

import zmq
from zmq.utils import z85

from raft_zmq.transport import guard
from raft_zmq.transport.counters import TransportCounters, count
from raft_zmq.transport.keys import KeyRing
from raft_zmq.transport.refusals import Refusals
from raft_zmq.transport.sockets import Context, Socket

PEERS_DOMAIN = guard.PEERS
CLIENTS_DOMAIN = guard.CLIENTS

_ADDRESS = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_REQUESTS_PER_CALL = 64
_CURVE_FRAMES = 9  # routing id, "", version, request id, domain, address, routing id there, mechanism, key


class ZapHandler:
    """Make it before the ports of the same context are bound; poll `.socket`, call `.handle()` when it is readable."""

    def __init__(self, context: Context, keys: KeyRing, counters: TransportCounters, refusals: Refusals) -> None:
        self._keys = keys
        self._refusals = refusals
        self._counters = counters
        self.socket: Socket = context.socket(zmq.ROUTER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.bind(_ADDRESS)

    def handle(self) -> None:
        """Answer what is waiting, up to a bound. Never blocks and never raises on what a stranger sent."""
        for _ in range(_REQUESTS_PER_CALL):
            try:
                request = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._answer(request)

    def close(self) -> None:
        """After this, no connection is let in."""
        self.socket.close(linger=0)

    def _answer(self, request: list[bytes]) -> None:
        key, refusal = self._judge(request)
        if refusal:
            count(self._counters.keys_refused, refusal)
            self._tell(request, refusal, key)
            verdict = [b"400", refusal.encode(), b"", b""]
        else:
            self._counters.keys_admitted += 1
            verdict = [b"200", b"OK", key.encode(), b""]
        routing_id, request_id = request[0], request[3] if len(request) > 3 else b""
        self.socket.send_multipart([routing_id, b"", _VERSION, request_id, *verdict], zmq.DONTWAIT)

    def _judge(self, request: list[bytes]) -> tuple[str, str]:
        """The key, and why it is refused, "" if it is not."""
        if len(request) != _CURVE_FRAMES or request[2] != _VERSION or request[7] != b"CURVE" or len(request[8]) != 32:
            return "", "no_curve_key"
        key, domain = z85.encode(request[8]).decode(), request[4]
        if domain == PEERS_DOMAIN.encode() and self._keys.node_of(key):
            return key, ""
        if domain == CLIENTS_DOMAIN.encode() and self._keys.client_of(key):
            return key, ""
        return key, "unknown_key"

    def _tell(self, request: list[bytes], refusal: str, key: str) -> None:
        port = PEERS_DOMAIN if request[4:5] == [PEERS_DOMAIN.encode()] else CLIENTS_DOMAIN
        address = b"".join(request[5:6]).decode(errors="replace")
        self._refusals.note(port, "", refusal, address=address.removeprefix("::ffff:"), detail=self._whose(key))

    def _whose(self, key: str) -> str:
        """For a key that belongs to somebody on the other port: whose it is."""
        client, node = self._keys.client_of(key), self._keys.node_of(key)
        if client:
            return f"expected the key of a node, found that of the client {client.name}"
        return f"expected the key of a client, found that of the node {node}" if node else ""
