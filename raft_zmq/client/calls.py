"""One request from its submission to its end, over as many attempts as that takes."""

from collections.abc import Callable
from enum import Enum, auto

from raft_zmq.client.leader import Leader
from raft_zmq.core.errors import RaftLabError
from raft_zmq.transport.sockets import SLOW_BYTES_PER_S
from raft_zmq.wire.client_messages import Read, Request, Write

RESEND_S = 1.0  # without an answer, after which a request is sent again; twice as long each time


class State(Enum):
    """Where a call is now."""

    WAITING = auto()  # for a leader to be known, or for the next flush
    DELAYED = auto()  # a node asked for a pause; due_at ends it
    SENT = auto()  # an answer may come; due_at is when its absence becomes remarkable
    ENDED = auto()


class Call:
    """A request under way. When it has ended, `error` is None and `body` holds the result, or `error` says why not.

    `open_attempts` counts the sendings not yet known to have left no trace: while it is above 0, the request may have
    happened, or may still happen. `leader` is who it was last sent to, None for a call to one given node.
    """

    __slots__ = (
        "address",
        "body",
        "deadline_at",
        "due_at",
        "error",
        "lane",
        "leader",
        "on_end",
        "open_attempts",
        "refusals",
        "request",
        "resend_after_s",
        "retry",
        "sent_at",
        "size_bytes",
        "state",
        "timeout_s",
    )

    def __init__(
        self,
        request: Request,
        on_end: "Callable[[Call], None]",
        deadline_at: float,
        timeout_s: float,
        *,
        address: str = "",
        lane: int = 0,
        retry: bool = True,
    ) -> None:
        self.request = request
        self.on_end = on_end
        self.deadline_at = deadline_at
        self.timeout_s = timeout_s
        self.address = address  # "" is the leader, whoever that is
        self.lane = lane
        self.retry = retry  # whether a second sending does no harm
        payload = request.command if type(request) is Write else request.query if type(request) is Read else b""
        self.size_bytes = 64 + len(payload)
        self.state = State.WAITING
        self.due_at = deadline_at
        self.sent_at = 0.0
        self.resend_after_s = RESEND_S + self.size_bytes / SLOW_BYTES_PER_S  # it may still be on its way
        self.open_attempts = 0
        self.refusals = 0  # how often it was told "busy"
        self.leader: Leader | None = None
        self.body: bytes = b""
        self.error: RaftLabError | None = None

    def end(self, error: RaftLabError | None) -> None:
        """Tell the owner; the only way out."""
        self.state = State.ENDED
        self.error = error
        self.on_end(self)
