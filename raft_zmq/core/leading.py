"""A leader's side of replication (Figure 2, Leaders; §5.3) with a window for each follower (thesis 10.2.1)."""

from raft_zmq.core import configuration, handover, quorum, reads, rules
from raft_zmq.core import membership as memberships
from raft_zmq.core.events import PeerReincarnated, SnapshotSendStarted, SnapshotSent
from raft_zmq.core.messages import (
    AppendEntries,
    AppendReply,
    DiskState,
    Entry,
    EntryKind,
    InstallSnapshot,
    SnapshotReply,
)
from raft_zmq.core.progress import Progress, ProgressState
from raft_zmq.core.ready import Accepted, Refused
from raft_zmq.core.state import Role, State

# Times `snapshot_log_bytes`: so long may the log be when some of it is kept for who gets a snapshot. It is the time in
# which the leader writes as much; more would be more of the leader's memory.
KEPT_LOGS = 3

Heartbeats = dict[tuple[int, bool], AppendEntries]  # made just now, by the entry they name and whether they are quiet


def propose(state: State, ticket: int, commands: list[bytes]) -> None:
    """Append the client's commands, or refuse them without a trace (§5.3)."""
    if state.role is not Role.LEADER:
        state.outbox.refused.append(Refused(ticket, "not_leader", state.leader_id))
    elif state.transfer is not None:
        state.outbox.refused.append(Refused(ticket, "transferring", state.leader_id))
    elif state.uncommitted_bytes > state.config.uncommitted_bytes_max:
        state.outbox.refused.append(Refused(ticket, "busy", state.leader_id))
    elif full := _without_room(state):
        detail = f"expected room for the log, found the disk full on {full}; make room there"
        state.outbox.refused.append(Refused(ticket, "disk_full", state.leader_id, detail))
    else:
        first_index = rules.append(state, EntryKind.COMMAND, commands)
        state.outbox.accepted.append(Accepted(ticket, first_index, state.current_term))


def _without_room(state: State) -> str:
    """Whose full disks keep commands from being stored here and by a majority, in words; "" if none do."""
    if state.disk >= DiskState.FILLING:
        return f"the leader, {state.config.node_id}"
    full = [node_id for node_id, progress in state.progress.items() if progress.disk is DiskState.FULL]
    return ", ".join(full) if full and quorum.lost(state.membership, full) else ""


def send_appends(state: State) -> None:
    """Send every follower what is new, as far as its window allows; called once for all that came in together.

    Followers that want the same entries get one and the same message, so that the caller may encode it once.
    """
    made: dict[int, AppendEntries] = {}  # by the index of the first entry in it
    last_index = state.log.last_index
    for node_id, progress in state.progress.items():
        while progress.next_index <= last_index and _has_room(state, progress):
            _send_next(state, node_id, progress, made)


def can_send(state: State) -> bool:
    """Whether `send_appends` would send anything."""
    last_index = state.log.last_index
    return any(progress.next_index <= last_index and _has_room(state, progress) for progress in state.progress.values())


def _has_room(state: State, progress: Progress) -> bool:
    return progress.has_room(state.config.inflight_messages_max, state.config.inflight_bytes_max)


def confirm_reads(state: State) -> None:
    """Ask those whom no entries of this turn went to whether this server still leads (§8, rule 18)."""
    made: Heartbeats = {}
    for node_id, progress in state.progress.items():
        if progress.sent_read_token < state.read_token:
            _heartbeat(state, node_id, progress, made)


def broadcast_heartbeats(state: State) -> None:
    """Tell everyone at once who leads and what is committed."""
    made: Heartbeats = {}
    for node_id, progress in state.progress.items():
        _heartbeat(state, node_id, progress, made)


