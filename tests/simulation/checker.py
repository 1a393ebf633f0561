"""Holds every round of every server to the invariants of raft_zmq/core/invariants.py."""

import hashlib
from collections.abc import Sequence

from raft_zmq.core import invariants, leading
from raft_zmq.core.errors import InvariantError
from raft_zmq.core.events import BecameLeader
from raft_zmq.core.inputs import Input, Received, SnapshotWritten
from raft_zmq.core.invariants import LEADER, LogView, Seen, View
from raft_zmq.core.membership import Membership, decode
from raft_zmq.core.messages import Entry, EntryKind, HardState, PeerMessage, VoteRequest
from raft_zmq.core.raft import Raft
from raft_zmq.core.ready import ReadGranted, Ready
from raft_zmq.core.stored import Stored
from tests.simulation.disk import Disk

Memberships = list[tuple[int, Membership]]  # (index it was appended at, membership), the newest last


def look_at(raft: Raft) -> View:
    """What a server shows of itself."""
    state, config = raft.state, raft.state.config
    return View(
        config.node_id,
        config.incarnation,
        state.role.value,
        state.current_term,
        state.voted_for,
        state.commit_index,
        state.log.last_index,
        state.log.last_term,
    )


def hold(finding: str | None) -> None:
    """Raise InvariantError if an invariant found something wrong."""
    if finding is not None:
        raise InvariantError(finding)


