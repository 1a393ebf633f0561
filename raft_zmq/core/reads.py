"""Linearizable reads without a log entry: ReadIndex (§8, thesis 6.4) and, as an option, leases (thesis 6.4.1)."""

from raft_zmq.core import quorum, rules
from raft_zmq.core.progress import Progress
from raft_zmq.core.ready import ReadGranted, Refused
from raft_zmq.core.state import ReadRound, Role, State

ROUNDS_UNDER_WAY_MAX = 2  # reads that come meanwhile share the next round


def request(state: State, ticket: int) -> None:
    """Queue a read on the leader; it waits for the first commit of the term (rule 16), and is refused elsewhere."""
    if state.role is not Role.LEADER:
        state.outbox.refused.append(Refused(ticket, "not_leader", state.leader_id))
    elif lease_holds(state):
        state.outbox.reads.append(ReadGranted(ticket, state.commit_index))
    else:
        state.new_reads.append(ticket)


def can_begin_round(state: State) -> bool:
    """Whether reads wait that a new round of confirmations can serve now."""
    return (
        bool(state.new_reads) and len(state.read_rounds) < ROUNDS_UNDER_WAY_MAX and rules.committed_in_own_term(state)
    )


def begin_round(state: State) -> None:
    """Fix the read index, then have leadership confirmed (rule 18); the token makes late answers harmless (rule 17)."""
    state.read_token += 1
    tickets, state.new_reads = state.new_reads, []
    state.read_rounds.append(ReadRound(state.read_token, state.commit_index, tickets, state.now_s))
    _grant_confirmed(state)


def confirm(state: State, progress: Progress, token: int) -> None:
    """A follower has answered a message that was sent after round `token` began, and so after all before it."""
    if token > progress.read_token:
        progress.read_token = token
        _grant_confirmed(state)


def _grant_confirmed(state: State) -> None:
    """Serve every round that a majority has confirmed, from the newest such round down (§8)."""
    for position in range(len(state.read_rounds) - 1, -1, -1):
        if not quorum.agreed(state.membership, _confirmers(state, state.read_rounds[position].token)):
            continue
        done = state.read_rounds[: position + 1]
        del state.read_rounds[: position + 1]
        state.outbox.reads.extend(
            ReadGranted(ticket, round_.read_index) for round_ in done for ticket in round_.tickets
        )
        _extend_lease(state, done[-1].sent_s)
        return


def _confirmers(state: State, token: int) -> set[str]:
    membership = state.membership
    confirmed = {
        node_id
        for node_id, progress in state.progress.items()
        if progress.read_token >= token and membership.is_voter(node_id, progress.incarnation)
    }
    return confirmed | {state.config.node_id}


def _extend_lease(state: State, sent_s: float) -> None:
    """A majority heard this leader at sent_s or later and elects nobody within the minimum election timeout of that;
    the lease ends earlier by the share that clocks may differ (rule 19).
    """
    if state.config.lease_reads and not state.lease_voided:
        length_s = state.config.election_timeout_s_min * (1 - state.config.clock_drift_max)
        state.lease_until_s = max(state.lease_until_s, sent_s + length_s)


def lease_holds(state: State) -> bool:
    """Whether no other leader can exist yet, so that the commit index is fresh without asking (thesis 6.4.1)."""
    return state.now_s < state.lease_until_s and not state.lease_voided and rules.committed_in_own_term(state)


def void_lease_for_term(state: State) -> None:
    """After a transfer began, the target may be elected at any time in spite of what followers promised (rule 19)."""
    state.lease_voided = True
    state.lease_until_s = float("-inf")


def suspect_pause(state: State, since_s: float) -> None:
    """The process stood still for long: whatever the clock says, the lease is void (rule 19)."""
    if state.now_s - since_s > state.config.election_timeout_s_min / 2:
        state.lease_until_s = float("-inf")