def send_due_heartbeats(state: State) -> None:
    """Send heartbeats where no entries went lately (Figure 2: prevent election timeouts), and probe again."""
    interval_s = state.config.heartbeat_interval_s
    if state.config.lease_reads and rules.committed_in_own_term(state):
        reads.begin_round(state)  # its confirmation extends the lease
    state.heartbeat_due_s = state.now_s + interval_s
    state.caught_up_index, state.commit_index_at_heartbeat = state.commit_index_at_heartbeat, state.commit_index
    made: Heartbeats = {}
    for node_id, progress in state.progress.items():
        patience_s = state.config.election_timeout_s_max if progress.state is ProgressState.SNAPSHOT else interval_s
        if progress.waiting and state.now_s - progress.waiting_since_s >= patience_s:
            progress.waiting = False  # the message or its answer may be lost
        if state.now_s - progress.last_sent_s >= interval_s / 2 or progress.sent_read_token < state.read_token:
            _heartbeat(state, node_id, progress, made)


def send_heartbeat(state: State, node_id: str) -> None:
    """One heartbeat to one follower."""
    _heartbeat(state, node_id, state.progress[node_id], {})


def _heartbeat(state: State, node_id: str, progress: Progress, made: Heartbeats) -> None:
    """An AppendEntries without entries. Where the logs are not known to agree it names the start, which always fits.

    Followers to whom the same is to be said get one and the same message, so that the caller may encode it once.
    """
    prev_log_index, prev_log_term = 0, 0
    if progress.state is not ProgressState.SNAPSHOT:
        term = state.log.term_at(progress.next_index - 1)
        if term is not None:
            prev_log_index, prev_log_term = progress.next_index - 1, term
        elif progress.state is ProgressState.REPLICATE:
            # A follower that answers nothing has been overtaken by the compaction: look for it anew, with a snapshot.
            progress.become_probe(progress.match_index + 1)
    quiet = _knows_enough(state, progress)
    message = made.get((prev_log_index, quiet))
    if message is None:
        message = made[prev_log_index, quiet] = _make_append(state, prev_log_index, prev_log_term, (), quiet=quiet)
    _send_append(state, node_id, progress, message)


def _knows_enough(state: State, progress: Progress) -> bool:
    """Whether an answer would tell nothing: the follower has everything and is well, and no read waits for it.

    It is asked often enough for several answers to be lost before it would count as gone (`check_quorum`).
    """
    return (
        progress.state is ProgressState.REPLICATE
        and progress.disk is DiskState.GOOD
        and progress.match_index == state.log.last_index
        and progress.read_token >= state.read_token
        and state.now_s - progress.last_heard_s < state.config.election_timeout_s_max / 3
    )


def _make_append(
    state: State, prev_log_index: int, prev_log_term: int, entries: tuple[Entry, ...], *, quiet: bool = False
) -> AppendEntries:
    return AppendEntries(
        term=state.current_term,
        prev_log_index=prev_log_index,
        prev_log_term=prev_log_term,
        entries=entries,
        leader_commit=state.commit_index,
        read_token=state.read_token,
        quiet=quiet,
    )


def _send_append(state: State, node_id: str, progress: Progress, message: AppendEntries) -> None:
    progress.last_sent_s = state.now_s
    progress.sent_read_token = message.read_token
    state.send(node_id, message)


def _send_next(state: State, node_id: str, progress: Progress, made: dict[int, AppendEntries]) -> None:
    """The next entries, or the next chunk of a snapshot where the entries are gone (§7)."""
    if progress.state is ProgressState.SNAPSHOT:
        _send_chunk(state, node_id, progress)
        return
    prev_log_index = progress.next_index - 1
    prev_log_term = state.log.term_at(prev_log_index)
    if prev_log_term is None:
        _begin_snapshot(state, node_id, progress)
        _send_chunk(state, node_id, progress)
        return
    message = made.get(progress.next_index)
    if message is None:
        entries = tuple(state.log.batch(progress.next_index, state.config.append_bytes_max))
        message = made[progress.next_index] = _make_append(state, prev_log_index, prev_log_term, entries)
    _send_append(state, node_id, progress, message)
    progress.sent_entries(message.entries[-1].index, sum(len(entry.data) for entry in message.entries), state.now_s)


