"""Membership changes by joint consensus (§6, thesis 4.3), with learners (thesis 4.2.1) and their promotion."""

import msgspec

from raft_zmq.core import leading, rules
from raft_zmq.core import membership as memberships
from raft_zmq.core.inputs import ChangeMembership
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import EntryKind
from raft_zmq.core.progress import Progress, ProgressState
from raft_zmq.core.ready import Accepted, Refused
from raft_zmq.core.state import Role, State


def membership_at(state: State, index: int) -> Membership:
    """The configuration as of an applied index: what a snapshot at that index has to hold."""
    for appended_at, membership in reversed(state.memberships):
        if appended_at <= index:
            return membership
    raise AssertionError(f"no configuration known at index {index}; the oldest is of {state.memberships[0][0]}")


def forget_before(state: State, index: int) -> None:
    """Drop configurations that no snapshot from `index` on can need."""
    while len(state.memberships) > 1 and state.memberships[1][0] <= index:
        del state.memberships[0]


def track_members(state: State) -> None:
    """Keep nextIndex and matchIndex for exactly the other members, and for removed ones until they know (rule 27)."""
    wanted = set(state.membership.node_ids()) - {state.config.node_id}
    for node_id in sorted(wanted - state.progress.keys()):
        state.progress[node_id] = Progress(state.log.last_index + 1, state.now_s)
    for node_id in sorted(state.progress.keys() - wanted):
        state.departing.setdefault(node_id, state.membership_index)
    for node_id in wanted & state.departing.keys():
        del state.departing[node_id]


def change_under_way(state: State) -> bool:
    """Whether a change is not yet finished: one at a time (rule 12)."""
    return state.membership.joint or state.membership_index > state.commit_index


def request(state: State, change: ChangeMembership) -> None:
    """Begin a change that someone asked for, or refuse it without a trace (§6)."""
    reason, detail = _why_not(state, change)
    if reason:
        state.outbox.refused.append(Refused(change.ticket, reason, state.leader_id, detail))
        return
    voters = tuple(_bind(state, member) for member in change.voters)
    learners = tuple(_bind(state, member) for member in change.learners)
    index = _append_change(state, voters, learners)
    state.outbox.accepted.append(Accepted(change.ticket, index, state.current_term))


def _why_not(state: State, change: ChangeMembership) -> tuple[str, str]:
    """(reason, detail) for a refusal, ("", "") when the change may begin."""
    if state.role is not Role.LEADER:
        return "not_leader", ""
    if state.transfer is not None:
        return "transferring", "leadership is being handed over; try again after that"
    if not rules.committed_in_own_term(state):
        return "not_ready", "the leader has committed nothing in its term yet; try again"
    if change_under_way(state):
        return "change_in_progress", "expected no other change under way; try again after it"
    ids = [member.node_id for member in (*change.voters, *change.learners)]
    if not change.voters or len(set(ids)) != len(ids):
        return "invalid", "expected at least one voter and each server once; check the names"
    for member in change.voters:
        known = any(member.node_id == voter.node_id for voter in state.membership.voters)
        if not known and not caught_up(state, member.node_id):
            return "not_ready", f"expected {member.node_id} to be a learner that has caught up; add it first, or wait"
    return "", ""


def caught_up(state: State, node_id: str) -> bool:
    """Whether a learner streams, and holds what was committed a moment ago: as a voter it would hold up nobody.

    Under load it is always a message behind the commit index; the time that message takes is what counts (thesis
    4.2.1: the last round of catching up is shorter than an election timeout).
    """
    progress = state.progress.get(node_id)
    return (
        progress is not None
        and progress.state is ProgressState.REPLICATE
        and progress.match_index >= state.caught_up_index
        and progress.incarnation != ""
    )


