"""What a node says of itself: `raftctl status`, GET /status and `raftctl log`."""

import hashlib
from importlib.metadata import version

from raft_zmq.core import leading
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.raft import COMMITTED_ENTRIES_MAX
from raft_zmq.core.state import Role, State
from raft_zmq.wire.client_messages import LogEntry, NodeStatus, PeerStatus, StageTotal

VERSION = version("raft-zmq")


def is_ready(state: State) -> bool:
    """Whether the node knows a leader and has caught up with what is committed, here and as the leader told.

    A busy node is always a little behind: as many entries as it may apply in one go do not count, once there are any.
    """
    behind = max(state.commit_index, state.leader_commit_index) - state.last_applied
    return state.leader_id != "" and state.last_applied > 0 and behind <= COMMITTED_ENTRIES_MAX


def node_status(
    state: State,
    *,
    cluster_id: str,
    digest: str,
    sessions: int,
    keys: int,
    wal_bytes: int,
    uptime_s: float,
    stuck: bool,
    stages: dict[str, StageTotal],
) -> NodeStatus:
    """Put together what the core, the state machine and the disk know. `stuck` is a node that waits for room on it."""
    membership = state.membership
    leader = membership.member(state.leader_id) if state.leader_id else None
    return NodeStatus(
        node_id=state.config.node_id,
        cluster_id=cluster_id,
        incarnation=state.config.incarnation,
        version=VERSION,
        role=state.role.value,
        term=state.current_term,
        leader_id=state.leader_id,
        leader_address=leader.client_address if leader is not None else "",
        first_log_index=state.log.first_index,
        last_log_index=state.log.last_index,
        last_log_term=state.log.last_term,
        commit_index=state.commit_index,
        last_applied=state.last_applied,
        snapshot_index=state.log.snapshot_index,
        digest=digest,
        ready=is_ready(state) and not stuck,
        voters=_names(membership.voters),
        outgoing=_names(membership.outgoing),
        learners=_names(membership.learners),
        peers=_peers(state),
        sessions=sessions,
        keys=keys,
        wal_bytes=wal_bytes,
        uptime_s=uptime_s,
        disk=state.disk.name.lower(),
        stages=stages,
        client_addresses={member.node_id: member.client_address for member in _everyone(membership)},
    )


def log_range(state: State, first_index: int, limit: int) -> list[LogEntry]:
    """What the log holds from that index on, or from its start if that comes later."""
    first = max(first_index, state.log.first_index)
    last = min(first + limit - 1, state.log.last_index)
    return [
        LogEntry(entry.index, entry.term, int(entry.kind), _checksum(entry.data), len(entry.data))
        for entry in state.log.entries(first, last)
    ]


def _checksum(data: bytes) -> int:
    """Of an entry's data, which it must not give away: the ids of other clients' sessions stand there."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _everyone(membership: Membership) -> list[Member]:
    return [member for node_id in membership.node_ids() if (member := membership.member(node_id)) is not None]


def _names(members: tuple[Member, ...]) -> tuple[str, ...]:
    return tuple(member.node_id for member in members)


def _peers(state: State) -> tuple[PeerStatus, ...]:
    if state.role is not Role.LEADER:
        return ()
    active = leading.active(state)
    return tuple(
        PeerStatus(node_id, progress.state.value, progress.match_index, progress.next_index, node_id in active)
        for node_id, progress in sorted(state.progress.items())
    )
