"""A node's sockets, put together: who may connect, the two ports, the faults in front of them, and the poller."""

import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import zmq

from raft_zmq.core.errors import SettingsError
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import PeerMessage
from raft_zmq.observability import events
from raft_zmq.observability.log import EventLog
from raft_zmq.settings import Settings, parse_members
from raft_zmq.transport import guard, sockets
from raft_zmq.transport.clients import Batch, ClientPort
from raft_zmq.transport.counters import TransportCounters
from raft_zmq.transport.faults import FaultShim
from raft_zmq.transport.guard import Guard
from raft_zmq.transport.key_watch import KeyFolder
from raft_zmq.transport.keys import KeyRing, NodeKeys
from raft_zmq.transport.peers import Delivery, PeerTransport
from raft_zmq.transport.refusals import Refusal, Refusals
from raft_zmq.transport.zap import ZapHandler
from raft_zmq.wire.client_messages import Answer

KEYS_CHECK_S = 1.0


class Network:
    """Of one node; for the node's own thread. `peer_lost` is told the id of a member whose connection broke."""

    def __init__(
        self,
        settings: Settings,
        incarnation: str,
        log: EventLog,
        peer_lost: Callable[[str], None],
    ) -> None:
        """Bind both ports. Raises SettingsError, with nothing left open, when the keys or the ports will not do."""
        self._log = log
        self._peer_lost = peer_lost
        self._counters = TransportCounters()
        self._refusals = Refusals(self._report_refusal, settings.refusal_log_interval_s)
        self._key_folder = _key_folder(settings)
        self._keys = KeyRing(self._key_folder.load()) if self._key_folder else None
        self._keys_check_due_s = 0.0
        self._keys_pending = False
        self._contacts = {member.node_id: member for member in parse_members(settings.members)}
        self._addresses: dict[str, str] = {}
        self._poller = zmq.Poller()
        self._other = -1
        with contextlib.ExitStack() as opened:
            context = sockets.new_context()
            opened.callback(context.term)
            keys = self._keys
            self._guard = Guard(context, settings, self._counters)
            opened.callback(self._guard.close)
            self._zap = ZapHandler(context, keys, self._counters, self._refusals) if keys is not None else None
            if self._zap is not None:
                opened.callback(self._zap.close)
            self._clients = ClientPort(context, settings, keys, self._counters, self._guard, self._refusals)
            opened.callback(self._clients.close)
            self._peers = PeerTransport(
                context,
                settings,
                incarnation,
                keys,
                self._counters,
                self._guard,
                self._refusals,
                on_connection=self._connection_changed,
            )
            opened.callback(self._peers.close)
            self._guard.start()
            self._closers = opened.pop_all()
        self.faults = FaultShim(self._peers)
        ports = (self._clients, self._peers) if self._zap is None else (self._clients, self._peers, self._zap)
        for port in ports:
            self._poller.register(port.socket, zmq.POLLIN)

    def also_wake_for(self, other: socket.socket) -> None:
        """Let `wait` return when that socket has something to read, too."""
        self._poller.register(other, zmq.POLLIN)
        self._other = other.fileno()

    def wait(self, timeout_ms: int) -> "Arrivals":
        """Return when something has come, or after the timeout; handshakes are answered on the way."""
        readable = [polled for polled, _ in self._poller.poll(timeout_ms)]
        if self._zap is not None and self._zap.socket in readable:
            self._zap.handle()
        return Arrivals(self._peers.socket in readable, self._clients.socket in readable, self._other in readable)

    def from_peers(self) -> list[Delivery]:
        """What the other nodes have sent."""
        return self.faults.receive()

    def clients_wait(self) -> bool:
        """Whether clients have asked something that has not been read."""
        return sockets.is_readable(self._clients.socket)

    def from_clients(self) -> list[Batch]:
        """What clients have asked."""
        return self._clients.receive()

    def to_peers(self, messages: Sequence[tuple[str, PeerMessage]]) -> None:
        """Send each peer its messages, in order; those that get the very same ones share their encoding."""
        if not messages:
            return
        by_peer: dict[str, list[PeerMessage]] = {}
        for to, message in messages:
            by_peer.setdefault(to, []).append(message)
        alike: dict[tuple[int, ...], list[str]] = {}
        for to, batch in by_peer.items():
            alike.setdefault(tuple(map(id, batch)), []).append(to)
        for peers in alike.values():
            self.faults.send_all(peers, by_peer[peers[0]])
        sockets.let_go()

    def to_clients(self, answers_by_client: dict[bytes, list[Answer]]) -> list[bytes]:
        """Send each client its answers; returns those to whom some of them could not go."""
        gone = [client for client, answers in answers_by_client.items() if not self._clients.send(client, answers)]
        if answers_by_client:
            sockets.let_go()
        return gone

    def check_connections(self, now_s: float) -> None:
        """Look after connections, refusals and keys; some times a second."""
        self._peers.check_connections(now_s)
        self._clients.tell_traffic()
        for failure in self._guard.take_failures():
            self._refusals.note(failure.port, "", f"handshake_{failure.reason}", address=failure.address)
        self._refusals.flush()
        if now_s >= self._keys_check_due_s:
            self._keys_check_due_s = now_s + KEYS_CHECK_S
            self._check_keys()
        if self._keys_pending:
            self._use_keys()

    def reach(self, membership: Membership, others: Iterable[str]) -> None:
        """Connect to everyone in the configuration and to `others`; before there is one, to whom the settings name."""
        members = dict(self._contacts)
        for member in (*membership.outgoing, *membership.learners, *membership.voters):
            if member.peer_address:
                members[member.node_id] = member
        wanted = {*membership.node_ids(), *others} or set(members)
        self._addresses = {node_id: member.peer_address for node_id, member in members.items()}
        self._peers.set_members([members[node_id] for node_id in sorted(wanted) if node_id in members])

    def counts(self) -> dict[str, int | dict[str, int]]:
        """What has been counted so far; from any thread."""
        counted = msgspec.structs.asdict(self._counters)
        return {name: dict(count) if isinstance(count, dict) else count for name, count in counted.items()}

    def close(self) -> None:
        """Close everything; what was not sent yet is dropped."""
        self._closers.close()

    def levels(self) -> dict[str, int]:
        """How many connections and waiting bytes there are right now; from any thread."""
        return self._guard.levels()

    def _check_keys(self) -> None:
        """Take the keys that count now, if the folder has changed; with a half-written folder the old ones count."""
        if self._key_folder is None or self._keys is None:
            return
        if self._key_folder.changed():
            before = self._keys.current
            try:
                self._keys.current = self._key_folder.load()
            except SettingsError as error:
                self._log.message("error", f"the keys read before stay in use: {error}")
                return
            self._keys_pending = self._keys_pending or self._keys.current != before

    def _use_keys(self) -> None:
        assert self._keys is not None
        done = [self._peers.keys_changed(), self._clients.keys_changed()]
        self._keys_pending = not all(done)
        if not self._keys_pending:
            self._log.message("info", _described(self._keys.current))

    def _report_refusal(self, refusal: Refusal) -> None:
        reason = f"{refusal.reason}: {refusal.detail}" if refusal.detail else refusal.reason
        if refusal.port == guard.PEERS:
            self._log.emit(
                events.PeerRefused(peer=refusal.who, address=refusal.address, reason=reason, count=refusal.times)
            )
        else:
            self._log.emit(
                events.ClientRefused(client=refusal.who, address=refusal.address, reason=reason, count=refusal.times)
            )

    def _connection_changed(self, peer: str, connected: bool) -> None:
        address = self._addresses.get(peer, "")
        self._log.emit((events.PeerConnected if connected else events.PeerLost)(peer=peer, address=address))
        if not connected:
            self._peer_lost(peer)


class Arrivals(NamedTuple):
    """Where something has come: on which port, or on the socket of `also_wake_for`."""

    peers: bool
    clients: bool
    other: bool


def _key_folder(settings: Settings) -> KeyFolder | None:
    if settings.auth == "none":
        return None
    own_folder = Path(settings.own_key_dir) if settings.own_key_dir else None
    return KeyFolder(Path(settings.keys_dir), settings.node_id, own_folder)


def _described(keys: NodeKeys) -> str:
    clients = {user.name for user in keys.client_owners.values()}
    return (
        f"the keys have changed: {len(keys.peer_owners)} keys of {len(keys.peer_keys)} nodes and "
        f"{len(keys.client_owners)} keys of {len(clients)} clients are let in"
    )
