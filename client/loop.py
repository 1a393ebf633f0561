"""A closed-loop client on a shared engine: one request under way at any moment, the next when its answer is there."""

import os

import msgspec

from raft_zmq.client.calls import Call
from raft_zmq.client.engine import Engine
from raft_zmq.client.errors import RefusedError
from raft_zmq.client.session import Session, opening
from raft_zmq.core.errors import OutcomeUnknownError, RaftLabError
from raft_zmq.wire.commands import Outcome

decode_outcome = msgspec.msgpack.Decoder(Outcome).decode

_HOPELESS = ("invalid", "not_allowed")


class ClosedLoop:
    """Opens a session and then calls `go()` again and again; a subclass submits one request in each.

    `stopping` makes it end after the answer that is under way; then `ended` is true. `trouble` is an error that will
    not go away by itself.
    """

    def __init__(self, engine: Engine, timeout_s: float, lane: int = 0, *, writes: bool = True) -> None:
        self.engine = engine
        self.timeout_s = timeout_s
        self.lane = lane
        self.writes = writes  # one that only reads needs no session
        self.session: Session | None = None
        self.stopping = False
        self.ended = False
        self.trouble: RaftLabError | None = None

    def go(self) -> None:
        """Submit the next request; to be defined by the subclass, which calls `next()` when its answer has come."""
        raise NotImplementedError

    def next(self) -> None:
        """Go on, or end."""
        if self.stopping:
            self.ended = True
        elif self.session is None and self.writes:
            self.engine.write(opening(os.urandom(16)), self.timeout_s, self._opened, self.lane)
        else:
            self.go()

    def note(self, error: RaftLabError) -> None:
        """Take in that a request ended without its answer: a write of unknown outcome uses its session up."""
        if isinstance(error, OutcomeUnknownError) or (
            isinstance(error, RefusedError) and error.kind == "session_expired"
        ):
            self.session = None
        elif isinstance(error, RefusedError) and error.kind in _HOPELESS:
            self.trouble, self.stopping = error, True

    def _opened(self, call: Call) -> None:
        if call.error is not None:
            self.note(call.error)
        else:
            outcome = decode_outcome(call.body)
            if isinstance(outcome.output, int):
                self.session = Session(outcome.output)
            else:
                self.trouble, self.stopping = RaftLabError(f"open a session: {outcome.error}"), True
        self.next()
