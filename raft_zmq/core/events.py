"""What the core reports for people and for the judge; the shell writes each as one log line (docs/log-events.md).

The class name in snake case is the line's `event`; the shell adds `ts`, `level` and `node`. `term` is the server's
current term when it happened.
"""

import msgspec


class CoreEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What all events of the core share."""

    term: int


class BecameFollower(CoreEvent, frozen=True, kw_only=True):
    """The server follows (§5.1); `leader_id` is "" while it knows none."""

    leader_id: str


class BecamePreCandidate(CoreEvent, frozen=True, kw_only=True):
    """The election timeout ran out: it asks whether it could win, in no new term yet (thesis 9.6)."""

    last_log_index: int
    last_log_term: int


class BecameCandidate(CoreEvent, frozen=True, kw_only=True):
    """It began a new term and asks for votes (§5.2); `transfer` when the old leader told it to (thesis 3.10)."""

    last_log_index: int
    last_log_term: int
    transfer: bool


class BecameLeader(CoreEvent, frozen=True, kw_only=True):
    """It won the election of this term (§5.2); the judge holds `last_log_index` and `commit_index` to Figure 3."""

    last_log_index: int
    last_log_term: int
    commit_index: int
    votes: tuple[str, ...]


class LeaderElected(CoreEvent, frozen=True, kw_only=True):
    """The server learned who leads this term."""

    leader_id: str


class SteppedDown(CoreEvent, frozen=True, kw_only=True):
    """A leader stopped leading; `term` is the term it led. `reason`: higher_term, no_quorum, removed or transferred."""

    reason: str
    last_log_index: int


class VoteGranted(CoreEvent, frozen=True, kw_only=True):
    """It gave its one vote of the term (§5.2)."""

    candidate_id: str


class LogTruncated(CoreEvent, frozen=True, kw_only=True):
    """A follower removed entries that conflict with its leader's (§5.3): from `first_index` to `last_index`."""

    first_index: int
    last_index: int
    commit_index: int


class MembershipChanged(CoreEvent, frozen=True, kw_only=True):
    """A configuration counts from now on (§6): appended, or gone back to when its entry was truncated."""

    index: int
    voters: tuple[str, ...]
    outgoing: tuple[str, ...]
    learners: tuple[str, ...]


class SnapshotSendStarted(CoreEvent, frozen=True, kw_only=True):
    """A follower needs entries the leader no longer has, so the leader sends it a snapshot (§7)."""

    to: str
    index: int


class TransferStarted(CoreEvent, frozen=True, kw_only=True):
    """The leader hands over: it takes no new proposals until the target leads or an election timeout has passed."""

    target: str


class PeerReincarnated(CoreEvent, frozen=True, kw_only=True):
    """A member came back with another data directory than the one recorded: it has no vote until it is promoted."""

    peer: str
    recorded: str
    found: str


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
    | TransferStarted
    | PeerReincarnated
)
