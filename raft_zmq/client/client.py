"""The client for people and scripts: one call, one answer, in the caller's thread.

Writes go through a session, opened by the first of them, so that a retry is never applied twice. A write whose outcome
stayed unknown raises OutcomeUnknownError and is not tried again; the session it was in is given up with it.
"""

import os
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

import msgspec

from raft_zmq.client.calls import Call
from raft_zmq.client.config import ClientConfig, parse_endpoint
from raft_zmq.client.engine import Engine
from raft_zmq.client.errors import NotDoneError, OperationError, RefusedError
from raft_zmq.client.session import Session, opening
from raft_zmq.client.survey import DEFAULT_SURVEY_S, Survey, Surveyed
from raft_zmq.core.errors import OutcomeUnknownError, PeerError, SettingsError
from raft_zmq.core.membership import Member
from raft_zmq.transport.dealer import ClientConnection
from raft_zmq.wire.client_messages import (
    ChangeMembers,
    InjectFault,
    LogEntry,
    LogRange,
    NodeStatus,
    Request,
    Status,
    TakeSnapshot,
    Transfer,
)
from raft_zmq.wire.commands import (
    KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
    Append,
    CompareAndSwap,
    Delete,
    Get,
    Increment,
    Operation,
    Outcome,
    Put,
    Query,
    Scan,
)

DEFAULT_TIMEOUT_S = 5.0

Output = bytes | bool | int | list[tuple[bytes, bytes]] | None

_BOTH_VALUES_BYTES_MAX = 19 << 20  # they go in one command, and that in one frame
_SIZES_MAX = {
    "key": KEY_BYTES_MAX,
    "prefix": KEY_BYTES_MAX,
    "after": KEY_BYTES_MAX,
    "value": VALUE_BYTES_MAX,
    "expected": VALUE_BYTES_MAX,
}

_T = TypeVar("_T")
_encode = msgspec.msgpack.Encoder().encode


