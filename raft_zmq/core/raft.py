"""The state machine of one server: inputs go in by `step`, work comes out by `ready` (see the package's docstring)."""

from collections.abc import Callable

from raft_zmq.core import bootstrap, configuration, elections, following, handover, inputs, leading, reads, rules
from raft_zmq.core.config import Config
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import (
    AppendEntries,
    AppendReply,
    Entry,
    HardState,
    Hello,
    InstallSnapshot,
    PeerMessage,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from raft_zmq.core.ready import Ready
from raft_zmq.core.state import Outbox, Role, State
from raft_zmq.core.stored import Stored

COMMITTED_ENTRIES = 256  # in one Ready, so that a long replay does not stop the loop …
COMMITTED_ENTRIES_MAX = 4096  # … but more when more has gathered, so that whoever takes in a lot does not fall behind


class Raft:
    """One server. `uniform(low, high)` is its only source of randomness, the `now_s` of `step` its only clock."""

    def __init__(self, config: Config, stored: Stored, uniform: Callable[[float, float], float], now_s: float) -> None:
        self.state = State(config, stored, uniform, now_s)
        self._handing_out_to: int | None = None  # the last committed entry of the Ready under way
        rules.reset_election_timer(self.state)
        if self.state.membership.node_ids():
            rules.report_membership(self.state)

    def step(self, now_s: float, item: inputs.Input) -> None:
        """Take in one input at that time; a time that goes back counts as standing still."""
        state = self.state
        before_s = state.now_s
        state.now_s = max(before_s, now_s)
        if state.config.lease_reads:
            reads.suspect_pause(state, before_s)
        match item:
            case inputs.Received(sender, incarnation, message):
                self._receive(sender, incarnation, message)
            case inputs.Propose(ticket, commands):
                leading.propose(state, ticket, commands)
            case inputs.Read(ticket):
                reads.request(state, ticket)
            case inputs.Tick():
                self._tick()
            case inputs.ChangeMembership():
                configuration.request(state, item)
            case inputs.TransferLeadership():
                handover.request(state, item)
            case inputs.SnapshotWritten():
                self._snapshot_written(item)
            case inputs.SnapshotInstalled(last_index):
                following.snapshot_installed(state, last_index)
            case inputs.SnapshotFailed():
                following.snapshot_failed(state)
            case inputs.SnapshotGone(node_id):
                leading.snapshot_gone(state, node_id)
            case inputs.DiskChanged(disk):
                state.disk = disk
            case inputs.ReportUnreachable(node_id):
                leading.lost_connection(state, node_id)

    def has_ready(self) -> bool:
        """Whether `ready` would bring anything to do; False while a Ready is under way."""
        if self._handing_out_to is not None:
            return False
        state, outbox = self.state, self.state.outbox
        return bool(
            outbox.messages
            or outbox.messages_after_sync
            or state.log.has_to_write()
            or state.commit_index > state.last_applied
            or outbox.accepted
            or outbox.reads
            or outbox.refused
            or outbox.snapshot_chunks
            or outbox.snapshot_sends
            or outbox.reset_log_to
            or outbox.base_membership
            or outbox.compacted
            or outbox.transfers
            or outbox.events
            or self._votes_or_term_changed()
            or (state.role is Role.LEADER and (reads.can_begin_round(state) or leading.can_send(state)))
        )

    def ready(self) -> Ready:
        """What there is to do now; `advance` says that it is done. Inputs may be stepped in between."""
        assert self._handing_out_to is None, "advance() must follow each ready()"
        state = self.state
        if state.role is Role.LEADER:
            if reads.can_begin_round(state):
                reads.begin_round(state)
            leading.send_appends(state)
            if state.read_rounds:
                leading.confirm_reads(state)
        outbox, state.outbox = state.outbox, Outbox()
        entries = state.log.begin_write()
        hard_state = self._hard_state_to_write(entries)
        if hard_state is not None and not _same_vote(hard_state, state.written_hard_state):
            # The term or vote is not on disk yet, and every message speaks in its name.
            outbox.messages_after_sync = outbox.messages + outbox.messages_after_sync
            outbox.messages = []
        state.written_hard_state = hard_state or state.written_hard_state
        self._handing_out_to = state.last_applied + _share(state.commit_index - state.last_applied)
        return Ready(
            messages=outbox.messages,
            hard_state=hard_state,
            base_membership=outbox.base_membership,
            entries=entries,
            snapshot_chunks=outbox.snapshot_chunks,
            reset_log_to=outbox.reset_log_to,
            messages_after_sync=outbox.messages_after_sync,
            snapshot_sends=outbox.snapshot_sends,
            committed=state.log.entries(state.last_applied + 1, self._handing_out_to),
            compacted=outbox.compacted,
            accepted=outbox.accepted,
            refused=outbox.refused,
            reads=outbox.reads,
            transfers=outbox.transfers,
            events=outbox.events,
        )

    def advance(self) -> None:
        """The Ready is done: what it held is synced and applied, and the leader counts its own copy (rule 2)."""
        assert self._handing_out_to is not None, "ready() must come before advance()"
        state = self.state
        state.log.end_write()
        state.last_applied = max(state.last_applied, self._handing_out_to)
        self._handing_out_to = None
        if state.role is Role.LEADER and state.log.stable_index > state.commit_index:
            leading.commit(state)

    def membership_at(self, index: int) -> Membership:
        """The configuration as of an applied index, for a snapshot at that index."""
        return configuration.membership_at(self.state, index)

    def wake_at_s(self) -> float:
        """The time by which a Tick must come."""
        state = self.state
        if state.role is Role.LEADER:
            due_s = state.heartbeat_due_s  # that is often enough for everything but the end of a transfer
            return min(due_s, state.transfer.deadline_s) if state.transfer is not None else due_s
        if bootstrap.is_open(state):
            return min(state.hello_due_s, state.election_deadline_s)
        return state.election_deadline_s

    def _tick(self) -> None:
        state = self.state
        if state.role is Role.LEADER:
            if state.now_s >= state.heartbeat_due_s:
                configuration.tick(state)
                leading.send_due_heartbeats(state)
            handover.tick(state)
            if state.now_s >= state.quorum_due_s:
                leading.check_quorum(state)
            return
        if bootstrap.is_open(state) and state.now_s >= state.hello_due_s:
            bootstrap.tick(state)
        if state.now_s >= state.election_deadline_s:
            elections.election_timed_out(state)

    def _receive(self, sender: str, incarnation: str, message: PeerMessage) -> None:
        """The rules on terms that come before every handler (§5.1; rules 8 to 11), then the handler."""
        state = self.state
        if isinstance(message, Hello):
            leading.heard_from(state, sender, incarnation)
            bootstrap.handle_hello(state, sender, incarnation, message)
            return
        if isinstance(message, VoteRequest) and self._ignores(sender, incarnation, message):
            return
        if message.term > state.current_term:
            self._meet_newer_term(sender, message)
        elif message.term < state.current_term:
            self._answer_older_term(sender, message)
            return
        self._handle(sender, incarnation, message)

    def _ignores(self, sender: str, incarnation: str, request: VoteRequest) -> bool:
        """A candidate that lost the disk it is known by, or that would unseat a leader that is well (rules 11, 15).

        With leases in an equal term as well: this server may have been raised to it since it heard the leader, whose
        lease stands on its vote being held back (thesis 6.4.1).
        """
        member = self.state.membership.member(sender)
        if member is not None and member.incarnation not in ("", incarnation):
            return True
        lowest_term = self.state.current_term + (0 if self.state.config.lease_reads else 1)
        return request.term >= lowest_term and elections.protects_leader(self.state, request)

    def _meet_newer_term(self, sender: str, message: PeerMessage) -> None:
        """Follow into a newer term; a pre-vote and its grant speak of a term that has not begun (rule 9)."""
        if isinstance(message, VoteRequest) and message.pre_vote:
            return
        if isinstance(message, VoteReply) and message.pre_vote and message.granted:
            return
        from_leader = isinstance(message, AppendEntries | InstallSnapshot)
        rules.become_follower(self.state, message.term, sender if from_leader else "")

    def _answer_older_term(self, sender: str, message: PeerMessage) -> None:
        """Tell a server that lags which term it is; without this one in a newer term could never be freed (rule 10)."""
        term = self.state.current_term
        if isinstance(message, AppendEntries | InstallSnapshot):
            refusal = AppendReply(
                term=term, ok=False, match_index=0, prev_log_index=0, hint_index=0, hint_term=0, read_token=0
            )
            self.state.promise(sender, refusal)
        elif isinstance(message, VoteRequest):
            self.state.promise(sender, VoteReply(term=term, granted=False, pre_vote=message.pre_vote))

    def _handle(self, sender: str, incarnation: str, message: PeerMessage) -> None:
        state = self.state
        match message:
            case AppendReply() if state.role is Role.LEADER:
                leading.handle_append_reply(state, sender, incarnation, message)
            case AppendEntries() if state.role is not Role.LEADER:
                following.handle_append_entries(state, sender, message)
            case VoteRequest():
                elections.handle_vote_request(state, sender, message)
            case VoteReply():
                elections.handle_vote_reply(state, sender, incarnation, message)
            case InstallSnapshot() if state.role is not Role.LEADER:
                following.handle_install_snapshot(state, sender, message)
            case SnapshotReply() if state.role is Role.LEADER:
                leading.handle_snapshot_reply(state, sender, incarnation, message)
            case TimeoutNow() if state.role is not Role.LEADER and state.may_vote():
                elections.become_candidate(state, transfer=True)

    def _snapshot_written(self, written: inputs.SnapshotWritten) -> None:
        """Keep some entries below the snapshot for followers that are nearly up to date, or are sent one (§7)."""
        state = self.state
        if written.index <= state.log.snapshot_index:
            return
        keep_from = state.log.trailing_from(written.index, state.config.trailing_entries, state.config.trailing_bytes)
        awaited = leading.snapshot_receivers_need_from(state, written.log_bytes)
        state.snapshot_bytes = written.total_bytes
        gone = state.log.snapshot_written(written.index, written.term, min(keep_from, awaited))
        if gone:
            state.outbox.compacted.append(gone)
        if state.role is Role.LEADER:
            leading.offer_newer_snapshot(state)
        configuration.forget_before(state, written.index)

    def _votes_or_term_changed(self) -> bool:
        state = self.state
        written = state.written_hard_state
        return (state.current_term, state.voted_for) != (written.current_term, written.voted_for)

    def _hard_state_to_write(self, entries: list[Entry]) -> HardState | None:
        """Term and vote whenever they changed; the commit index, which is only a help, along with entries."""
        current = self.state.hard_state()
        written = self.state.written_hard_state
        if not _same_vote(current, written):
            return current
        return current if entries and current != written else None


def _share(waiting: int) -> int:
    """How many of the committed entries that wait to hand out at once."""
    return min(waiting, max(COMMITTED_ENTRIES, min(waiting // 4, COMMITTED_ENTRIES_MAX)))


def _same_vote(one: HardState, other: HardState) -> bool:
    return (one.current_term, one.voted_for) == (other.current_term, other.voted_for)
