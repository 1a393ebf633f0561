"""Entries, and the messages that servers send each other (Figure 2, Figure 13, thesis 3.10, 4 and 9.6).

Every message carries the sender's `term`. Who sent it, and under which incarnation, is known from the transport and
is not part of the message. Messages are arrays on the wire: a field may be added at the end, with a default, and an
older node skips it (rolling upgrade).
"""

import enum
from typing import Annotated

import msgspec

NodeId = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]  # a server's name, as in "raft-0"
Incarnation = Annotated[str, msgspec.Meta(max_length=32)]  # drawn once for each data directory; "" is "not known yet"
Term = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Index = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # counts from 1; 0 is "before the first entry"
Token = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # names one round of reads; 0 is "no round"


class EntryKind(enum.IntEnum):
    """What an entry's `data` is for."""

    NOOP = 0  # the first entry of a leader's term (§8); empty
    COMMAND = 1  # for the state machine; opaque here
    CONFIGURATION = 2  # an encoded `membership.Membership` (§6)


class DiskState(enum.IntEnum):
    """How a server's disk is, the worse the higher: a leader hands over to a server that is better off."""

    GOOD = 0
    SLOW = 1  # its syncs take long
    FILLING = 2  # no room for more of the log than has been set aside: as leader it takes no more commands
    FULL = 3  # what is left is kept for term and vote: it takes no entries either


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One slot of the log (§5.3): `data` stays as the bytes it came in, all the way to the state machine."""

    index: Index
    term: Term
    kind: EntryKind
    data: bytes


class HardState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What Figure 2 calls persistent state, apart from the log: synced before any message that depends on it.

    `commit_index` may be stale after a restart; it only saves the replay from waiting for a leader.
    """

    current_term: Term = 0
    voted_for: str = ""  # "" is "nobody in this term"
    commit_index: Index = 0


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True, kw_only=True):
    """What all messages share; the class name is the tag."""

    term: Term


class Hello(Message, frozen=True, kw_only=True):
    """A server with an empty disk asks every other member who it is, before it may vote for the first time.

    `established` is whether the sender already knows the incarnations of all first members, `recorded` the incarnation
    its membership holds for the receiver ("" if none). Answer: Hello with `reply=True`. An empty disk is thus told
    from a lost one: a server that others have recorded under another incarnation never votes as that member.
    """

    established: bool
    recorded: Incarnation
    reply: bool


class VoteRequest(Message, frozen=True, kw_only=True):
    """Candidate to all voters (Figure 2, RequestVote). Answer: VoteReply.

    With `pre_vote` the term is the one the candidate would start and nobody changes state (thesis 9.6). With
    `transfer` the old leader wants this election, so a voter does not protect it (thesis 3.10, 4.2.3).
    """

    last_log_index: Index
    last_log_term: Term
    pre_vote: bool
    transfer: bool


class VoteReply(Message, frozen=True, kw_only=True):
    """Voter to candidate. A granted pre-vote repeats the asked-for term; everything else carries the voter's own."""

    granted: bool
    pre_vote: bool


class AppendEntries(Message, frozen=True, kw_only=True):
    """Leader to follower: put `entries` after the entry (prev_log_index, prev_log_term) (Figure 2, §5.3).

    Answer: AppendReply. () is a heartbeat. `read_token` names the newest round of reads that this message was sent
    after; the answer repeats it and so confirms leadership for that round and all before it (§8, thesis 6.4). A `quiet`
    heartbeat is answered only by who has something to say against it.
    """

    prev_log_index: Index
    prev_log_term: Term
    entries: tuple[Entry, ...]
    leader_commit: Index  # may lie beyond the last entry sent
    read_token: Token
    quiet: bool = False


class AppendReply(Message, frozen=True, kw_only=True):
    """Follower to leader, sent once what it speaks of is synced.

    When `ok`, the follower's log equals the leader's up to `match_index`. Otherwise the logs differ at
    `prev_log_index` (the request's): the follower's log may agree no later than at `hint_index`, whose term there is
    `hint_term` (§5.3, the quick way back). `read_token` repeats the request's. `disk` is how the follower's disk is.
    """

    ok: bool
    match_index: Index
    prev_log_index: Index
    hint_index: Index
    hint_term: Term
    read_token: Token
    disk: DiskState = DiskState.GOOD


class InstallSnapshot(Message, frozen=True, kw_only=True):
    """Leader to a follower that is behind the start of the leader's log: one chunk of the snapshot (Figure 13).

    The shell fills in `data` and `done` from the snapshot's file; `total_bytes` is that file's size. `membership` is
    the encoded membership as of `last_index`. Answer: SnapshotReply.
    """

    last_index: Index
    last_term: Term
    membership: bytes
    offset: Annotated[int, msgspec.Meta(ge=0)]
    total_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    data: bytes = b""
    done: bool = False
    read_token: Token = 0


class SnapshotReply(Message, frozen=True, kw_only=True):
    """Follower to leader: the next byte it wants of the snapshot (last_index, last_term); so a break loses nothing.

    `installed` says that the follower's log now reaches at least to last_index.
    """

    last_index: Index
    last_term: Term
    next_offset: Annotated[int, msgspec.Meta(ge=0)]
    installed: bool
    read_token: Token = 0


class TimeoutNow(Message, frozen=True, kw_only=True):
    """Leader to the server it hands leadership to: start an election at once (thesis 3.10)."""


PeerMessage = (
    Hello | VoteRequest | VoteReply | AppendEntries | AppendReply | InstallSnapshot | SnapshotReply | TimeoutNow
)
