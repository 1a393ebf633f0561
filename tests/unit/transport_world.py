"""Real nodes' transports on loopback, each with a context of its own, turned by the test."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from raft_zmq.core.membership import Member
from raft_zmq.core.messages import AppendReply, PeerMessage
from raft_zmq.settings import Settings
from raft_zmq.transport import keys, sockets
from raft_zmq.transport.clients import Batch, ClientPort
from raft_zmq.transport.counters import TransportCounters
from raft_zmq.transport.dealer import ClientConnection
from raft_zmq.transport.guard import PEERS, Guard
from raft_zmq.transport.peers import Delivery, PeerTransport
from raft_zmq.transport.refusals import Refusal, Refusals
from raft_zmq.transport.zap import ZapHandler

DEADLINE_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reply(number: int) -> PeerMessage:
    """A small message that can be told from others by its number."""
    return AppendReply(term=1, ok=True, match_index=number, prev_log_index=0, hint_index=0, hint_term=0, read_token=0)


def number_of(message: PeerMessage) -> int:
    assert isinstance(message, AppendReply)
    return message.match_index


class Node:
    """The transport side of one node, and all that it has seen."""

    def __init__(
        self,
        node_id: str,
        keys_dir: Path | None,
        *,
        peer_port: int = 0,
        client_port: int = 0,
        cluster_id: str = "raft",
        frame_bytes_max: int = 1 << 20,
        **limits: int,
    ) -> None:
        self.settings = Settings(
            node_id=node_id,
            cluster_id=cluster_id,
            bind_host="127.0.0.1",
            peer_port=peer_port or free_port(),
            client_port=client_port or free_port(),
            auth="curve" if keys_dir else "none",
            frame_bytes_max=frame_bytes_max,
            **limits,
        )
        self.context = sockets.new_context()
        self.counters = TransportCounters()
        self.received: list[Delivery] = []
        self.batches: list[Batch] = []
        self.refused: list[tuple[str, str]] = []
        self.connections: list[tuple[str, bool]] = []
        self.ring = keys.KeyRing(keys.load_node_keys(keys_dir, node_id)) if keys_dir else None
        self.refusals = Refusals(self._refused, interval_s=60)
        self.guard = Guard(self.context, self.settings, self.counters)
        self.zap = ZapHandler(self.context, self.ring, self.counters, self.refusals) if self.ring else None
        self.transport = PeerTransport(
            self.context,
            self.settings,
            f"incarnation-{node_id}",
            self.ring,
            self.counters,
            self.guard,
            self.refusals,
            on_connection=lambda peer, connected: self.connections.append((peer, connected)),
        )
        self.port = ClientPort(self.context, self.settings, self.ring, self.counters, self.guard, self.refusals)
        self.guard.start()
        self.poller = zmq.Poller()
        for polled in (self.transport.socket, self.port.socket, *([self.zap.socket] if self.zap else [])):
            self.poller.register(polled, zmq.POLLIN)

    @property
    def member(self) -> Member:
        host = self.settings.bind_host
        return Member(self.settings.node_id, f"{host}:{self.settings.peer_port}", f"{host}:{self.settings.client_port}")

    def turn(self) -> None:
        """One round of the loop; waits a moment when nothing is there."""
        self.poller.poll(2)
        if self.zap:
            self.zap.handle()
        self.transport.check_connections(time.monotonic())
        self.received += self.transport.receive()
        self.batches += self.port.receive()

    def connected_to(self, node_id: str) -> bool:
        return [state for peer, state in self.connections if peer == node_id][-1:] == [True]

    def numbers(self) -> list[int]:
        return [number_of(message) for _, _, message in self.received]

    def _refused(self, refusal: Refusal) -> None:
        if refusal.port == PEERS and refusal.reason not in ("unknown_key", "no_curve_key"):
            self.refused.append(
                (refusal.who, f"{refusal.reason}: {refusal.detail}" if refusal.detail else refusal.reason)
            )

    def close(self) -> None:
        self.guard.close()
        self.transport.close()
        self.port.close()
        if self.zap:
            self.zap.close()
        self.context.destroy(linger=0)


def until(condition: Callable[[], object], *nodes: Node) -> None:
    """Turn the nodes until the condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not so within {DEADLINE_S} s"
        for node in nodes:
            node.turn()


def connect_all(*nodes: Node) -> None:
    """Make the nodes members of one cluster, and wait until each has its connections."""
    for node in nodes:
        node.transport.set_members(other.member for other in nodes)
    ids = {node.settings.node_id for node in nodes}
    for node in nodes:
        until(lambda n=node: all(n.connected_to(peer) for peer in ids - {n.settings.node_id}), *nodes)


class SlowLink:
    """A way to that port of this machine on which bytes take their time, in both directions."""

    def __init__(self, port: int, bytes_per_s: int) -> None:
        self.connections = 0
        self._port = port
        self._bytes_per_s = bytes_per_s
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._start(self._accept)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            near, _ = self._server.accept()
            self.connections += 1
            far = socket.create_connection(("127.0.0.1", self._port))
            self._start(self._carry, near, far)
            self._start(self._carry, far, near)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with source:
            while data := source.recv(self._bytes_per_s // 100):
                threading.Event().wait(len(data) / self._bytes_per_s)
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        def until_closed() -> None:
            with contextlib.suppress(OSError):
                work(*arguments)

        threading.Thread(target=until_closed, daemon=True).start()


@contextlib.contextmanager
def slow_link(port: int, bytes_per_s: int = 2_000_000) -> Iterator[SlowLink]:
    link = SlowLink(port, bytes_per_s)
    yield link
    link.close()


@contextlib.contextmanager
def slammed_door() -> Iterator[str]:
    """An address where every connection is accepted and ended at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def slam() -> None:
            with contextlib.suppress(OSError):  # shut down
                while True:
                    server.accept()[0].close()

        thread = threading.Thread(target=slam)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def shorten_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets made from now on wait a twentieth as long for a sign of life: as if frames, too, were so much larger."""
    waits = (zmq.HEARTBEAT_IVL, zmq.HEARTBEAT_TIMEOUT, zmq.HEARTBEAT_TTL)
    shorter = {option: value // 20 if option in waits else value for option, value in sockets._OPTIONS.items()}
    monkeypatch.setattr(sockets, "_OPTIONS", shorter)


@contextlib.contextmanager
def client_of(
    node: Node, client_keys: keys.ClientKeys | None, cluster_id: str = "raft", *, address: str = ""
) -> Iterator[ClientConnection]:
    context = zmq.Context()
    connection = ClientConnection(address or node.member.client_address, client_keys, cluster_id, context=context)
    try:
        yield connection
    finally:
        connection.close()
        context.destroy(linger=0)