def _begin_snapshot(state: State, node_id: str, progress: Progress) -> None:
    membership = configuration.membership_at(state, state.log.snapshot_index)
    progress.become_snapshot(state.log.snapshot_index, state.log.snapshot_term, memberships.encode(membership))
    state.report(SnapshotSendStarted(term=state.current_term, to=node_id, index=progress.snapshot_index))


def offer_newer_snapshot(state: State) -> None:
    """Followers that have nothing yet of the snapshot on its way get the new one, as do those that could not go on
    after theirs, for what follows it is no longer kept; the others go on with the old.
    """
    for node_id, progress in state.progress.items():
        if progress.state is ProgressState.SNAPSHOT and (
            progress.snapshot_offset == 0 or state.log.term_at(progress.snapshot_index) is None
        ):
            _begin_snapshot(state, node_id, progress)


def is_sending_snapshot(state: State) -> bool:
    """Whether a snapshot is on its way to any follower."""
    return any(progress.state is ProgressState.SNAPSHOT for progress in state.progress.values())


def snapshot_gone(state: State, node_id: str) -> None:
    """The snapshot on its way to that follower can no longer be read: start over with what there is now."""
    progress = state.progress.get(node_id)
    if progress is not None and progress.state is ProgressState.SNAPSHOT:
        progress.become_probe(progress.match_index + 1)


def _send_chunk(state: State, node_id: str, progress: Progress) -> None:
    progress.waiting, progress.waiting_since_s = True, state.now_s
    chunk = InstallSnapshot(
        term=state.current_term,
        last_index=progress.snapshot_index,
        last_term=progress.snapshot_term,
        membership=progress.snapshot_membership,
        offset=progress.snapshot_offset,
        read_token=state.read_token,
    )
    state.outbox.snapshot_sends.append((node_id, chunk))


def heard_from(state: State, sender: str, incarnation: str) -> Progress | None:
    """Note that a follower is alive, and under which data directory; None for someone the leader does not track."""
    progress = state.progress.get(sender)
    if progress is None:
        return None
    progress.last_heard_s = state.now_s
    if progress.incarnation != incarnation:
        if progress.incarnation:
            progress.reborn(incarnation, state.log.last_index + 1)
        progress.incarnation = incarnation
        member = state.membership.member(sender)
        if member is not None and member.incarnation not in ("", incarnation):
            state.report(
                PeerReincarnated(term=state.current_term, peer=sender, recorded=member.incarnation, found=incarnation)
            )
            state.reborn.add(sender)
    return progress


def handle_append_reply(state: State, sender: str, incarnation: str, reply: AppendReply) -> None:
    """Learn what the follower holds, or where to look further back (§5.3); the reply is of this term (rule 8)."""
    progress = heard_from(state, sender, incarnation)
    if progress is None:
        return
    progress.disk = reply.disk
    reads.confirm(state, progress, reply.read_token)
    if not reply.ok:
        _step_back(state, progress, reply)
        return
    moved = progress.matched(reply.match_index)
    if progress.state is ProgressState.PROBE:
        # An answer to the start-of-log heartbeat says nothing about where the logs agree.
        if reply.match_index >= progress.next_index - 1:
            progress.become_replicate()
        else:
            progress.waiting = False
    elif progress.state is ProgressState.SNAPSHOT and _entries_will_do(state, progress):
        progress.become_replicate()
    if progress.catching_up and configuration.caught_up(state, sender):
        progress.catching_up = False
    if moved:
        followers_log_grew(state, sender)


def _entries_will_do(state: State, progress: Progress) -> bool:
    """Whether the log goes on where the follower's ends: always so after the snapshot that is on its way to it."""
    return state.log.term_at(progress.match_index) is not None


def followers_log_grew(state: State, sender: str) -> None:
    """matchIndex moved: commit what can be committed, and let a transfer, a promotion or a farewell take its course."""
    if state.progress[sender].match_index > state.commit_index:  # below that, a majority has been found already
        commit(state)
        if state.role is not Role.LEADER:
            return
    handover.follower_advanced(state, sender)
    configuration.follower_advanced(state, sender)


