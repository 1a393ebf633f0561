"""Nodes for the client's tests: real sockets on loopback, with answers that the test decides on."""

import threading
from collections.abc import Callable

import msgspec
import zmq

from raft_zmq.client.config import ClientConfig, Endpoint
from raft_zmq.core.messages import Entry, EntryKind
from raft_zmq.state_machine.kv import KeyValueStore
from raft_zmq.state_machine.replica import SESSION_EXPIRED, Replica
from raft_zmq.wire import codec
from raft_zmq.wire.client_messages import (
    Answer,
    Done,
    LogEntry,
    LogRange,
    NodeStatus,
    Read,
    Redirect,
    Refused,
    Request,
    Status,
    Write,
)
from raft_zmq.wire.frames import PROTOCOL_VERSION, ClientHeader

Answerer = Callable[[Request], Answer | None]


def config(*nodes: "FakeNode") -> ClientConfig:
    endpoints = tuple(Endpoint(node.node_id, node.address) for node in nodes)
    return ClientConfig(cluster_id="raft", endpoints=endpoints, keys=None)


class FakeNode:
    """A ROUTER that hands each request to `answer` (None: no answer); `batches` are the requests of each message."""

    def __init__(
        self, node_id: str, answer: Answerer | None = None, *, frame_bytes_max: int = -1, address: str = "127.0.0.1:*"
    ) -> None:
        self.node_id = node_id
        self.answer: Answerer = answer or (lambda request: None)
        self.batches: list[list[Request]] = []
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.maxmsgsize = frame_bytes_max
        self._socket.bind(f"tcp://{address}")
        self.address = self._socket.last_endpoint.decode().removeprefix("tcp://")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def requests(self) -> list[Request]:
        return [request for batch in self.batches for request in batch]

    def received(self, kind: type) -> list[Request]:
        return [request for request in self.requests if isinstance(request, kind)]

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def _serve(self) -> None:
        header = codec.encode_client_header(ClientHeader(PROTOCOL_VERSION, "raft"))
        while not self._ending.is_set():
            if not self._socket.poll(20):
                continue
            route, _, body = self._socket.recv_multipart()
            requests = codec.decode_requests(body)
            self.batches.append(requests)
            answers = [answer for answer in map(self.answer, requests) if answer is not None]
            if answers:
                self._socket.send_multipart([route, header, codec.encode_answers(answers)])


def status(node_id: str, role: str = "follower", term: int = 1, leader: "FakeNode | None" = None) -> NodeStatus:
    leader_id, leader_address = (leader.node_id, leader.address) if leader else ("", "")
    return NodeStatus(
        node_id=node_id,
        cluster_id="raft",
        incarnation="i",
        version="0",
        role=role,
        term=term,
        leader_id=leader_id,
        leader_address=leader_address,
        first_log_index=1,
        last_log_index=0,
        last_log_term=0,
        commit_index=0,
        last_applied=0,
        snapshot_index=0,
        digest="0" * 16,
        ready=True,
        voters=("a", "b", "c"),
        outgoing=(),
        learners=(),
        peers=(),
        sessions=0,
        keys=0,
        wal_bytes=0,
        uptime_s=1.0,
    )


class Leader:
    """The answers of a leader that is alone: a real replica applies every write at once."""

    def __init__(self, node: FakeNode, term: int = 1, replica: Replica | None = None) -> None:
        self.node = node
        self.term = term
        self.replica = replica or Replica(KeyValueStore())
        self.entries: list[Entry] = []
        node.answer = self

    def __call__(self, request: Request) -> Answer | None:
        if isinstance(request, Write):
            return self._apply(request)
        if isinstance(request, Read):
            return Done(request.request_id, self.replica.machine.query(request.query))
        if isinstance(request, Status):
            return Done(request.request_id, msgspec.msgpack.encode(self.status()))
        if isinstance(request, LogRange):
            log = [LogEntry(e.index, e.term, e.kind, hash(e.data) & 0xFFFF, len(e.data)) for e in self.entries]
            found = [entry for entry in log if entry.index >= request.first_index][: request.limit]
            return Done(request.request_id, msgspec.msgpack.encode(found))
        return Refused(request.request_id, "invalid", "a fake leader cannot do that")

    def status(self) -> NodeStatus:
        applied = self.replica.last_applied
        return msgspec.structs.replace(
            status(self.node.node_id, "leader", self.term, self.node),
            last_log_index=applied,
            last_log_term=self.term,
            commit_index=applied,
            last_applied=applied,
            digest=self.replica.digest,
            voters=(self.node.node_id,),
            client_addresses={self.node.node_id: self.node.address},
        )

    def _apply(self, request: Write) -> Answer:
        entry = Entry(self.replica.last_applied + 1, self.term, EntryKind.COMMAND, request.command)
        self.entries.append(entry)
        (outcome,) = self.replica.apply([entry])
        assert outcome is not None
        if outcome == SESSION_EXPIRED:
            return Refused(request.request_id, "session_expired", "expected a live session")
        return Done(request.request_id, outcome)


class Follower:
    """The answers of a follower that names that leader, or none."""

    def __init__(self, node: FakeNode, term: int = 1, leader: FakeNode | None = None) -> None:
        self.node, self.term, self.leader = node, term, leader
        node.answer = self

    def __call__(self, request: Request) -> Answer | None:
        if isinstance(request, Status):
            own = status(self.node.node_id, "follower", self.term, self.leader)
            return Done(request.request_id, msgspec.msgpack.encode(own))
        if isinstance(request, Write | Read):
            return Redirect(
                request.request_id, *((self.leader.node_id, self.leader.address) if self.leader else ("", ""))
            )
        return Refused(request.request_id, "invalid", "a fake follower cannot do that")
