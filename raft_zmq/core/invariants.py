"""What must hold in every run of Raft, one function each: it returns what is wrong, or None.

The functions read plain values: a `View` of one server after a round, the entries it wrote, the messages it let go.
`Seen` remembers what one picture cannot show: who led a term, which vote was given, which entry stood where. With it
every check costs as much as the round changed, however long the run has been.

Sources: Figure 2, Figure 3 and the sections of the Raft paper (extended version); "thesis" is Ongaro's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import (
    AppendReply,
    Entry,
    HardState,
    PeerMessage,
    SnapshotReply,
    VoteReply,
    VoteRequest,
)

LEADER = "leader"


class View(msgspec.Struct, frozen=True, gc=False):
    """One server between two rounds; `role` is follower, pre_candidate, candidate or leader."""

    node_id: str
    incarnation: str
    role: str
    term: int
    voted_for: str
    commit_index: int
    last_index: int
    last_term: int


class LogView(Protocol):
    """The terms of a log; that of entry `first_index - 1` is still known, what is not there has None."""

    @property
    def first_index(self) -> int: ...  # noqa: D102

    @property
    def last_index(self) -> int: ...  # noqa: D102

    def term_at(self, index: int) -> int | None: ...  # noqa: D102


class Committed(msgspec.Struct, frozen=True, gc=False):
    """The entry of `entry_term` at some index, committed by the leader of `leader_term`."""

    entry_term: int | None  # None: it was gone from the log when it was seen
    leader_term: int


class Seen:
    """The memory of a run: what was seen once may not be otherwise later."""

    def __init__(self) -> None:
        self.leaders: dict[int, str] = {}  # term -> who led it
        self.votes: dict[tuple[str, str, int], str] = {}  # (node id, incarnation, term) -> candidate
        self.entries: dict[tuple[int, int], tuple[int, int, bytes]] = {}  # (index, term) -> (previous term, kind, data)
        self.committed: list[Committed] = []  # at index - 1
        self.digests: dict[int, str] = {}  # applied index -> running hash of everything applied
        self.snapshots: dict[int, str] = {}  # applied index -> hash of the whole state

    @property
    def commit_index(self) -> int:
        """The highest index that any server has ever committed."""
        return len(self.committed)


# -- elections ---------------------------------------------------------------------------------------------------------


def election_safety(seen: Seen, after: View) -> str | None:
    """Figure 3, §5.2: at most one leader can be elected in a term."""
    if after.role != LEADER:
        return None
    leader = seen.leaders.setdefault(after.term, after.node_id)
    if leader != after.node_id:
        return f"term {after.term} has two leaders, {leader} and {after.node_id}"
    return None


def one_vote_per_term(seen: Seen, node_id: str, incarnation: str, hard_state: HardState) -> str | None:
    """Figure 2, §5.2: each server votes for at most one candidate in a term, crashes included."""
    if not hard_state.voted_for:
        return None
    key = (node_id, incarnation, hard_state.current_term)
    candidate = seen.votes.setdefault(key, hard_state.voted_for)
    if candidate != hard_state.voted_for:
        return f"{node_id} voted in term {key[2]} for {candidate} and again for {hard_state.voted_for}"
    return None


def won_by_a_majority(node_id: str, term: int, membership: Membership, votes: Iterable[str]) -> str | None:
    """§5.2, §6: a leader has the votes of a majority, and of both majorities while the membership is joint."""
    given = set(votes)
    for group in filter(None, (membership.voters, membership.outgoing)):
        count = sum(member.node_id in given for member in group)
        if 2 * count <= len(group):
            return f"{node_id} leads term {term} with {count} of {len(group)} votes ({sorted(given)})"
    return None


def term_never_goes_back(before: View, after: View) -> str | None:
    """§5.1: the current term increases monotonically, and a vote stands as long as its term."""
    if after.term < before.term:
        return f"{after.node_id} went back from term {before.term} to {after.term}"
    if after.term == before.term and before.voted_for not in ("", after.voted_for):
        return f"{after.node_id} changed its vote in term {after.term} from {before.voted_for} to {after.voted_for!r}"
    return None


def durable_term_never_goes_back(node_id: str, before: HardState, after: HardState) -> str | None:
    """§5.1, Figure 2: the same for what is on the disk, across restarts."""
    if after.current_term < before.current_term:
        return f"the disk of {node_id} went back from term {before.current_term} to {after.current_term}"
    return None


def pre_vote_changes_nothing(node_id: str, before: tuple[int, str], after: tuple[int, str]) -> str | None:
    """Thesis 9.6: whoever is asked for a pre-vote changes neither its term nor its vote, given as (term, vote)."""
    if before != after:
        return f"a request for a pre-vote changed the (term, vote) of {node_id} from {before} to {after}"
    return None


# -- the log -----------------------------------------------------------------------------------------------------------


def leader_append_only(before: View, after: View, written: Sequence[Entry]) -> str | None:
    """Figure 3, §5.3: a leader never overwrites or deletes entries in its log, it only appends."""
    if not (before.role == after.role == LEADER and before.term == after.term):
        return None
    if after.last_index < before.last_index or (written and written[0].index != before.last_index + 1):
        return f"{after.node_id}, leader of term {after.term}, changed its log at or below {before.last_index}"
    return None


def log_matching(seen: Seen, node_id: str, previous_term: int | None, written: Sequence[Entry]) -> str | None:
    """Figure 3, §5.3: two logs with an entry of the same index and term are equal up to that entry.

    By induction: an (index, term) has one content and one predecessor, in whatever log it stands.
    """
    entries = seen.entries
    if previous_term is None:
        return f"{node_id} left a gap before entry {written[0].index}"
    for entry in written:
        slot = (previous_term, int(entry.kind), entry.data)
        if entries.setdefault((entry.index, entry.term), slot) != slot:
            return f"{node_id} holds another entry at {entry.index} of term {entry.term} than some server did"
        if entry.term < previous_term:
            return f"{node_id} has term {entry.term} at {entry.index} after term {previous_term}"
        previous_term = entry.term
    return None


def truncates_only_a_conflict(log: LogView, written: Sequence[Entry]) -> str | None:
    """§5.3: entries are replaced only where the terms differ; a late, shorter request removes nothing.

    `log` is the log before `written` replaces it from written[0].index on.
    """
    first = written[0]
    if log.term_at(first.index) == first.term:
        return f"entry {first.index} of term {first.term} was written over itself, and what followed was cut"
    return None


def committed_entries_stay(before: View, written: Sequence[Entry]) -> str | None:
    """§5.4: no server replaces an entry that it knows to be committed."""
    if written[0].index <= before.commit_index:
        return f"{before.node_id} replaced entry {written[0].index}, though {before.commit_index} are committed"
    return None


def snapshot_keeps_what_matches(log: LogView, reset_to: tuple[int, int]) -> str | None:
    """Figure 13, step 6: a log that holds the snapshot's last entry keeps what follows it."""
    index, term = reset_to
    if log.first_index <= index < log.last_index and log.term_at(index) == term:
        return f"a snapshot up to {index} of term {term} dropped the matching entries up to {log.last_index}"
    return None


