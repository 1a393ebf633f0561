"""Leadership transfer (thesis 3.10): bring the target up to date, then have it start an election at once."""

from raft_zmq.core import leading, reads
from raft_zmq.core.events import TransferStarted
from raft_zmq.core.inputs import TransferLeadership
from raft_zmq.core.messages import TimeoutNow
from raft_zmq.core.progress import ProgressState
from raft_zmq.core.ready import Refused, TransferDone
from raft_zmq.core.state import Role, State, TransferState


def request(state: State, wish: TransferLeadership) -> None:
    """Begin to hand over, or refuse without a trace."""
    if state.role is not Role.LEADER:
        _refuse(state, wish, "not_leader", "")
        return
    if state.transfer is not None:
        _refuse(state, wish, "transferring", f"a transfer to {state.transfer.target} is under way; try again after it")
        return
    if wish.target == state.config.node_id:
        state.outbox.transfers.append(TransferDone(wish.ticket, state.config.node_id))
        return
    target = wish.target or _most_up_to_date(state)
    if not any(member.node_id == target for member in state.membership.voters):
        found = target or "no other voter that answers"
        _refuse(state, wish, "invalid", f"expected a voter to hand over to, found {found}; see `raftctl members`")
        return
    state.transfer = TransferState(wish.ticket, target, state.now_s + state.config.election_timeout_s_max)
    reads.void_lease_for_term(state)
    state.report(TransferStarted(term=state.current_term, target=target))
    follower_advanced(state, target)


def _refuse(state: State, wish: TransferLeadership, reason: str, detail: str) -> None:
    state.outbox.refused.append(Refused(wish.ticket, reason, state.leader_id, detail))


def with_better_disk(state: State) -> str:
    """The voter to hand over to because this leader's disk is worse; "" if none that keeps up is better off."""
    candidates = [
        candidate
        for candidate in _candidates(state)
        if state.progress[candidate[2]].state is ProgressState.REPLICATE and -candidate[0] < state.disk
    ]
    return max(candidates)[2] if candidates else ""


def _most_up_to_date(state: State) -> str:
    """Of the voters with the best disks the one with the longest log."""
    return max(_candidates(state), default=(0, 0, ""))[2]


def _candidates(state: State) -> list[tuple[int, int, str]]:
    """The other voters that answer, the best one greatest: minus the state of the disk, matchIndex, node id."""
    active = leading.active(state)
    return [
        (-state.progress[member.node_id].disk, state.progress[member.node_id].match_index, member.node_id)
        for member in state.membership.voters
        if not state.is_self(member) and member.node_id in active and _bound(state, member.node_id, member.incarnation)
    ]


def _bound(state: State, node_id: str, incarnation: str) -> bool:
    return state.progress[node_id].incarnation == incarnation


def follower_advanced(state: State, node_id: str) -> None:
    """Tell the target to start once its log equals the leader's."""
    transfer = state.transfer
    if transfer is None or transfer.told or transfer.target != node_id:
        return
    progress = state.progress.get(node_id)
    if progress is not None and progress.match_index == state.log.last_index:
        transfer.told = True
        state.send(node_id, TimeoutNow(term=state.current_term))


def tick(state: State) -> None:
    """Give up after an election timeout and go on leading: the target is slow, gone, or lost the election."""
    transfer = state.transfer
    if transfer is not None and state.now_s >= transfer.deadline_s:
        state.transfer = None
        state.outbox.transfers.append(TransferDone(transfer.ticket, ""))
