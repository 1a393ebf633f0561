"""A follower's side of replication: AppendEntries RPC (Figure 2, §5.3) and InstallSnapshot RPC (Figure 13, §7)."""

import msgspec

from raft_zmq.core import membership as memberships
from raft_zmq.core import rules
from raft_zmq.core.events import LogTruncated
from raft_zmq.core.messages import AppendEntries, AppendReply, DiskState, Entry, InstallSnapshot, SnapshotReply
from raft_zmq.core.state import SnapshotIn, State


def hear_leader(state: State, sender: str) -> None:
    """A message of this term's leader: follow it and wait anew (§5.2)."""
    rules.become_follower(state, state.current_term, sender)
    state.heard_leader_s = state.now_s
    state.election_deadline_s = state.now_s + state.election_timeout_s


def handle_append_entries(state: State, sender: str, request: AppendEntries) -> None:
    """Put the entries where they belong if the logs agree just before them (Figure 2, AppendEntries RPC, 2 to 5)."""
    hear_leader(state, sender)
    state.leader_commit_index = request.leader_commit
    if _is_installing(state):
        return
    if state.disk is DiskState.FULL:
        request = msgspec.structs.replace(request, entries=())  # a leader may send so few, and will send them again
    if request.prev_log_index < state.commit_index:
        # All that is committed here equals the leader's log, whatever the request says of the part before.
        _reply_up_to(state, sender, request, _append_after_commit(state, request))
        return
    if state.log.term_at(request.prev_log_index) != request.prev_log_term:
        _refuse(state, sender, request)
        return
    _store(state, request.entries)
    _reply_up_to(state, sender, request, request.prev_log_index + len(request.entries))


def _append_after_commit(state: State, request: AppendEntries) -> int:
    """Skip what is committed already; returns the index up to which the logs are now known to agree."""
    last_index = request.prev_log_index + len(request.entries)
    if last_index > state.commit_index:
        _store(state, request.entries[state.commit_index - request.prev_log_index :])
    return max(last_index, state.commit_index)


def _store(state: State, entries: tuple[Entry, ...]) -> None:
    """Append what is new; remove own entries only from a real conflict on (rule 3)."""
    log = state.log
    for position, entry in enumerate(entries):
        present_term = log.term_at(entry.index)
        if present_term == entry.term:
            continue
        if present_term is not None:
            _truncate(state, entry.index)
        new = entries[position:] if position else entries
        log.append(new)
        rules.adopt_configurations(state, new)
        return


def _truncate(state: State, first_index: int) -> None:
    """Remove conflicting entries, and go back to the configuration before them (§5.3; rule 13)."""
    assert first_index > state.commit_index, f"would remove committed entry {first_index}"
    state.report(
        LogTruncated(
            term=state.current_term,
            first_index=first_index,
            last_index=state.log.last_index,
            commit_index=state.commit_index,
        )
    )
    state.log.truncate(first_index)
    rolled_back = False
    while state.membership_index >= first_index:
        state.memberships.pop()
        rolled_back = True
    if rolled_back:
        rules.report_membership(state)


def _reply_up_to(state: State, sender: str, request: AppendEntries, match_index: int) -> None:
    """Commit no further than this request has verified (rule 4), and promise what will be synced."""
    state.commit_index = max(state.commit_index, min(request.leader_commit, match_index))
    if request.quiet and state.disk is DiskState.GOOD:
        return
    state.promise(
        sender,
        AppendReply(
            term=state.current_term,
            ok=True,
            match_index=match_index,
            prev_log_index=request.prev_log_index,
            hint_index=0,
            hint_term=0,
            read_token=request.read_token,
            disk=state.disk,
        ),
    )


def _refuse(state: State, sender: str, request: AppendEntries) -> None:
    """Say where the logs may agree, so that the leader need not step back one by one (§5.3)."""
    hint_index, hint_term = state.log.last_index_not_above(request.prev_log_index, request.prev_log_term)
    state.promise(
        sender,
        AppendReply(
            term=state.current_term,
            ok=False,
            match_index=0,
            prev_log_index=request.prev_log_index,
            hint_index=hint_index,
            hint_term=hint_term,
            read_token=request.read_token,
            disk=state.disk,
        ),
    )


def handle_install_snapshot(state: State, sender: str, chunk: InstallSnapshot) -> None:
    """Take one chunk; what is already here or already committed is not needed (Figure 13; rule 20)."""
    hear_leader(state, sender)
    if _is_installing(state):
        return
    if chunk.last_index <= state.commit_index:
        _snapshot_reply(state, sender, chunk, installed=True)
        return
    if state.log.term_at(chunk.last_index) == chunk.last_term:
        # The log has all of it, and maybe more: keep the log, take over only that it is committed.
        state.commit_index = chunk.last_index
        _snapshot_reply(state, sender, chunk, installed=True)
        return
    incoming = state.snapshot_in
    offered = (sender, chunk.last_index, chunk.last_term)
    if incoming is None or (incoming.leader_id, incoming.last_index, incoming.last_term) != offered:
        incoming = state.snapshot_in = SnapshotIn(sender, chunk)
    if chunk.offset == incoming.next_offset and not incoming.complete:
        incoming.next_offset += len(chunk.data)
        incoming.complete = chunk.done
        state.outbox.snapshot_chunks.append(chunk)
    if not incoming.complete:
        _snapshot_reply(state, sender, chunk, installed=False)


def _is_installing(state: State) -> bool:
    """Whether a whole snapshot is in the caller's hands: the log is about to go, so what would change it must wait."""
    return state.snapshot_in is not None and state.snapshot_in.complete


def _snapshot_reply(state: State, sender: str, chunk: InstallSnapshot, installed: bool) -> None:
    next_offset = 0 if installed or state.snapshot_in is None else state.snapshot_in.next_offset
    state.promise(
        sender,
        SnapshotReply(
            term=state.current_term,
            last_index=chunk.last_index,
            last_term=chunk.last_term,
            next_offset=next_offset,
            installed=installed,
            read_token=chunk.read_token,
        ),
    )


def snapshot_installed(state: State, last_index: int) -> None:
    """The shell has restored the state machine: the whole old log goes, as it held no such entry (rule 20)."""
    incoming, state.snapshot_in = state.snapshot_in, None
    assert incoming is not None
    assert incoming.complete
    assert incoming.last_index == last_index > state.commit_index
    state.log.reset(incoming.last_index, incoming.last_term)
    state.commit_index = state.last_applied = incoming.last_index
    state.memberships = [(incoming.last_index, memberships.decode(incoming.membership))]
    rules.report_membership(state)
    state.snapshot_bytes = incoming.next_offset
    state.outbox.reset_log_to = (incoming.last_index, incoming.last_term)
    if state.leader_id:
        reply = SnapshotReply(
            term=state.current_term,
            last_index=incoming.last_index,
            last_term=incoming.last_term,
            next_offset=0,
            installed=True,
        )
        state.promise(state.leader_id, reply)


def snapshot_failed(state: State) -> None:
    """The chunks make no sound file: the next one offered is asked for from its start."""
    state.snapshot_in = None