def compaction_is_bounded(node_id: str, below: Sequence[Entry], trailing_entries: int, bytes_max: int) -> str | None:
    """§7: of the log below a snapshot stays what always trails, or no more than may be kept for those it is sent to."""
    size_bytes = sum(len(entry.data) for entry in below)
    if len(below) > trailing_entries and size_bytes > bytes_max:
        return f"{node_id} keeps {len(below)} entries, {size_bytes} bytes, below its snapshot; allowed are {bytes_max}"
    return None


def memory_equals_disk(node_id: str, in_memory: tuple[int, int | None], written: tuple[int, int | None]) -> str | None:
    """Figure 2, persistent state: what a server believes its log to be is what it has been told to write.

    Both are the (index, term) where the log ends.
    """
    if in_memory != written:
        return f"{node_id} believes its log to end at (index, term) {in_memory}, and wrote it to end at {written}"
    return None


def counts_only_what_is_synced(
    node_id: str, stable_index: int, in_memory: int | None, synced: int | None
) -> str | None:
    """Thesis 10.2.1: a server counts its own copy of an entry once that very entry is synced, not an older one there.

    The terms are those at `stable_index` in the log in memory and in the one on the disk; None where it has none.
    """
    if in_memory != synced or in_memory is None:
        return f"{node_id} counts entry {stable_index} as synced: term {in_memory} in memory, {synced} on its disk"
    return None


