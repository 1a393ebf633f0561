"""Leader election (§5.2, §5.4.1), pre-vote (thesis 9.6) and leader stickiness (thesis 4.2.3)."""

from raft_zmq.core import configuration, quorum, rules
from raft_zmq.core.events import BecameCandidate, BecameLeader, BecamePreCandidate, VoteGranted
from raft_zmq.core.messages import EntryKind, VoteReply, VoteRequest
from raft_zmq.core.state import Role, State


def election_timed_out(state: State) -> None:
    """No leader for too long: ask for (pre-)votes, if this server has a vote itself (§5.2)."""
    rules.reset_election_timer(state)
    if not (state.may_vote() or _is_still_needed(state)):
        state.leader_id = ""
        return
    if state.config.pre_vote:
        _become_pre_candidate(state)
    else:
        become_candidate(state, transfer=False)


def _is_still_needed(state: State) -> bool:
    """Whether a configuration that leaves this voter out is not committed yet: the others may be unable to commit it
    and, with shorter logs, unable to win this server's vote, so it has to lead them there (thesis 4.2.2).
    """
    if state.membership_index <= state.commit_index or len(state.memberships) < 2:
        return False
    return state.memberships[-2][1].is_voter(state.config.node_id, state.config.incarnation)


def _become_pre_candidate(state: State) -> None:
    """Find out whether an election could be won, changing neither term nor vote (rule 9)."""
    state.role = Role.PRE_CANDIDATE
    state.leader_id = ""
    state.transfer_election = False  # what a leader wanted was one election, and that is over
    state.report(
        BecamePreCandidate(
            term=state.current_term, last_log_index=state.log.last_index, last_log_term=state.log.last_term
        )
    )
    _ask_for_votes(state, pre_vote=True)


def become_candidate(state: State, transfer: bool) -> None:
    """Begin a new term, vote for oneself, ask the others (§5.2). `transfer`: the leader of the old term wants it."""
    rules.enter_term(state, state.current_term + 1)
    rules.reset_election_timer(state)
    state.role = Role.CANDIDATE
    state.voted_for = state.config.node_id
    state.transfer_election = transfer
    state.report(
        BecameCandidate(
            term=state.current_term,
            last_log_index=state.log.last_index,
            last_log_term=state.log.last_term,
            transfer=transfer,
        )
    )
    _ask_for_votes(state, pre_vote=False)


def _ask_for_votes(state: State, pre_vote: bool) -> None:
    state.votes = {state.config.node_id: True}
    request = VoteRequest(
        term=state.current_term + 1 if pre_vote else state.current_term,
        last_log_index=state.log.last_index,
        last_log_term=state.log.last_term,
        pre_vote=pre_vote,
        transfer=state.transfer_election,
    )
    # A request for a real vote tells the own vote, which must be on disk; a pre-vote promises nothing.
    send = state.send if pre_vote else state.promise
    membership = state.membership
    for node_id in sorted({member.node_id for member in (*membership.voters, *membership.outgoing)}):
        if node_id != state.config.node_id:
            send(node_id, request)
    _count_votes(state)


def protects_leader(state: State, request: VoteRequest) -> bool:
    """Whether to ignore a request because a leader was heard within the minimum election timeout (rule 11)."""
    if not state.config.check_quorum or request.transfer:
        return False
    return state.role is Role.LEADER or state.now_s - state.heard_leader_s < state.config.election_timeout_s_min


def handle_vote_request(state: State, sender: str, request: VoteRequest) -> None:
    """Grant or refuse a (pre-)vote; the caller has already taken over a newer term (Figure 2, RequestVote RPC)."""
    up_to_date = state.log.up_to_date(request.last_log_index, request.last_log_term)
    if request.pre_vote:
        granted = request.term > state.current_term and up_to_date and _may_grant(state)
        term = request.term if granted else state.current_term
        state.promise(sender, VoteReply(term=term, granted=granted, pre_vote=True))
        return
    free = state.voted_for in ("", sender)  # asked again by the same candidate, it is granted again (rule 6)
    granted = request.term == state.current_term and free and up_to_date and _may_grant(state)
    if granted and state.voted_for != sender:
        state.voted_for = sender
        state.report(VoteGranted(term=state.current_term, candidate_id=sender))
    if granted:
        rules.reset_election_timer(state)
    state.promise(sender, VoteReply(term=state.current_term, granted=granted, pre_vote=False))


def _may_grant(state: State) -> bool:
    """Whether a vote of this server could count; whether it does is for the candidate's configuration to say.

    A learner, or a server in no configuration, may be a voter by now and not know it, and without its vote there might
    be no leader to tell it (thesis 4.2.2). Not so a server whose seat is bound to another data directory, or not bound
    to any yet: it cannot know what was promised from that seat (rule 15).
    """
    voters = (*state.membership.voters, *state.membership.outgoing)
    return state.may_vote() or not any(state.is_self(member) for member in voters)


def handle_vote_reply(state: State, sender: str, incarnation: str, reply: VoteReply) -> None:
    """Count a vote that was asked for, from a voter under its recorded data directory (rules 5 and 15)."""
    expected_role = Role.PRE_CANDIDATE if reply.pre_vote else Role.CANDIDATE
    expected_term = state.current_term + (1 if reply.pre_vote and reply.granted else 0)
    if state.role is not expected_role or reply.term != expected_term:
        return
    if not state.membership.is_voter(sender, incarnation):
        return
    state.votes[sender] = reply.granted
    _count_votes(state)


def _count_votes(state: State) -> None:
    granted = {node_id for node_id, vote in state.votes.items() if vote}
    if quorum.agreed(state.membership, granted):
        if state.role is Role.PRE_CANDIDATE:
            become_candidate(state, transfer=False)
        else:
            _become_leader(state)
    elif quorum.lost(state.membership, state.votes.keys() - granted):
        rules.become_follower(state, state.current_term, leader_id="")


def _become_leader(state: State) -> None:
    """Take office: nextIndex just after the last entry, and an empty entry to learn what is committed (§5.3, §8)."""
    votes = tuple(sorted(node_id for node_id, vote in state.votes.items() if vote))
    state.report(
        BecameLeader(
            term=state.current_term,
            last_log_index=state.log.last_index,
            last_log_term=state.log.last_term,
            commit_index=state.commit_index,
            votes=votes,
        )
    )
    state.role = Role.LEADER
    state.votes.clear()
    state.transfer_election = False
    rules.follow(state, state.config.node_id)
    state.progress = {}
    configuration.track_members(state)
    state.uncommitted_bytes = 0
    state.lease_voided = False
    state.read_token = 0
    state.quorum_due_s = state.now_s + state.config.election_timeout_s_max
    state.term_start_index = rules.append(state, EntryKind.NOOP, [b""])
    state.caught_up_index = state.commit_index_at_heartbeat = state.term_start_index
    state.heartbeat_due_s = state.now_s + state.config.heartbeat_interval_s
