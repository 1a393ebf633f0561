"""Rules for Servers (Figure 2): the few steps that several handlers share. Each is a guard and an action."""

from collections.abc import Sequence

from raft_zmq.core import membership as memberships
from raft_zmq.core import quorum
from raft_zmq.core.events import BecameFollower, LeaderElected, MembershipChanged, SteppedDown
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Entry, EntryKind
from raft_zmq.core.ready import Refused, TransferDone
from raft_zmq.core.state import Role, State


def become_follower(state: State, term: int, leader_id: str, reason: str = "higher_term") -> None:
    """Follow in `term`, forgetting the vote if the term is newer (§5.1). A leader that does so answers its waiters."""
    if state.role is Role.LEADER:
        _leave_leadership(state, reason)
    changed = state.role is not Role.FOLLOWER or term > state.current_term
    if term > state.current_term:
        enter_term(state, term)
    state.role = Role.FOLLOWER
    state.votes.clear()
    state.transfer_election = False
    if changed:
        state.report(BecameFollower(term=state.current_term, leader_id=leader_id))
        reset_election_timer(state)
    if leader_id:
        follow(state, leader_id)


def enter_term(state: State, term: int) -> None:
    """Begin a newer term: no vote given in it, no leader known (§5.1)."""
    assert term > state.current_term
    state.current_term, state.voted_for = term, ""
    state.leader_id = ""


def follow(state: State, leader_id: str) -> None:
    """Note who leads this term; whoever waits for the end of a transfer learns it here."""
    if state.leader_id == leader_id:
        return
    state.leader_id = leader_id
    state.report(LeaderElected(term=state.current_term, leader_id=leader_id))
    state.outbox.transfers.extend(TransferDone(ticket, leader_id) for ticket in state.awaiting_new_leader)
    state.awaiting_new_leader.clear()


def reset_election_timer(state: State) -> None:
    """Wait a fresh random time for a leader (§5.2)."""
    config = state.config
    state.election_timeout_s = state.uniform(config.election_timeout_s_min, config.election_timeout_s_max)
    state.election_deadline_s = state.now_s + state.election_timeout_s


def _leave_leadership(state: State, reason: str) -> None:
    """Stop leading: reads under way are refused, proposals under way stay open (they may yet commit; rule 24)."""
    if reason == "higher_term" and state.transfer is not None and state.transfer.told:
        reason = "transferred"
    state.report(SteppedDown(term=state.current_term, reason=reason, last_log_index=state.log.last_index))
    tickets = [*state.new_reads, *(ticket for round_ in state.read_rounds for ticket in round_.tickets)]
    state.outbox.refused.extend(Refused(ticket, "not_leader") for ticket in tickets)
    if state.transfer is not None:
        state.awaiting_new_leader.append(state.transfer.ticket)
    state.progress, state.departing = {}, {}
    state.reborn.clear()
    state.new_reads, state.read_rounds = [], []
    state.lease_until_s = float("-inf")
    state.transfer = None
    state.uncommitted_bytes = 0
    state.leader_id = ""


def append(state: State, kind: EntryKind, datas: list[bytes]) -> int:
    """The leader puts entries at the end of its log (§5.3); returns the first one's index."""
    first_index = state.log.last_index + 1
    term = state.current_term
    entries = [Entry(first_index + offset, term, kind, data) for offset, data in enumerate(datas)]
    state.log.append(entries)
    state.uncommitted_bytes += sum(map(len, datas))
    return first_index


def use_membership(state: State, index: int, membership: Membership) -> None:
    """A configuration counts from the moment it is in the log (§6, rule 13)."""
    state.memberships.append((index, membership))
    report_membership(state)


def report_membership(state: State) -> None:
    """Tell which configuration counts now."""
    membership = state.membership
    voters, outgoing, learners = (
        tuple(member.node_id for member in group)
        for group in (membership.voters, membership.outgoing, membership.learners)
    )
    state.report(
        MembershipChanged(
            term=state.current_term,
            index=state.membership_index,
            voters=voters,
            outgoing=outgoing,
            learners=learners,
        )
    )


def adopt_configurations(state: State, entries: Sequence[Entry]) -> None:
    """Use the configurations among entries that were just appended."""
    for entry in entries:
        if entry.kind is EntryKind.CONFIGURATION:
            use_membership(state, entry.index, memberships.decode(entry.data))


def match_indexes(state: State) -> dict[str, int]:
    """What each voter is known to hold. The leader counts itself for what it has synced (rule 2), and another server
    only under the data directory that the configuration names (rule 15).
    """
    held = {state.config.node_id: state.log.stable_index}
    for group in (state.membership.voters, state.membership.outgoing):
        for member in group:
            progress = state.progress.get(member.node_id)
            if progress is not None and progress.incarnation == member.incarnation:
                held[member.node_id] = progress.match_index
    return held


def advance_commit_index(state: State) -> bool:
    """Commit what a majority holds, counting only entries of the own term (§5.4.2, Figure 8). True if it moved."""
    index = quorum.joint_committed_index(state.membership, match_indexes(state))
    if index <= state.commit_index or state.log.term_at(index) != state.current_term:
        return False
    committed = state.log.entries(state.commit_index + 1, index)
    counted = (entry for entry in committed if entry.term == state.current_term)  # by `append`, since this term began
    state.uncommitted_bytes -= sum(len(entry.data) for entry in counted)
    state.commit_index = index
    return True


def committed_in_own_term(state: State) -> bool:
    """Whether the leader knows which entries are committed (§8; rules 12 and 16)."""
    return state.commit_index >= state.term_start_index