class RaftClient:
    """A synchronous client; use it from one thread at a time, and close it (it is a context manager).

    Every method takes `timeout_s`, by default the client's own, and raises OutcomeUnknownError when a write may or may
    not have happened by then, NotDoneError when it certainly has not (also for reads), RefusedError when a node
    declined for good, OperationError when the state machine could not do it.
    """

    def __init__(self, config: ClientConfig, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.config = config
        self.timeout_s = timeout_s
        self.engine = open_engine(config)
        self._session: Session | None = None

    def __enter__(self) -> "RaftClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the session ends by itself when it has been idle for its time-to-live."""
        self.engine.close()

    # The key-value store

    def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> None:
        """Set the key."""
        self.write(Put(key, value), timeout_s=timeout_s)

    def get(self, key: bytes, *, timeout_s: float | None = None) -> bytes | None:
        """The key's value, or None; never older than any write acknowledged before the call (linearizable)."""
        output = self.query(Get(key), timeout_s=timeout_s)
        return None if output is None else _expect(output, bytes)

    def delete(self, key: bytes, *, timeout_s: float | None = None) -> bool:
        """Remove the key; whether it existed."""
        return _expect(self.write(Delete(key), timeout_s=timeout_s), bool)

    def cas(self, key: bytes, expected: bytes | None, value: bytes, *, timeout_s: float | None = None) -> bool:
        """Set the key if it holds `expected` (None: if it does not exist); whether it did."""
        return _expect(self.write(CompareAndSwap(key, expected, value), timeout_s=timeout_s), bool)

    def append(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """Add to the end of the key's value; the new length in bytes."""
        return _expect(self.write(Append(key, value), timeout_s=timeout_s), int)

    def incr(self, key: bytes, amount: int = 1, *, timeout_s: float | None = None) -> int:
        """Add to the key's integer, 0 if it does not exist; the new number."""
        return _expect(self.write(Increment(key, amount), timeout_s=timeout_s), int)

    def scan(
        self, prefix: bytes = b"", *, limit: int = 1000, after: bytes = b"", timeout_s: float | None = None
    ) -> list[tuple[bytes, bytes]]:
        """Up to `limit` pairs whose key starts with `prefix`, in key order, behind the key `after` (linearizable)."""
        return _expect(self.query(Scan(prefix, limit, after), timeout_s=timeout_s), list)

    def query(self, query: Query, *, timeout_s: float | None = None) -> Output:
        """The output of a linearizable read."""
        _check_sizes(query)
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        return _output(self.engine.wait_for(self.engine.read(_encode(query), timeout_s, _nothing_more)))

    def write(self, operation: Operation, *, timeout_s: float | None = None) -> Output:
        """The output of an operation, applied once however often it has to be sent.

        An operation that certainly was not done because its session had ended is done in a new one.
        """
        _check_sizes(operation)
        deadline_at = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        opened = self._session is None
        while True:
            command = self._session_by(deadline_at).next_command(operation)
            try:
                return self.send_command(command, timeout_s=_left_s(deadline_at))
            except OutcomeUnknownError:
                self._session = None
                raise
            except RefusedError as error:
                if error.kind != "session_expired":
                    raise
                self._session = None
                if opened:
                    raise
                opened = True

    def open_session(self, *, timeout_s: float | None = None) -> Session:
        """A new session of its own, for who wants to number the writes himself."""
        session_id = _expect(self.send_command(opening(os.urandom(16)), timeout_s=timeout_s), int)
        return Session(session_id)

    def send_command(self, command: bytes, *, timeout_s: float | None = None) -> Output:
        """The output of an encoded command, as a Session makes them."""
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        return _output(self.engine.wait_for(self.engine.write(command, timeout_s, _nothing_more)))

    def _session_by(self, deadline_at: float) -> Session:
        if self._session is None:
            try:
                self._session = self.open_session(timeout_s=_left_s(deadline_at))
            except OutcomeUnknownError as error:
                raise NotDoneError(
                    f"no session could be opened, so nothing was written; what became of its opening: {error}"
                ) from error
        return self._session

    # One node

    def status(self, address: str = "", *, timeout_s: float | None = None) -> NodeStatus:
        """The state of the node at that address, leader or not; "" finds the leader and asks it."""
        return self._ask(Status, NodeStatus, address or self.find_leader(timeout_s=timeout_s), timeout_s)

    def log(
        self, address: str, first_index: int = 1, limit: int = 1000, *, timeout_s: float | None = None
    ) -> list[LogEntry]:
        """What the log of the node at that address holds from `first_index` on, without the data."""
        return self._ask(
            lambda request_id: LogRange(request_id, first_index, limit), list[LogEntry], address, timeout_s
        )

    def snapshot(self, address: str, *, timeout_s: float | None = None) -> int:
        """Make the node at that address write a snapshot; its index."""
        return self._ask(TakeSnapshot, int, address, timeout_s, retry=False)

    def fault(
        self,
        address: str,
        kind: str,
        peers: Sequence[str] = (),
        share: float = 1.0,
        seconds: float = 0.0,
        *,
        timeout_s: float | None = None,
    ) -> None:
        """Make the node at that address misbehave, or with the kind "clear" behave; see InjectFault."""
        self._ask(
            lambda request_id: InjectFault(request_id, kind, tuple(peers), share, seconds),
            type(None),
            address,
            timeout_s,
        )

    def ask_node(self, request: Callable[[int], Request], address: str, *, timeout_s: float | None = None) -> bytes:
        """The encoded answer of that very node to any request; raises NotLeaderError when it points to the leader."""
        return self._send(request, address, timeout_s)

    def survey(self, *, timeout_s: float = DEFAULT_SURVEY_S) -> list[Surveyed]:
        """The state of every node that is known or that another names; those that do not answer in time say None."""
        return Survey(self.engine, timeout_s).run()

    def address_of(self, node: str, *, timeout_s: float = DEFAULT_SURVEY_S) -> str:
        """Where that node answers: given as "host:port", as an id, or as "" for the leader."""
        if not node:
            return self.find_leader()
        if ":" in node:
            return parse_endpoint(node).address
        address = self.engine.belief.resolve(node, "")
        if address:
            return address
        nodes = self.survey(timeout_s=timeout_s)
        for found in nodes:
            if found.node_id == node:
                return found.address
        names = ", ".join(found.name for found in nodes)
        raise SettingsError(
            f"node: expected one of {names}, or host:port, found {node!r}. `raftctl status` lists them."
        )

    # The cluster

    def find_leader(self, *, timeout_s: float | None = None) -> str:
        """The address of the leader; a read that passes through it proves that it leads."""
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        call = self.engine.read(_encode(Get(b"leader?")), timeout_s, _nothing_more)
        self.engine.wait_for(call)
        assert call.leader is not None, "a read was answered, so it went to a leader"
        return call.leader.address

    def change_members(
        self,
        add: Sequence[Member] = (),
        promote: Sequence[str] = (),
        remove: Sequence[str] = (),
        *,
        timeout_s: float | None = None,
    ) -> None:
        """Change the membership in one step; returns once the new one is committed. Never sent twice."""
        change = (tuple(add), tuple(promote), tuple(remove))
        self._ask(lambda request_id: ChangeMembers(request_id, *change), type(None), "", timeout_s, retry=False)

    def transfer(self, target: str = "", *, timeout_s: float | None = None) -> str:
        """Hand leadership to that node ("" is any); the id of the new leader. Never sent twice."""
        return self._ask(lambda request_id: Transfer(request_id, target), str, "", timeout_s, retry=False)

    def _ask(
        self,
        request: Callable[[int], Request],
        kind: type[_T],
        address: str,
        timeout_s: float | None,
        *,
        retry: bool = True,
    ) -> _T:
        body = self._send(request, address, timeout_s, retry=retry)
        try:
            return msgspec.msgpack.decode(body, type=kind)
        except msgspec.MsgspecError as error:
            raise PeerError(f"answer of {address or 'the leader'}: expected {kind}, found: {error}") from error

    def _send(
        self, request: Callable[[int], Request], address: str, timeout_s: float | None, *, retry: bool = True
    ) -> bytes:
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        return self.engine.wait_for(self.engine.ask(request, timeout_s, _nothing_more, address=address, retry=retry))


def open_engine(config: ClientConfig) -> Engine:
    """An engine for that cluster; nothing is connected before the first call."""

    def connect(address: str) -> ClientConnection:
        return ClientConnection(address, config.keys, config.cluster_id, stops_when_broken=True)

    return Engine(config.endpoints, connect)


def _left_s(deadline_at: float) -> float:
    return max(0.0, deadline_at - time.monotonic())


def _nothing_more(call: Call) -> None:
    """The one who submitted the call looks at it afterwards."""


def _check_sizes(asked: Operation | Query) -> None:
    """Refuse what no node takes: one would end the connection on a larger frame, without a word."""
    for name, bytes_max in _SIZES_MAX.items():
        data = getattr(asked, name, None)
        if isinstance(data, bytes) and len(data) > bytes_max:
            raise RefusedError("invalid", f"{name}: expected at most {bytes_max} bytes, found {len(data)}")
    if isinstance(asked, CompareAndSwap) and len(asked.expected or b"") + len(asked.value) > _BOTH_VALUES_BYTES_MAX:
        found = len(asked.expected or b"") + len(asked.value)
        raise RefusedError(
            "invalid", f"cas: expected two values of at most {_BOTH_VALUES_BYTES_MAX} bytes, found {found}"
        )


def _output(body: bytes) -> Output:
    try:
        outcome = msgspec.msgpack.decode(body, type=Outcome)
    except msgspec.MsgspecError as error:
        raise PeerError(f"answer of the leader: expected an outcome, found: {error}") from error
    if outcome.error is not None:
        raise OperationError(outcome.error)
    return outcome.output


def _expect(output: Output, kind: type[_T]) -> _T:
    if not isinstance(output, kind):
        raise PeerError(f"answer of the leader: expected {kind.__name__}, found {type(output).__name__}")
    return output