def _bind(state: State, member: Member) -> Member:
    """Fill in the data directory the server is known under, where the request left it open.

    A learner is known under the one it runs with, which may be another than at the change before: `caught_up` has
    judged that one, and as a voter it counts under no other.
    """
    progress = state.progress.get(member.node_id)
    found = progress.incarnation if progress is not None else ""
    if found and any(learner.node_id == member.node_id for learner in state.membership.learners):
        return msgspec.structs.replace(member, incarnation=found)
    if member.incarnation:
        return member
    recorded = state.membership.member(member.node_id)
    incarnation = (recorded.incarnation if recorded is not None else "") or found
    return msgspec.structs.replace(member, incarnation=incarnation)


def _append_change(state: State, voters: tuple[Member, ...], learners: tuple[Member, ...]) -> int:
    """Go through the joint configuration if the voters change, otherwise directly; returns the entry's index."""
    voters, learners = _sorted(voters), _sorted(learners)
    outgoing = state.membership.voters if voters != state.membership.voters else ()
    return _append(state, Membership(voters, outgoing, learners))


def _append(state: State, membership: Membership) -> int:
    index = rules.append(state, EntryKind.CONFIGURATION, [memberships.encode(membership)])
    rules.use_membership(state, index, membership)
    track_members(state)
    return index


def _sorted(members: tuple[Member, ...]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: member.node_id))


def committed(state: State) -> None:
    """The commit index moved: leave a committed joint configuration (rule 14), or finish a change (rule 27)."""
    index, membership = state.memberships[-1]
    if index > state.commit_index:
        return
    if membership.outgoing:
        _append(state, Membership(membership.voters, (), membership.learners))
        return
    if state.config.node_id not in [member.node_id for member in membership.voters]:
        leading.broadcast_heartbeats(state)  # so that the others know it is committed
        rules.become_follower(state, state.current_term, "", reason="removed")
        return
    if state.departing:
        _say_farewell(state)
    if membership.learners or state.reborn:
        change_members_by_itself(state)


def follower_advanced(state: State, node_id: str) -> None:
    """A follower holds more: perhaps it knows of its removal now, or can be promoted."""
    if node_id in state.departing:
        _say_farewell(state)
    if state.membership.learners or state.reborn:
        change_members_by_itself(state)


def _say_farewell(state: State) -> None:
    """Stop tracking removed servers that hold the committed entry of their removal, or that are silent (rule 27)."""
    active = leading.active(state)
    for node_id, index in list(state.departing.items()):
        if index > state.commit_index:
            continue
        if state.progress[node_id].match_index >= index:
            leading.send_heartbeat(state, node_id)
        elif node_id in active:
            continue
        del state.departing[node_id], state.progress[node_id]


def tick(state: State) -> None:
    """Once a heartbeat: drop removed servers that fell silent, and do what a change under way had put off."""
    if state.departing:
        _say_farewell(state)
    if state.membership.learners or state.reborn:
        change_members_by_itself(state)


def change_members_by_itself(state: State) -> None:
    """Take the vote from members that lost their disk (rule 15), and promote learners that have caught up."""
    if change_under_way(state) or state.transfer is not None or not rules.committed_in_own_term(state):
        return
    demoted = {member.node_id: member for member in state.membership.voters if _is_reborn(state, member)}
    state.reborn.clear()
    promoted = [member for member in state.membership.learners if member.auto_promote and _may_vote_soon(state, member)]
    if not demoted and not promoted:
        return
    voters = [member for member in state.membership.voters if member.node_id not in demoted]
    learners = [member for member in state.membership.learners if member not in promoted]
    if not voters and not promoted:
        return
    learners += [_reincarnated(state, member) for member in demoted.values()]
    voters += [_reincarnated(state, member) for member in promoted]
    _append_change(state, tuple(voters), tuple(learners))


def _is_reborn(state: State, member: Member) -> bool:
    progress = state.progress.get(member.node_id)
    return progress is not None and progress.incarnation not in ("", member.incarnation)


def _may_vote_soon(state: State, member: Member) -> bool:
    return caught_up(state, member.node_id) and member.node_id in leading.active(state)


def _reincarnated(state: State, member: Member) -> Member:
    return msgspec.structs.replace(member, incarnation=state.progress[member.node_id].incarnation, auto_promote=True)
