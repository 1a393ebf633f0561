"""What the core reports for people and for the judge; the shell writes each as one log line (docs/log-events.md).

The class name in snake case is the line's `event`; the shell adds `ts`, `level` and `node`. `term` is the server's
current term when it happened. The comment behind a field is its description in docs/log-events.md.
"""

import msgspec


class CoreEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What all events of the core share."""

    term: int  # the server's current term


class BecameFollower(CoreEvent, frozen=True, kw_only=True):
    """The server follows (§5.1)."""

    leader_id: str  # whom it follows, "" if unknown


class BecamePreCandidate(CoreEvent, frozen=True, kw_only=True):
    """The election timeout ran out: it asks whether it could win, in no new term yet (thesis 9.6)."""

    last_log_index: int  # index of the last entry of its log
    last_log_term: int  # term of that entry


class BecameCandidate(CoreEvent, frozen=True, kw_only=True):
    """It began a new term and asks for votes (§5.2); `transfer` when the old leader told it to (thesis 3.10)."""

    last_log_index: int  # index of the last entry of its log
    last_log_term: int  # term of that entry
    transfer: bool  # whether the old leader asked for this election


class BecameLeader(CoreEvent, frozen=True, kw_only=True):
    """It won the election of this term (§5.2); the judge holds `last_log_index` and `commit_index` to Figure 3."""

    last_log_index: int  # index of the last entry of its log
    last_log_term: int  # term of that entry
    commit_index: int  # the last entry it knows to be committed
    votes: tuple[str, ...]  # who voted for it, itself included


class LeaderElected(CoreEvent, frozen=True, kw_only=True):
    """The server learned who leads this term."""

    leader_id: str  # the leader of this term


class SteppedDown(CoreEvent, frozen=True, kw_only=True):
    """A leader stopped leading; `term` is the term it led."""

    reason: str  # higher_term, no_quorum, removed or transferred
    last_log_index: int  # index of the last entry of its log


class VoteGranted(CoreEvent, frozen=True, kw_only=True):
    """It gave its one vote of the term (§5.2)."""

    candidate_id: str  # who got the vote


class LogTruncated(CoreEvent, frozen=True, kw_only=True):
    """A follower removed entries that conflict with its leader's (§5.3): from `first_index` to `last_index`."""

    first_index: int  # the first entry removed
    last_index: int  # the last entry removed
    commit_index: int  # the last entry it knows to be committed; always below first_index


class MembershipChanged(CoreEvent, frozen=True, kw_only=True):
    """A configuration counts from now on (§6): appended, or gone back to when its entry was truncated."""

    index: int  # the entry that holds the configuration; 0 is the first membership
    voters: tuple[str, ...]  # node ids
    outgoing: tuple[str, ...]  # node ids of the voters it leaves behind; not empty while the change is joint
    learners: tuple[str, ...]  # node ids of those who get the log and have no vote


class SnapshotSendStarted(CoreEvent, frozen=True, kw_only=True):
    """A follower needs entries the leader no longer has, so the leader sends it a snapshot (§7)."""

    to: str  # node id of the follower
    index: int  # the last entry in the snapshot


class SnapshotSent(CoreEvent, frozen=True, kw_only=True):
    """A follower has installed the snapshot that this leader sent (Figure 13)."""

    to: str  # node id of the follower
    index: int  # the last entry in it


class TransferStarted(CoreEvent, frozen=True, kw_only=True):
    """The leader hands over: it takes no new proposals until the target leads or an election timeout has passed."""

    target: str  # node id of the server that is to lead


class PeerReincarnated(CoreEvent, frozen=True, kw_only=True):
    """A member came back with another data directory than the one recorded: it has no vote until it is promoted."""

    peer: str  # node id
    recorded: str  # the incarnation in the membership
    found: str  # the incarnation it has now


Event = (
    BecameFollower
    | BecamePreCandidate
    | BecameCandidate
    | BecameLeader
    | LeaderElected
    | SteppedDown
    | VoteGranted
    | LogTruncated
    | MembershipChanged
    | SnapshotSendStarted
    | SnapshotSent
    | TransferStarted
    | PeerReincarnated
)