def _step_back(state: State, progress: Progress, reply: AppendReply) -> None:
    """The logs differ at the request's prev_log_index: try the newest place where they may agree (§5.3)."""
    if progress.state is ProgressState.SNAPSHOT:
        return
    stale = reply.prev_log_index <= progress.match_index
    if progress.state is ProgressState.REPLICATE:
        if not stale:
            progress.become_probe(progress.match_index + 1)
        return
    if stale or reply.prev_log_index != progress.next_index - 1:
        return
    agree_index, _ = state.log.last_index_not_above(reply.hint_index, reply.hint_term)
    progress.become_probe(agree_index + 1)


def handle_snapshot_reply(state: State, sender: str, incarnation: str, reply: SnapshotReply) -> None:
    """Send the next chunk the follower wants, or go on with entries once it has the snapshot (Figure 13)."""
    progress = heard_from(state, sender, incarnation)
    if progress is None:
        return
    reads.confirm(state, progress, reply.read_token)
    if reply.installed:
        moved = progress.matched(reply.last_index)
        if progress.state is ProgressState.SNAPSHOT and _entries_will_do(state, progress):
            state.report(SnapshotSent(term=state.current_term, to=sender, index=reply.last_index))
            progress.become_replicate()
        if moved:
            followers_log_grew(state, sender)
        return
    if progress.state is not ProgressState.SNAPSHOT:
        return
    if (reply.last_index, reply.last_term) != (progress.snapshot_index, progress.snapshot_term):
        return
    if progress.waiting and reply.next_offset == progress.snapshot_offset:
        return  # a repeated answer: that chunk is on its way, and sent twice it would be answered twice, for ever
    if reply.next_offset == 0 and progress.snapshot_index < state.log.snapshot_index:
        _begin_snapshot(state, sender, progress)  # the old one may be what could not be installed
        return
    progress.snapshot_offset = reply.next_offset
    progress.waiting = False


def commit(state: State) -> None:
    """Advance the commit index, and take the next step of a membership change that waited for it (§5.3, §6)."""
    if rules.advance_commit_index(state):
        configuration.committed(state)


def check_quorum(state: State) -> None:
    """A leader that has not heard from a majority for an election timeout steps down (thesis 6.2; rule 24)."""
    state.quorum_due_s = state.now_s + state.config.election_timeout_s_max / 2
    if not state.config.check_quorum:
        return
    if not quorum.agreed(state.membership, active(state)):
        rules.become_follower(state, state.current_term, "", reason="no_quorum")


def active(state: State) -> set[str]:
    """The servers heard from within the last election timeout, and this one."""
    since_s = state.now_s - state.config.election_timeout_s_max
    heard = {node_id for node_id, progress in state.progress.items() if progress.last_heard_s >= since_s}
    return heard | {state.config.node_id}


def lost_connection(state: State, node_id: str) -> None:
    """What was on the way to that follower may be lost: ask it again where it stands."""
    progress = state.progress.get(node_id)
    if progress is None:
        return
    if progress.state is ProgressState.REPLICATE:
        progress.become_probe(progress.match_index + 1)
    else:
        progress.waiting = False


def snapshot_receivers_need_from(state: State, log_bytes: int) -> int:
    """The first entry that who is sent a snapshot, or catches up after one, will want; beyond the log if there is none.

    Silent ones count, for restoring a state takes a while. One that is gone for good has the log grow up to the limit,
    once: then what it wants goes, and neither that nor a snapshot of which nothing has arrived keeps anything. A
    leader without room takes no commands until some of the log goes, so it waits for nobody.
    """
    nobody = state.log.last_index + 1
    if log_bytes > KEPT_LOGS * state.config.snapshot_log_bytes or state.disk >= DiskState.FILLING:
        return nobody
    wanted = (progress.wants_from() for progress in state.progress.values())
    return min((index for index in wanted if index >= state.log.first_index), default=nobody)
