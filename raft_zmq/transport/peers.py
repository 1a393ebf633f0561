"""Messages between the nodes: one ROUTER that hears everyone, and one DEALER towards each other member.

Nothing here is reliable and nothing needs to be: a message that finds no connection or a full queue is dropped, and
Raft sends again. A sender is believed only when the connection's key belongs to it.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence

import zmq

from raft_zmq.core.errors import PeerError, RaftLabError, SettingsError
from raft_zmq.core.membership import Member
from raft_zmq.core.messages import PeerMessage
from raft_zmq.settings import Settings
from raft_zmq.transport import guard, sockets
from raft_zmq.transport.connections import Traffic
from raft_zmq.transport.counters import TransportCounters, count
from raft_zmq.transport.guard import Guard
from raft_zmq.transport.keys import KeyRing
from raft_zmq.transport.monitor import Change
from raft_zmq.transport.peer_link import Curve, PeerLink
from raft_zmq.transport.reader import Frame, MessageReader, user_key
from raft_zmq.transport.refusals import Refusals
from raft_zmq.transport.sockets import Context, Socket
from raft_zmq.wire import codec
from raft_zmq.wire.frames import PROTOCOL_VERSION, PeerHeader

Delivery = tuple[str, str, PeerMessage]  # the sender's node id and incarnation, and what it said

_MESSAGES_PER_RECEIVE = 1024
_RECEIVE_S = 0.02  # work on what has come for this long at most: heartbeats wait meanwhile
_LINKS_MAX = 100  # with so many open, a sender that is no member here is not answered


class PeerTransport:
    """Poll `.socket` and call receive() when it is readable; call check_connections() some times a second.

    `on_connection(peer, connected)` is called whenever our connection towards that peer comes or goes.
    """

    def __init__(
        self,
        context: Context,
        settings: Settings,
        incarnation: str,
        keys: KeyRing | None,
        counters: TransportCounters,
        guard_: Guard,
        refusals: Refusals,
        *,
        on_connection: Callable[[str, bool], None],
    ) -> None:
        """Bind the peer port; without `keys` a message's claimed sender is believed.

        Raises SettingsError when the port cannot be bound. With keys, the ZapHandler must be there already.
        """
        self._context = context
        self._settings = settings
        self._keys = keys
        self._counters = counters
        self._guard = guard_
        self._refusals = refusals
        self._on_connection = on_connection
        self._own = keys.current.own if keys else None
        self._messages_max = settings.message_frames_max - 1
        self._wanted: dict[str, str] = {}  # addresses of the members to be connected to
        self._links: dict[str, PeerLink] = {}
        self._named_links = itertools.count()
        self._incarnation = incarnation
        self._use_own_address("")
        self.socket: Socket = sockets.new_socket(context, zmq.ROUTER, settings.frame_bytes_max)
        sockets.watch_by_kernel(self.socket)
        guard_.watch(guard.PEERS, self.socket)
        if keys is not None:
            sockets.serve_curve(self.socket, keys.current.own, guard.PEERS)
        sockets.bind(self.socket, settings.bind_host, settings.peer_port, "peer_port")
        self._reader = MessageReader(self.socket, frames_max=settings.message_frames_max)

    def set_members(self, members: Iterable[Member]) -> None:
        """Connect to the members that are new or have moved, and drop the connections to those that are gone.

        What they say of this node is the address that it has others answer to.
        """
        wanted = {member.node_id: member.peer_address for member in members if member.peer_address}
        self._use_own_address(wanted.pop(self._settings.node_id, ""))
        self._wanted = wanted
        for node_id, link in list(self._links.items()):
            if wanted.get(node_id) != link.address:
                self._disconnect(node_id)
        for node_id, address in wanted.items():
            if node_id not in self._links:
                self._connect(node_id, address)

    def send(self, to: str, messages: Sequence[PeerMessage]) -> None:
        """Send the messages, in order, in as few ZeroMQ messages as can be. Never blocks; what cannot go is dropped."""
        self.send_all((to,), messages)

    def send_all(self, peers: Sequence[str], messages: Sequence[PeerMessage]) -> None:
        """The same to several peers, encoded once."""
        for first in range(0, len(messages), self._messages_max):
            frames = list(map(sockets.shareable, codec.encode_peer(messages[first : first + self._messages_max])))
            for peer in peers:
                self._send_frames(peer, frames)

    def _send_frames(self, to: str, frames: Sequence[bytes | Frame]) -> None:
        link = self._links.get(to)
        if link is not None and link.send(self._header, frames):
            self._counters.peer_messages_sent += len(frames)
            self._counters.peer_bytes_sent += sum(map(len, frames))
        else:
            self._counters.peer_messages_dropped += len(frames)

    def receive(self) -> list[Delivery]:
        """The messages that have come, each sender's in the order it sent them; at most a bounded number."""
        received: list[Delivery] = []
        until_s = time.monotonic() + _RECEIVE_S
        while (message := self._reader.read()) is not None:
            self._accept(message[1], message[2], received)
            enough = len(received) >= _MESSAGES_PER_RECEIVE or time.monotonic() >= until_s
            if enough or not sockets.is_readable(self.socket):
                break
        self._counters.peer_messages_received += len(received)
        traffic = self._reader.take_traffic()
        if traffic:
            self._guard.tell(guard.PEERS, traffic)
        return received

    def keys_changed(self) -> bool:
        """Take the ring's keys into use, and cut off whose key is gone; False: to be called again."""
        assert self._keys is not None
        ring = self._keys
        self._guard.end_where(guard.PEERS, lambda key: ring.node_of(key) is None)
        for node_id, link in list(self._links.items()):
            curve = self._curve_towards(node_id)
            if curve is None or not link.use(curve):
                self._disconnect(node_id)
                self._connect(node_id, link.address)
        for node_id, address in self._wanted.items():
            if node_id not in self._links:
                self._connect(node_id, address)
        if self._own != ring.current.own:
            if not sockets.listen_with(self.socket, ring.current.own):
                return False
            self._own = ring.current.own
        return True

    def check_connections(self, now_s: float) -> None:
        """Report the connections that came and went, and make anew those that libzmq has given up."""
        for node_id, link in self._links.items():
            for change in link.check(now_s):
                if change is Change.REFUSED:
                    self._refuse(node_id, "refused_by_peer")
                elif change is not Change.BROKEN:  # libzmq tries again
                    self._on_connection(node_id, change is Change.CONNECTED)

    def close(self) -> None:
        """Close everything at once; messages not sent yet are dropped."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        self.socket.close(linger=0)

    def _use_own_address(self, address: str) -> None:
        settings = self._settings
        self._header = codec.encode_peer_header(
            PeerHeader(PROTOCOL_VERSION, settings.cluster_id, settings.node_id, self._incarnation, address)
        )

    def _connect(self, node_id: str, address: str) -> None:
        curve = None
        if self._keys is not None:
            curve = self._curve_towards(node_id)
            if curve is None:
                self._refuse(node_id, "no_public_key")
                return
        io_thread = 0
        if sockets.needs_lookup(address):
            io_thread = sockets.lookup_thread(self._context, next(self._named_links))
        try:
            self._links[node_id] = PeerLink(self._context, address, curve, self._settings.frame_bytes_max, io_thread)
        except SettingsError as error:
            self._refuse(node_id, "bad_address", error)  # it came from a change of members, and must not end the node

    def _curve_towards(self, node_id: str) -> Curve | None:
        assert self._keys is not None
        servers = self._keys.current.peer_keys.get(node_id)
        return (self._keys.current.own, servers) if servers else None

    def _disconnect(self, node_id: str) -> None:
        link = self._links.pop(node_id)
        if link.connected:
            self._on_connection(node_id, False)
        link.close()

    def _accept(self, frames: list[Frame], traffic: Traffic, received: list[Delivery]) -> None:
        """Add the messages behind the header, if the header is one to believe."""
        header = self._header_of(frames[0], traffic)
        if header is None:
            return
        if len(frames) > 1 + self._messages_max:
            self._refuse(header.sender, "too_many_frames")
            return
        if header.address and header.sender not in self._links and len(self._links) < _LINKS_MAX:
            # A leader of a membership that this node has yet to learn: unanswered, it could never tell.
            self._connect(header.sender, header.address)
        for frame in frames[1:]:
            try:
                received.append((header.sender, header.incarnation, codec.decode_peer(frame.buffer)))
            except PeerError as error:
                self._refuse(header.sender, "bad_message", error)

    def _header_of(self, frame: Frame, traffic: Traffic) -> PeerHeader | None:
        """The header if it is one to believe; else it is refused."""
        key = user_key(frame)
        owner = self._keys.node_of(key) if self._keys else None
        if self._keys and owner is None:
            self._refuse("", "revoked_key")
            self._guard.end(guard.PEERS, traffic.fd, "revoked_key")
            return None
        traffic.key, traffic.owner = key, owner or ""
        try:
            header = codec.decode_peer_header(frame.buffer)
        except PeerError as error:
            self._refuse(owner or "", "bad_header", error)
            return None
        objection = self._objection(header, owner)
        if objection:
            self._refuse(owner or header.sender, objection)
            return None
        return header

    def _objection(self, header: PeerHeader, owner: str | None) -> str:
        """Why nothing behind this header counts; "" when all is well."""
        if header.version != PROTOCOL_VERSION:
            return "protocol_version"
        if header.cluster_id != self._settings.cluster_id:
            return "cluster_id"
        if self._keys and header.sender != owner:
            return "sender_is_not_key_owner"
        if header.sender == self._settings.node_id:
            return "own_node_id"
        return ""

    def _refuse(self, peer: str, reason: str, error: RaftLabError | None = None) -> None:
        count(self._counters.peer_messages_refused, reason)
        self._refusals.note(guard.PEERS, peer, reason, detail=str(error or ""))
