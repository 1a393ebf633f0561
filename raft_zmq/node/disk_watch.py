"""How the node's disk is: slow, by the time of its syncs; filling or full, by the room left for the log.

While the log's next segment finds no room, what is free of the present one is shared out: down to the reserve it takes
what a leader sends, below that only term and vote, so that the node can still take part in elections.
"""

from collections import deque

from raft_zmq.core.messages import AppendEntries, DiskState, PeerMessage
from raft_zmq.storage.storage import Storage

SYNCS_LOOKED_AT = 5  # the newest ones
SYNCS_THAT_MAKE_SLOW = 3  # so many of them over the limit; it is good again when none of them is
RESERVE_SHARE = 8  # the reserve is this part of a segment
ENTRY_BYTES = 64  # of an entry in the log, more than it takes beside its data
RETRY_S = 1.0  # between two looks for room
SNAPSHOT_RETRY_S = 10.0  # after one that found no room


class DiskWatch:
    """Of one node. `state` is as of the last `look`."""

    def __init__(self, storage: Storage, slow_s: float, segment_bytes: int) -> None:
        self.state = DiskState.GOOD
        self._storage = storage
        self._slow_s = slow_s
        self._reserve_bytes = segment_bytes // RESERVE_SHARE
        self._syncs: deque[bool] = deque(maxlen=SYNCS_LOOKED_AT)  # whether each was slow
        self._slow = False
        self._full = False
        self._retry_at_s = 0.0
        self._no_snapshot_until_s = 0.0

    def synced(self, seconds: float) -> bool:
        """Count one sync; returns whether it was slow."""
        slow = seconds > self._slow_s
        self._syncs.append(slow)
        if slow != self._slow:
            slow_syncs = sum(self._syncs)
            self._slow = slow_syncs >= SYNCS_THAT_MAKE_SLOW or (self._slow and slow_syncs > 0)
        return slow

    def look(self, now_s: float) -> DiskState:
        """How the disk is now; looks for room, in the background, when there was none."""
        if not self._storage.disk_full:
            self._full = False
            self.state = DiskState.SLOW if self._slow else DiskState.GOOD
            return self.state
        self._full = self._full or self._storage.room_bytes <= self._reserve_bytes
        self.state = DiskState.FULL if self._full else DiskState.FILLING
        if now_s >= self._retry_at_s:
            self._retry_at_s = now_s + RETRY_S
            self._storage.retry_allocation()
        return self.state

    def no_room(self) -> None:
        """A record did not fit: whatever the reserve, nothing more goes in."""
        self._full = True

    def expect(self, message: PeerMessage, pending_bytes: int) -> int:
        """Before a leader's entries go in behind so many bytes that wait to be written: is there room left for them?

        If not, the disk counts as full, which the next `look` tells. Returns the bytes that wait with these.
        """
        if not isinstance(message, AppendEntries):
            return pending_bytes
        pending_bytes += sum(ENTRY_BYTES + len(entry.data) for entry in message.entries)
        if self._storage.room_bytes < self._reserve_bytes + pending_bytes:
            self._full = True
        return pending_bytes

    def snapshot_found_no_room(self, now_s: float) -> None:
        """Neither take one nor write one for a while."""
        self._no_snapshot_until_s = now_s + SNAPSHOT_RETRY_S

    def may_snapshot(self, now_s: float) -> bool:
        """Whether to try it: a snapshot has not just found too little room."""
        return now_s >= self._no_snapshot_until_s
