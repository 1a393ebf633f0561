"""The port for clients: requests in, answers out, each client known by its key."""

import time
from collections.abc import Iterator, Sequence

import zmq

from raft_zmq.core.errors import PeerError
from raft_zmq.settings import Settings
from raft_zmq.transport import guard, roles, sockets
from raft_zmq.transport.connections import Traffic
from raft_zmq.transport.counters import TransportCounters, count
from raft_zmq.transport.guard import Guard
from raft_zmq.transport.keys import ANONYMOUS, ClientUser, KeyRing, Role
from raft_zmq.transport.reader import Frame, MessageReader, user_key
from raft_zmq.transport.refusals import Refusals
from raft_zmq.transport.sockets import LAST_FRAME, MORE_FRAMES, Context, Socket
from raft_zmq.wire import codec
from raft_zmq.wire.client_messages import Answer, Done, Refused, Request
from raft_zmq.wire.frames import CLIENT_BATCH_MAX, PROTOCOL_VERSION, ClientHeader

Batch = tuple[bytes, ClientUser, list[Request]]  # the routing id to answer to, who asks, and what

_FRAMES = 2  # the header and the requests
_REQUESTS_PER_RECEIVE = 4096
_RECEIVE_S = 0.002  # what cannot be read takes much longer than what can; heartbeats wait meanwhile
_ANSWERS_BYTES_MAX = 1 << 20  # in one message, if there is more than one answer: a client takes frames up to a bound
_SORTED_BYTES_MAX = 1 << 20  # telling good requests from bad ones reads everything twice more
_KNOWN_CONNECTIONS_MAX = 100_000