# -- commitment --------------------------------------------------------------------------------------------------------


def commit_index_never_goes_back(before: View, after: View) -> str | None:
    """Figure 2, volatile state: commitIndex increases monotonically, and never beyond the log."""
    if after.commit_index < before.commit_index:
        return f"{after.node_id} moved its commit index back from {before.commit_index} to {after.commit_index}"
    if after.commit_index > after.last_index:
        return f"{after.node_id} committed {after.commit_index}, but its log ends at {after.last_index}"
    return None


def leader_commits_its_own_term(before: View, after: View, log: LogView) -> str | None:
    """§5.4.2, Figure 8: a leader commits by counting only entries of its own term; older ones come along."""
    if not (before.role == after.role == LEADER and before.term == after.term):
        return None
    if after.commit_index > before.commit_index and log.term_at(after.commit_index) != after.term:
        return (
            f"{after.node_id}, leader of term {after.term}, committed {after.commit_index} "
            f"of term {log.term_at(after.commit_index)} by counting"
        )
    return None


def commits_what_was_committed(seen: Seen, after: View, log: LogView) -> str | None:
    """§5.3, AppendEntries step 5: a commit index covers only entries that equal the leader's committed ones."""
    index = after.commit_index
    if not max(1, log.first_index - 1) <= index <= seen.commit_index:
        return None
    if log.term_at(index) != seen.committed[index - 1].entry_term:
        return (
            f"{after.node_id} took entry {index} of term {log.term_at(index)} for committed; "
            f"committed was the one of term {seen.committed[index - 1].entry_term}"
        )
    return None


def only_leaders_commit_first(seen: Seen, before: View, after: View) -> str | None:
    """§5.3: the leader decides when an entry is committed; a follower only hears of it."""
    if after.commit_index > seen.commit_index and LEADER not in (before.role, after.role):
        return f"{after.node_id}, a {after.role}, committed {after.commit_index} before any leader did"
    return None


def committed_is_durable(
    index: int, term: int | None, membership: Membership, durable: Mapping[tuple[str, str], LogView]
) -> str | None:
    """§5.3, §6, thesis 10.2.1: a committed entry is synced on a majority, on both majorities of a joint membership.

    `durable` holds what each (node id, incarnation) has synced.
    """
    for group in filter(None, (membership.voters, membership.outgoing)):
        count = sum(_holds(durable.get((member.node_id, member.incarnation)), index, term) for member in group)
        if 2 * count <= len(group):
            return f"entry {index} of term {term} is committed, but synced on {count} of {len(group)} voters only"
    return None


def _holds(log: LogView | None, index: int, term: int | None) -> bool:
    if log is None or log.last_index < index:
        return False
    return index < log.first_index or log.term_at(index) == term


def note_committed(seen: Seen, before: View, after: View, log: LogView) -> range:
    """Remember what is committed for the first time; returns those indexes."""
    new = range(seen.commit_index + 1, after.commit_index + 1)
    leader_term = before.term if before.role == LEADER != after.role else after.term
    for index in new:
        seen.committed.append(Committed(log.term_at(index), leader_term))
    return new


def leader_completeness(seen: Seen, leader: View, log: LogView) -> str | None:
    """Figure 3, §5.4: a committed entry is in the logs of the leaders of all higher terms."""
    index = seen.commit_index
    while index and seen.committed[index - 1].leader_term >= leader.term:
        index -= 1
    if index == 0 or index < log.first_index - 1:
        return None
    term = seen.committed[index - 1].entry_term
    if log.last_index < index or log.term_at(index) != term:
        return f"{leader.node_id} leads term {leader.term} without entry {index} of term {term}, which is committed"
    return None


# -- the state machine -------------------------------------------------------------------------------------------------


