"""What a client and a node say to each other on port 6000.

One ZeroMQ message carries a batch: frame 0 the header (see frames.py), frame 1 an array of requests or of answers.
`request_id` is the client's own number and comes back in the answer; answers may come in any order.
"""

from typing import Annotated

import msgspec

from raft_zmq.core.membership import Member

NODES_MAX = 100  # named in one request: a frame has room for millions, and reading those takes a second
_Members = Annotated[tuple[Member, ...], msgspec.Meta(max_length=NODES_MAX)]
_Names = Annotated[tuple[str, ...], msgspec.Meta(max_length=NODES_MAX)]
RequestId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Request(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Shared shape: the class name is the tag."""

    request_id: RequestId


class Write(_Request, frozen=True, gc=False):
    """Put an encoded `commands.SessionCommand` or `commands.OpenSession` through the log.

    Answer: Done with an encoded `commands.Outcome` (OpenSession: its output is the session id).
    """

    command: bytes


class Read(_Request, frozen=True, gc=False):
    """Answer an encoded `commands.Query` linearizably (ReadIndex). Answer: Done with an encoded `commands.Outcome`."""

    query: bytes


class Status(_Request, frozen=True, gc=False):
    """Ask this very node, leader or not, for its state. Answer: Done with an encoded NodeStatus."""


class LogRange(_Request, frozen=True, gc=False):
    """Ask this very node for what its log holds. Answer: Done with an encoded array of LogEntry, at most `limit`."""

    first_index: Annotated[int, msgspec.Meta(ge=1)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1000


class ChangeMembers(_Request, frozen=True):
    """Change the membership in one step: every kind of change may name several servers. Answer: Done with nil, once
    the final configuration is committed (a promotion of a learner that lags is refused).
    """

    add: _Members = ()  # as learners; promoted on their own if `auto_promote`
    promote: _Names = ()
    remove: _Names = ()


class Transfer(_Request, frozen=True, gc=False):
    """Hand leadership to `target` ("" is any). Answer: Done with the new leader's id."""

    target: str = ""


class TakeSnapshot(_Request, frozen=True, gc=False):
    """Make this very node write a snapshot now. Answer: Done with its index, once it is on disk."""


class InjectFault(_Request, frozen=True):
    """Make this very node misbehave on purpose (only where the setting `fault_injection` allows it).

    `kind`: drop, delay, duplicate, partition or slow_disk, or clear to end all; `peers`: towards whom, () is everyone;
    `share`: of messages, or syncs, 0 to 1; `seconds`: the delay. Answer: Done with nil.
    """

    kind: str
    peers: _Names = ()
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0


Request = Write | Read | Status | LogRange | ChangeMembers | Transfer | TakeSnapshot | InjectFault


class _Answer(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Shared shape: the class name is the tag."""

    request_id: RequestId


class Done(_Answer, frozen=True, gc=False):
    """It is done; `body` is the encoded result the request's docstring names."""

    body: bytes


class Redirect(_Answer, frozen=True, gc=False):
    """Not done, and no trace left: ask `leader_id` at `address` ("host:port"); both "" while there is no leader."""

    leader_id: str
    address: str


class Busy(_Answer, frozen=True, gc=False):
    """Not done, and no trace left: too much is under way; try again after that time."""

    retry_after_s: float


class Refused(_Answer, frozen=True, gc=False):
    """Not done, and no trace left of that sending: what was expected, what was found, what to do.

    `kind`: invalid, session_expired, not_allowed, disk_full, change_in_progress or not_ready.
    """

    kind: str
    message: str


class Unknown(_Answer, frozen=True, gc=False):
    """It may have happened, or may still: leadership was lost with the request under way. Retry with that number."""

    message: str


Answer = Done | Redirect | Busy | Refused | Unknown


class LogEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry of a node's log, without its data; equal logs have equal checksums (8 bytes of BLAKE2b)."""

    index: int
    term: int
    kind: int
    checksum: int
    data_bytes: int


class PeerStatus(msgspec.Struct, frozen=True):
    """What a leader knows of one other member."""

    node_id: str
    state: str  # probe, replicate or snapshot
    match_index: int
    next_index: int
    active: bool  # heard from within an election timeout


class StageTotal(msgspec.Struct, frozen=True):
    """How often a leader's batches of writes went through a stage since the node started, and the time that took."""

    batches: int
    seconds: float


class NodeStatus(msgspec.Struct, frozen=True):
    """The state of one node; also what GET /status shows."""

    node_id: str
    cluster_id: str
    incarnation: str
    version: str
    role: str  # follower, pre_candidate, candidate or leader
    term: int
    leader_id: str
    leader_address: str
    first_log_index: int
    last_log_index: int
    last_log_term: int
    commit_index: int
    last_applied: int
    snapshot_index: int
    digest: str  # 16 hex digits: the running hash of all applied entries up to last_applied
    ready: bool  # it knows a leader and has caught up
    voters: tuple[str, ...]
    outgoing: tuple[str, ...]
    learners: tuple[str, ...]
    peers: tuple[PeerStatus, ...]  # on a leader
    sessions: int
    keys: int
    wal_bytes: int
    uptime_s: float
    client_addresses: dict[str, str] = {}  # of every member, by node id: "host:port"
    disk: str = "good"  # or slow, filling, full
    stages: dict[str, StageTotal] = {}  # of a write: queue, append, sync, replicate, commit, apply, answer


class RequestEnvelope(msgspec.Struct, array_like=True):
    """What every request starts with, whatever its kind."""

    kind: str
    request_id: RequestId