class ClientPort:
    """Poll `.socket` and call receive() when it is readable.

    What it hands on is from a known client, readable, and allowed in the client's role.
    """

    def __init__(
        self,
        context: Context,
        settings: Settings,
        keys: KeyRing | None,
        counters: TransportCounters,
        guard_: Guard,
        refusals: Refusals,
    ) -> None:
        """Bind the client port; without `keys` everyone is ANONYMOUS.

        Raises SettingsError when the port cannot be bound. With keys, the ZapHandler must be there already.
        """
        self._keys = keys
        self._service = keys.current.service if keys else None
        self._counters = counters
        self._guard = guard_
        self._refusals = refusals
        self._connections: dict[bytes, int] = {}  # file descriptor by routing id
        self._cluster_id = settings.cluster_id
        self._header = codec.encode_client_header(ClientHeader(PROTOCOL_VERSION, settings.cluster_id))
        self.socket: Socket = sockets.new_socket(context, zmq.ROUTER, settings.frame_bytes_max)
        self.socket.set(zmq.ROUTER_MANDATORY, 1)  # so that an answer that cannot go is counted
        guard_.watch(guard.CLIENTS, self.socket)
        if keys is not None:
            sockets.serve_curve(self.socket, keys.current.service, guard.CLIENTS)
        sockets.bind(self.socket, settings.bind_host, settings.client_port, "client_port")
        self._reader = MessageReader(self.socket, frames_max=_FRAMES)

    def receive(self) -> list[Batch]:
        """The requests that have come, at most a bounded number of them; what cannot be read is answered here."""
        batches: list[Batch] = []
        requests = 0
        until_s = time.monotonic() + _RECEIVE_S
        while (message := self._reader.read()) is not None:
            batch = self._accept(*message)
            requests += 1  # an unreadable message is work too
            if batch:
                batches.append(batch)
                requests += len(batch[2])
                self._counters.requests_received += len(batch[2])
            enough = requests >= _REQUESTS_PER_RECEIVE or time.monotonic() >= until_s
            if enough or not sockets.is_readable(self.socket):
                break
        self.tell_traffic()
        return batches

    def send(self, routing_id: bytes, answers: Sequence[Answer]) -> bool:
        """Send the answers in as few messages as can be. Never blocks; a client that is gone, or reads too slowly,
        loses them: False.
        """
        return all(self._send(routing_id, batch) for batch in _batches(answers))

    def tell_traffic(self) -> None:
        """Tell the guard what was read and sent since the last call."""
        traffic = self._reader.take_traffic()
        if traffic:
            self._guard.tell(guard.CLIENTS, traffic)

    def keys_changed(self) -> bool:
        """Cut off whose key is gone and, with a new key of the service, listen with that; False: to be called again."""
        assert self._keys is not None
        ring = self._keys
        self._guard.end_where(guard.CLIENTS, lambda key: ring.client_of(key) is None)
        if self._service != ring.current.service:
            if not sockets.listen_with(self.socket, ring.current.service):
                return False
            self._service = ring.current.service
        return True

    def close(self) -> None:
        """Close at once; answers not sent yet are dropped."""
        self.socket.close(linger=0)

    def _send(self, routing_id: bytes, batch: Sequence[Answer]) -> bool:
        body = codec.encode_answers(batch)
        try:
            self.socket.send(routing_id, MORE_FRAMES)
            self.socket.send(self._header, MORE_FRAMES)
            self.socket.send(body, LAST_FRAME)
        except zmq.ZMQError:  # EHOSTUNREACH: gone; EAGAIN: its queue is full
            self._counters.answers_dropped += len(batch)
            return False
        self._counters.answers_sent += len(batch)
        fd = self._connections.get(routing_id)
        if fd is not None:
            self._reader.traffic_of(fd).sent_bytes += len(body)
        return True

    def _accept(self, routing_id: bytes, frames: list[Frame], traffic: Traffic) -> Batch | None:
        traffic.key = user_key(frames[0])
        user = self._keys.client_of(traffic.key) if self._keys else ANONYMOUS
        traffic.owner = user.name if user else ""
        self._know(routing_id, traffic.fd)
        if user is None:
            found = "key: expected one on the cluster's list, found yours taken off it. Ask for a new key."
            self._refuse(routing_id, "", "revoked_key", Refused(0, "not_allowed", found))
            self._guard.end(guard.CLIENTS, traffic.fd, "revoked_key")
            return None
        objection = self._objection(frames)
        if objection:
            reason, found = objection
            self._refuse(routing_id, user.name, reason, *([Refused(0, "invalid", found)] if found else []))
            return None
        try:
            requests = codec.decode_requests(frames[1].buffer)
        except PeerError:
            requests = self._readable(routing_id, user, frames[1])
        if user.role is not Role.ADMIN:
            requests = self._permitted(routing_id, user, requests)
        return (routing_id, user, requests) if requests else None

    def _know(self, routing_id: bytes, fd: int) -> None:
        if len(self._connections) >= _KNOWN_CONNECTIONS_MAX:
            self._connections.clear()  # those that are still there come back with their next message
        self._connections[routing_id] = fd

    def _objection(self, frames: list[Frame]) -> tuple[str, str] | None:
        """What is wrong with the message as a whole: the reason to count, and what to tell the client (or "")."""
        if frames[0].bytes != self._header:
            try:
                header = codec.decode_client_header(frames[0].buffer)
            except PeerError:
                return "bad_header", ""
            if header.version != PROTOCOL_VERSION:
                found = f"protocol version: expected {PROTOCOL_VERSION}, found {header.version}. Use a client to match."
                return "protocol_version", found
            if header.cluster_id != self._cluster_id:
                found = f"cluster_id: expected {self._cluster_id!r}, found {header.cluster_id!r}. Mend its settings."
                return "cluster_id", found
        if len(frames) != _FRAMES:
            number = "more" if len(frames) > _FRAMES else "no second one"
            return "frames", f"message: expected a header and one frame of requests, found {number}."
        return None

    def _readable(self, routing_id: bytes, user: ClientUser, body: Frame) -> list[Request]:
        """The good requests among the bad ones, which are answered each for itself; a large message as a whole."""
        try:
            if len(body) > _SORTED_BYTES_MAX:
                raise PeerError(
                    f"requests: expected every one of {len(body)} bytes to be readable, found one that is not"
                )
            requests, refusals = codec.sort_requests(body.buffer)
        except PeerError as error:
            requests, refusals = [], [Refused(0, "invalid", str(error))]
        self._refuse(routing_id, user.name, "bad_request", *refusals)
        return requests

    def _permitted(self, routing_id: bytes, user: ClientUser, requests: list[Request]) -> list[Request]:
        """The requests that the client's role allows; the others are answered."""
        permitted = [request for request in requests if roles.permits(user.role, request)]
        if len(permitted) < len(requests):
            refused = (request for request in requests if not roles.permits(user.role, request))
            self._refuse(routing_id, user.name, "not_allowed", *(roles.refusal(user, request) for request in refused))
        return permitted

    def _refuse(self, routing_id: bytes, who: str, reason: str, *refusals: Refused) -> None:
        for _ in range(max(1, len(refusals))):
            count(self._counters.requests_refused, reason)
        self._refusals.note(guard.CLIENTS, who, reason, detail=refusals[0].message if refusals else "")
        self.send(routing_id, refusals)


def _batches(answers: Sequence[Answer]) -> Iterator[Sequence[Answer]]:
    """Cut into what goes into one frame each."""
    first, size_bytes = 0, 0
    for number, answer in enumerate(answers):
        answer_bytes = len(answer.body) if isinstance(answer, Done) else 0
        if number > first and (size_bytes + answer_bytes > _ANSWERS_BYTES_MAX or number - first == CLIENT_BATCH_MAX):
            yield answers[first:number]
            first, size_bytes = number, 0
        size_bytes += answer_bytes
    if first < len(answers):
        yield answers[first:] if first else answers
