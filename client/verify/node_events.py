"""The log lines of a node that the judge reads, typed; docs/log-events.md lists all lines and fields.

A line with an event that is not here becomes `Other`: its place in time and its term are still looked at.
"""

import msgspec

from client.verify.lines import json_object


class NodeLine(msgspec.Struct, tag_field="event", kw_only=True):
    """What all lines share; `place` says where it stands and is set by the reader."""

    ts: str
    node: str
    term: int
    level: str = "info"
    place: str = ""


class CoreLine(NodeLine, kw_only=True):
    """A line whose event the core of Raft made: these come in the order in which things happened."""


class BecameFollower(CoreLine, tag="became_follower", kw_only=True):
    """It follows `leader_id`, or nobody it knows ("")."""

    leader_id: str


class BecamePreCandidate(CoreLine, tag="became_pre_candidate", kw_only=True):
    """It asks whether it could win."""


class BecameCandidate(CoreLine, tag="became_candidate", kw_only=True):
    """It votes for itself in a new term."""


class BecameLeader(CoreLine, tag="became_leader", kw_only=True):
    """It won the term."""

    last_log_index: int
    last_log_term: int
    commit_index: int
    votes: tuple[str, ...] = ()


class LeaderElected(CoreLine, tag="leader_elected", kw_only=True):
    """It learned who leads the term."""

    leader_id: str


class SteppedDown(CoreLine, tag="stepped_down", kw_only=True):
    """It stopped leading; here `term` is the term it led."""

    reason: str
    last_log_index: int


class VoteGranted(CoreLine, tag="vote_granted", kw_only=True):
    """It gave its vote of the term."""

    candidate_id: str


class LogTruncated(CoreLine, tag="log_truncated", kw_only=True):
    """It removed entries from `first_index` on."""

    first_index: int
    last_index: int
    commit_index: int


class MembershipChanged(CoreLine, tag="membership_changed", kw_only=True):
    """Another configuration counts."""

    voters: tuple[str, ...]
    outgoing: tuple[str, ...] = ()
    learners: tuple[str, ...] = ()


class NodeStarted(NodeLine, tag="node_started", kw_only=True):
    """A process began to serve."""

    incarnation: str
    members: tuple[str, ...]
    version: str = ""
    last_log_index: int = 0
    last_log_term: int = 0
    snapshot_index: int = 0


class NodeStopped(NodeLine, tag="node_stopped", kw_only=True):
    """A process ended by itself."""

    reason: str = ""


class StorageRepaired(NodeLine, tag="storage_repaired", kw_only=True):
    """Written before `node_started`, while the disk is read."""

    file: str = ""
    reason: str = ""


class Checkpoint(NodeLine, kw_only=True):
    """The running hash of everything applied up to `index`, whose entry is of `entry_term`."""

    index: int
    entry_term: int
    digest: str


class Applied(Checkpoint, tag="applied", kw_only=True):
    """The state machine has come this far."""


class SnapshotTaken(Checkpoint, tag="snapshot_taken", kw_only=True):
    """A snapshot is on disk; written some time after its state was current."""


class SnapshotInstalled(Checkpoint, tag="snapshot_installed", kw_only=True):
    """The state was replaced by the leader's snapshot."""


class FaultInjected(NodeLine, tag="fault_injected", kw_only=True):
    """Someone made the node misbehave."""

    kind: str = ""
    peers: tuple[str, ...] = ()


class FaultCleared(NodeLine, tag="fault_cleared", kw_only=True):
    """Injected faults ended."""


class Other(NodeLine, tag="other", kw_only=True):
    """A line of any other event, whose name is `name`."""

    name: str = ""


Known = (
    BecameFollower
    | BecamePreCandidate
    | BecameCandidate
    | BecameLeader
    | LeaderElected
    | SteppedDown
    | VoteGranted
    | LogTruncated
    | MembershipChanged
    | NodeStarted
    | NodeStopped
    | StorageRepaired
    | Applied
    | SnapshotTaken
    | SnapshotInstalled
    | FaultInjected
    | FaultCleared
)
_KNOWN_NAMES = frozenset(str(kind.__struct_config__.tag) for kind in Known.__args__)
_decode_known = msgspec.json.Decoder(Known).decode


def decode_line(text: str) -> NodeLine | None:
    """The line, or None where it is none of a node at all; raises msgspec.ValidationError where a field is wrong."""
    fields = json_object(text)
    if fields is None or "event" not in fields:
        return None
    event: object = fields["event"]
    if not isinstance(event, str) or event in _KNOWN_NAMES:
        known: NodeLine = _decode_known(text)
        return known
    other: dict[str, object] = {key: fields[key] for key in ("ts", "node", "term", "level") if key in fields}
    return msgspec.convert({**other, "event": "other", "name": event}, Other)
