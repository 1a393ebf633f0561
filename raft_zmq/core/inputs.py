"""What goes into the core besides time: one of these at each `step`.

A `ticket` is the caller's own number for a request; it comes back in `Ready` and means nothing to the core.
"""

import msgspec

from raft_zmq.core.membership import Member
from raft_zmq.core.messages import DiskState, PeerMessage


class Tick(msgspec.Struct, frozen=True):
    """Time has passed; nothing else has happened."""


class Received(msgspec.Struct, frozen=True):
    """A message from a peer whose identity the transport vouches for."""

    sender: str
    incarnation: str
    message: PeerMessage


class Propose(msgspec.Struct, frozen=True):
    """Append these commands to the log, in this order. Answered in Ready.accepted or Ready.refused."""

    ticket: int
    commands: list[bytes]


class Read(msgspec.Struct, frozen=True):
    """Ask for an index from which linearizable reads may be served (§8, ReadIndex). Answered in Ready.reads/refused."""

    ticket: int


class ChangeMembership(msgspec.Struct, frozen=True):
    """Make exactly these servers the voters and learners (§6). Answered in Ready.accepted (its index) or Ready.refused.

    Several additions, removals, promotions and demotions may be one change. An empty incarnation means "whatever is
    recorded, or the one the server turns out to have". A server that becomes a voter without having been one passes
    through learner first: it is refused as voter here unless it has caught up.
    """

    ticket: int
    voters: tuple[Member, ...]
    learners: tuple[Member, ...]


class TransferLeadership(msgspec.Struct, frozen=True):
    """Hand leadership to `target` ("" is "the most up-to-date voter") (thesis 3.10).

    Answered in Ready.transfers when it is decided, or in Ready.refused.
    """

    ticket: int
    target: str


class SnapshotWritten(msgspec.Struct, frozen=True):
    """The caller has a synced snapshot of the state at (index, term): the log up to it may go (§7)."""

    index: int
    term: int
    total_bytes: int
    log_bytes: int  # what the log takes up on the disk, before any of it goes


class SnapshotInstalled(msgspec.Struct, frozen=True):
    """The snapshot whose last chunk was in the Ready before is checked, synced, and the state machine restored from it.

    Step this, or SnapshotFailed, before any other input.
    """

    last_index: int


class SnapshotFailed(msgspec.Struct, frozen=True):
    """The chunks received for the snapshot at `last_index` do not make a sound file; ask for it from the start."""

    last_index: int


class SnapshotGone(msgspec.Struct, frozen=True):
    """A chunk for that follower cannot be read: its snapshot has given way to a newer one. Begin anew with that."""

    node_id: str


class DiskChanged(msgspec.Struct, frozen=True):
    """The server's own disk is in that state from now on."""

    disk: DiskState


class ReportUnreachable(msgspec.Struct, frozen=True):
    """The transport lost the connection to that peer; go back to probing it."""

    node_id: str


Input = (
    Tick
    | Received
    | Propose
    | Read
    | ChangeMembership
    | TransferLeadership
    | SnapshotWritten
    | SnapshotInstalled
    | SnapshotFailed
    | SnapshotGone
    | DiskChanged
    | ReportUnreachable
)