class Checker:
    """The judge of one world; one for all servers."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.durable: dict[tuple[str, str], LogView] = {}  # what each data directory ever held, wiped ones too
        self._views: dict[str, View] = {}
        self._synced: dict[tuple[str, str], HardState] = {}
        self._memberships: dict[str, Memberships] = {}
        self._last_applied: dict[str, int] = {}
        self._reads: dict[tuple[str, int], int] = {}  # (node, ticket) -> what was committed when it was asked

    def memberships(self, node_id: str) -> Memberships:
        """The memberships that the newest life of a server went by."""
        return self._memberships.get(node_id, [])

    # -- starts and inputs ---------------------------------------------------------------------------------------------

    def started(self, raft: Raft, stored: Stored, disk: Disk) -> None:
        """A server has read its disk and knows nothing else."""
        after = look_at(raft)
        self._views[after.node_id] = after
        self.durable[after.node_id, after.incarnation] = disk.log
        self._last_applied[after.node_id] = stored.snapshot_index
        memberships = [(stored.snapshot_index, stored.base_membership)]
        voters = stored.snapshot_membership.voters
        if stored.snapshot_index and voters and all(member.incarnation for member in voters):
            memberships = [(stored.snapshot_index, stored.snapshot_membership)]
        new = [entry for entry in stored.entries if entry.index > stored.snapshot_index]
        self._memberships[after.node_id] = memberships + _configurations(new)

    def stepped(self, raft: Raft, input_: Input, before: tuple[int, str]) -> None:
        """One input has been stepped; `before` is the term and vote from before it."""
        if isinstance(input_, Received) and isinstance(input_.message, VoteRequest) and input_.message.pre_vote:
            state = raft.state
            hold(
                invariants.pre_vote_changes_nothing(state.config.node_id, before, (state.current_term, state.voted_for))
            )

        if isinstance(input_, SnapshotWritten):
            self._check_compaction(raft, input_.index)

    def _check_compaction(self, raft: Raft, index: int) -> None:
        log, config = raft.state.log, raft.state.config
        below = log.entries(log.first_index, index)
        bytes_max = leading.KEPT_LOGS * config.snapshot_log_bytes
        hold(invariants.compaction_is_bounded(config.node_id, below, config.trailing_entries, bytes_max))

    def read_asked(self, node_id: str, ticket: int) -> None:
        """A client asked for a read: it must see everything that is committed by now."""
        self._reads[node_id, ticket] = self.seen.commit_index

    def reads_granted(self, node_id: str, granted: Sequence[ReadGranted]) -> None:
        """Reads were granted."""
        for read in granted:
            hold(invariants.read_is_fresh(read.read_index, self._reads.pop((node_id, read.ticket))))

    # -- rounds --------------------------------------------------------------------------------------------------------

    def round(self, raft: Raft, ready: Ready, disk: Disk) -> None:
        """A server has said what is to be done next, and nothing of it is done."""
        after = look_at(raft)
        before = self._views[after.node_id]
        memory, seen = raft.state.log, self.seen
        hold(invariants.term_never_goes_back(before, after))
        hold(invariants.election_safety(seen, after))
        hold(invariants.commit_index_never_goes_back(before, after))
        self._check_entries(before, after, ready, disk)
        if ready.reset_log_to is None:
            stable = memory.stable_index
            synced = disk.log.term_at(stable)
            hold(invariants.counts_only_what_is_synced(after.node_id, stable, memory.term_at(stable), synced))
        used = self._check_membership(raft, after, ready, disk)
        for event in ready.events:
            if isinstance(event, BecameLeader):
                hold(invariants.won_by_a_majority(after.node_id, event.term, raft.state.membership, event.votes))
        if after.commit_index > before.commit_index:
            self._check_commit(raft, before, after, used)
        if after.role == LEADER and (before.role, before.term) != (LEADER, after.term):
            hold(invariants.leader_completeness(seen, after, memory))
        self._views[after.node_id] = after
        self.reads_granted(after.node_id, ready.reads)

    def _check_entries(self, before: View, after: View, ready: Ready, disk: Disk) -> None:
        entries, reset_to, log = ready.entries, ready.reset_log_to, disk.log
        if reset_to is not None:
            hold(invariants.snapshot_keeps_what_matches(log, reset_to))
        elif entries:
            hold(invariants.truncates_only_a_conflict(log, entries))
            hold(invariants.committed_entries_stay(before, entries))
        hold(invariants.leader_append_only(before, after, entries))
        if entries:
            previous_term = reset_to[1] if reset_to is not None else log.term_at(entries[0].index - 1)
            hold(invariants.log_matching(self.seen, after.node_id, previous_term, entries))

    def _check_membership(self, raft: Raft, after: View, ready: Ready, disk: Disk) -> list[Membership]:
        """Returns the memberships that counted at some time since the last round."""
        memberships = self._memberships[after.node_id]
        used = [memberships[-1][1]]
        if ready.base_membership is not None:
            memberships[0] = (memberships[0][0], ready.base_membership)
        if ready.reset_log_to is not None:
            assert disk.snapshot is not None
            memberships[:] = [(disk.snapshot.index, disk.snapshot.membership)]
        if ready.entries:
            while memberships[-1][0] >= ready.entries[0].index:
                memberships.pop()
            for entry in ready.entries:
                if entry.kind == EntryKind.CONFIGURATION:
                    self._check_change(raft, after, memberships[-1], entry)
                    memberships.append((entry.index, decode(entry.data)))
                    used.append(memberships[-1][1])
        hold(invariants.latest_membership_counts(after, raft.state.membership, memberships[-1][1]))
        return used

    def _check_change(self, raft: Raft, after: View, previous: tuple[int, Membership], entry: Entry) -> None:
        if after.role == LEADER and entry.term == after.term:  # whoever follows copies what a leader was allowed
            hold(invariants.majorities_overlap(previous[1], decode(entry.data)))
            hold(invariants.one_change_at_a_time(after, raft.state.log, previous[0], entry))

    def _check_commit(self, raft: Raft, before: View, after: View, used: Sequence[Membership]) -> None:
        log, seen = raft.state.log, self.seen
        hold(invariants.only_leaders_commit_first(seen, before, after))
        hold(invariants.leader_commits_its_own_term(before, after, log))
        hold(invariants.commits_what_was_committed(seen, after, log))
        if invariants.note_committed(seen, before, after, log):
            index = after.commit_index
            term = log.term_at(index)
            findings = [invariants.committed_is_durable(index, term, each, self.durable) for each in used]
            hold(None if None in findings else findings[0])

    def written(self, raft: Raft, disk: Disk) -> None:
        """The record of a round has been written, not yet synced."""
        log = raft.state.log
        in_memory = (log.last_index, log.last_term)
        hold(invariants.memory_equals_disk(raft.state.config.node_id, in_memory, disk.end_as_written()))

    def synced(self, node_id: str, disk: Disk) -> None:
        """A record is durable, and with it maybe a new term and a vote."""
        key = (node_id, disk.incarnation)
        hold(invariants.durable_term_never_goes_back(node_id, self._synced.get(key, HardState()), disk.hard_state))
        self._synced[key] = disk.hard_state
        hold(invariants.one_vote_per_term(self.seen, node_id, disk.incarnation, disk.hard_state))

    def sent(self, node_id: str, to: str, message: PeerMessage, disk: Disk) -> None:
        """A message leaves: whatever it promises must be on the disk."""
        hold(invariants.promise_is_durable(node_id, to, message, disk.hard_state, disk.log))

    # -- the state machine ---------------------------------------------------------------------------------------------

    def applied(self, node_id: str, entries: Sequence[Entry], digest: str) -> None:
        """Committed entries have been applied; `digest` is the state after them."""
        hold(invariants.state_machine_safety(self.seen, node_id, self._last_applied[node_id], entries))
        self._last_applied[node_id] = entries[-1].index
        hold(invariants.equal_states(self.seen.digests, node_id, entries[-1].index, digest))

    def restored(self, node_id: str, last_index: int, digest: str) -> None:
        """The state machine was restored from a snapshot up to last_index."""
        self._last_applied[node_id] = last_index
        hold(invariants.equal_states(self.seen.digests, node_id, last_index, digest))

    def snapshot(self, node_id: str, last_index: int, data: bytes) -> None:
        """A server wrote its whole state."""
        state = hashlib.sha256(data).hexdigest()
        hold(invariants.equal_states(self.seen.snapshots, node_id, last_index, state))


def _configurations(entries: Sequence[Entry]) -> Memberships:
    return [(entry.index, decode(entry.data)) for entry in entries if entry.kind == EntryKind.CONFIGURATION]