def state_machine_safety(seen: Seen, node_id: str, last_applied: int, applied: Sequence[Entry]) -> str | None:
    """Figure 3, §5.4.3: no two servers apply different entries at an index, and each applies all, in order."""
    for entry in applied:
        last_applied += 1
        if entry.index != last_applied:
            return f"{node_id} was to apply {entry.index} next, and {last_applied} is what follows"
        if entry.index > seen.commit_index:
            return f"{node_id} applied {entry.index}, which no server has committed"
        if entry.term != seen.committed[entry.index - 1].entry_term:
            return f"{node_id} applied another entry at {entry.index} (term {entry.term}) than the committed one"
        known = seen.entries.get((entry.index, entry.term))
        if known is not None and known[1:] != (int(entry.kind), entry.data):
            return f"{node_id} applied other bytes at {entry.index} than the committed ones"
    return None


def equal_states(known: dict[int, str], node_id: str, last_applied: int, state: str) -> str | None:
    """Figure 3, §5.4.3, thesis 6.3: servers that applied the same entries are in the same state.

    `known` is `Seen.digests` or `Seen.snapshots`, and `state` what stands for the state there.
    """
    if known.setdefault(last_applied, state) != state:
        return f"{node_id} is in another state after entry {last_applied} than some server was"
    return None


def read_is_fresh(read_index: int, committed_before: int) -> str | None:
    """§8, thesis 6.4: a read sees every write that was committed when it was asked for."""
    if read_index < committed_before:
        return f"a read was granted at {read_index}, though {committed_before} entries were committed when it was asked"
    return None


# -- promises ----------------------------------------------------------------------------------------------------------


def promise_is_durable(sender: str, to: str, message: PeerMessage, synced: HardState, log: LogView) -> str | None:
    """Figure 2, §5.2, thesis 3.8: terms, votes and acknowledged entries are synced before a message speaks of them."""
    if getattr(message, "pre_vote", False):
        return None  # a pre-vote promises nothing (thesis 9.6)
    if message.term > synced.current_term:
        return f"{sender} sent term {message.term} before it was synced (synced: {synced.current_term})"
    vote = to if isinstance(message, VoteReply) and message.granted else ""
    vote = sender if isinstance(message, VoteRequest) else vote
    if vote and message.term == synced.current_term and synced.voted_for != vote:
        return f"{sender} sent its vote for {vote} in term {message.term} before it was synced"
    reach = message.match_index if isinstance(message, AppendReply) and message.ok else 0
    reach = message.last_index if isinstance(message, SnapshotReply) and message.installed else reach
    if message.term == synced.current_term and reach > log.last_index:
        return f"{sender} acknowledged {reach} entries when {log.last_index} were synced"
    return None


# -- membership --------------------------------------------------------------------------------------------------------


def one_change_at_a_time(after: View, log: LogView, previous_index: int, entry: Entry) -> str | None:
    """§6, thesis 4.1, and its erratum: a leader changes the membership when the last change is committed and so is
    an entry of its own term.
    """
    if previous_index > after.commit_index:
        return f"{after.node_id} appended a membership at {entry.index} while the one at {previous_index} is open"
    if log.term_at(after.commit_index) != after.term:
        return f"{after.node_id} changed the membership before it committed an entry of its term {after.term}"
    return None


def majorities_overlap(old: Membership, new: Membership) -> str | None:
    """§6, thesis 4.1 and 4.3: no two disjoint majorities decide: one voter differs, or the change is joint."""
    old_voters, new_voters = _identities(old.voters), _identities(new.voters)
    if old.joint:
        wrong = new.joint or new_voters != old_voters
    elif new.joint:
        wrong = _identities(new.outgoing) != old_voters
    else:
        wrong = len(old_voters ^ new_voters) > 1
    return f"no safe step leads from the membership {_show(old)} to {_show(new)}" if wrong else None


def latest_membership_counts(after: View, in_use: Membership, latest: Membership) -> str | None:
    """§6: a server uses the latest membership in its log, committed or not, and goes back when that is truncated."""
    if in_use != latest:
        return f"{after.node_id} goes by {_show(in_use)}; the latest in its log is {_show(latest)}"
    return None


def _identities(members: Iterable[Member]) -> set[tuple[str, str]]:
    return {(member.node_id, member.incarnation) for member in members}


def _show(membership: Membership) -> str:
    def names(members: Iterable[Member]) -> str:
        return " ".join(f"{member.node_id}/{member.incarnation}" for member in members)

    return f"[voters {names(membership.voters)}; outgoing {names(membership.outgoing)}; " + (
        f"learners {names(membership.learners)}]"
    )
