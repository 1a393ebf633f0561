"""What the node reports beside the core's events (core/events.py); each is one log line (docs/log-events.md).

The class name in snake case is the line's `event`, the docstring says when it is written, the comment behind a field
what it holds. An `index` comes with the term of the entry there, `entry_term`; a line's `term` is always the node's
newest term on disk, so that it never goes back, not over a restart either.
"""

from typing import ClassVar, Literal

import msgspec

Level = Literal["debug", "info", "warning", "error"]


class NodeEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What all events of the node share."""

    level: ClassVar[Level] = "info"


class NodeStarted(NodeEvent, frozen=True, kw_only=True):
    """The node has read its disk and listens on its ports."""

    version: str  # of raft-zmq
    cluster_id: str  # the cluster it belongs to
    incarnation: str  # of the data directory, drawn when that was made
    members: tuple[str, ...]  # node ids of everyone in its newest configuration
    last_log_index: int  # index of the last entry of its log
    last_log_term: int  # term of that entry
    snapshot_index: int  # the last entry in its newest snapshot, 0 without one


class NodeStopped(NodeEvent, frozen=True, kw_only=True):
    """The last line of a node that ends by itself; a killed one has none."""

    reason: str  # the signal's name, or the error that ended it


class Applied(NodeEvent, frozen=True, kw_only=True):
    """The state machine has applied an entry whose index is a power of two, or one at which a snapshot was made."""

    index: int  # the entry applied last
    entry_term: int  # its term
    digest: str  # running hash of all applied entries, 16 hex digits; equal on all nodes at an equal index


class SnapshotTaken(NodeEvent, frozen=True, kw_only=True):
    """A snapshot of the own state is synced on disk, and the log before it may go (§7)."""

    index: int  # the last entry in it
    entry_term: int  # its term
    digest: str  # running hash of all entries in it, 16 hex digits
    total_bytes: int  # size of its file
    seconds: float  # from the start to the sync


class SnapshotInstalled(NodeEvent, frozen=True, kw_only=True):
    """The node replaced its state by a snapshot from its leader (Figure 13)."""

    index: int  # the last entry in it
    entry_term: int  # its term
    digest: str  # running hash of all entries in it, 16 hex digits
    total_bytes: int  # size of its file


class PeerConnected(NodeEvent, frozen=True, kw_only=True):
    """The connection to another member stands, and its key has been accepted."""

    peer: str  # node id
    address: str  # host:port


class PeerLost(NodeEvent, frozen=True, kw_only=True):
    """The connection to another member broke; ZeroMQ goes on trying."""

    level: ClassVar[Level] = "warning"
    peer: str  # node id
    address: str  # host:port


class PeerRefused(NodeEvent, frozen=True, kw_only=True):
    """Something on the peer port was not let in, or not believed; repetitions come as one line with their count."""

    level: ClassVar[Level] = "warning"
    peer: str  # node id it showed or claimed, "" if none
    address: str  # where it came from, "" if unknown
    reason: str  # what was expected, and what was found
    count: int  # how often since the last such line


class ClientRefused(NodeEvent, frozen=True, kw_only=True):
    """Something on the client port was not let in; repetitions come as one line with their count."""

    level: ClassVar[Level] = "warning"
    client: str  # name of its key, "" if unknown
    address: str  # where it came from, "" if unknown
    reason: str  # what was expected, and what was found
    count: int  # how often since the last such line


class StorageRepaired(NodeEvent, frozen=True, kw_only=True):
    """Reading the disk at the start, the node put something right; nothing that was ever synced is lost by it."""

    level: ClassVar[Level] = "warning"
    file: str  # its name in the data directory
    offset: int  # where, in bytes from its start
    bytes: int  # how many were cut or added
    reason: str  # what was wrong


class SlowDisk(NodeEvent, frozen=True, kw_only=True):
    """A sync took longer than the setting slow_disk_s allows."""

    level: ClassVar[Level] = "warning"
    sync_s: float  # how long it took
    limit_s: float  # the setting


class DiskStateChanged(NodeEvent, frozen=True, kw_only=True):
    """The node's disk has become better or worse."""

    level: ClassVar[Level] = "warning"
    disk: str  # good; slow; filling: as leader it takes no commands; full: it takes no entries either
    before: str  # what it was
    room_bytes: int  # what still fits into the log's present segment


class DiskHandover(NodeEvent, frozen=True, kw_only=True):
    """The leader begins to hand over, because its disk is worse than another's."""

    level: ClassVar[Level] = "warning"
    target: str  # node id
    disk: str  # of the leader: slow, filling or full


class FaultInjected(NodeEvent, frozen=True, kw_only=True):
    """Someone made the node misbehave on purpose (`raftctl fault`)."""

    level: ClassVar[Level] = "warning"
    kind: str  # drop, delay, duplicate, partition or slow_disk
    peers: tuple[str, ...]  # towards whom, by node id; empty is everyone
    share: float  # of messages, 0 to 1
    seconds: float  # the delay


class FaultCleared(NodeEvent, frozen=True, kw_only=True):
    """All injected faults have ended."""


class Message(NodeEvent, frozen=True, kw_only=True):
    """Anything else a person should read; some of it at another level."""

    text: str  # one line


EVENTS: tuple[type[NodeEvent], ...] = (
    NodeStarted,
    NodeStopped,
    Applied,
    SnapshotTaken,
    SnapshotInstalled,
    PeerConnected,
    PeerLost,
    PeerRefused,
    ClientRefused,
    StorageRepaired,
    SlowDisk,
    DiskStateChanged,
    DiskHandover,
    FaultInjected,
    FaultCleared,
    Message,
)
