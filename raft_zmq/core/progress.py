"""What the leader knows of each other server, and how much it may have on the way to it (§5.3, thesis 10.2.1)."""

import enum
from collections import deque

from raft_zmq.core.messages import DiskState


class ProgressState(enum.Enum):
    """How the leader sends to a follower."""

    PROBE = "probe"  # looking for where the logs agree: one message at a time
    REPLICATE = "replicate"  # streaming: entries leave before earlier ones are answered
    SNAPSHOT = "snapshot"  # the follower needs entries that are gone; chunks of a snapshot leave one by one


class Progress:
    """nextIndex and matchIndex of one follower (Figure 2), and the window of messages under way."""

    def __init__(self, next_index: int, now_s: float) -> None:
        self.state = ProgressState.PROBE
        self.match_index = 0
        self.next_index = next_index
        self.incarnation = ""  # the data directory its answers came from; "" until it has answered
        self.last_heard_s = now_s
        self.last_sent_s = -1.0  # before any time
        self.waiting = False  # PROBE and SNAPSHOT: a message is on the way
        self.waiting_since_s = 0.0
        self.read_token = 0  # the newest round of reads it has confirmed
        self.disk = DiskState.GOOD  # as it said last
        self.sent_read_token = 0  # the newest round that went out to it
        self.snapshot_index = 0
        self.snapshot_term = 0
        self.snapshot_membership = b""  # encoded, as of snapshot_index
        self.snapshot_offset = 0
        self.catching_up = False  # from when it needed a snapshot until it has been as far as the others
        self._in_flight: deque[tuple[int, int]] = deque()  # (last index, bytes) of each append under way
        self._in_flight_bytes = 0

    def has_room(self, messages_max: int, bytes_max: int) -> bool:
        """Whether another append may leave now; none does to a server that has no room for it."""
        if self.disk is DiskState.FULL:
            return False
        if self.state is ProgressState.REPLICATE:
            return len(self._in_flight) < messages_max and self._in_flight_bytes < bytes_max
        return not self.waiting

    def sent_entries(self, last_index: int, size_bytes: int, now_s: float) -> None:
        """An append that ends at last_index is on its way."""
        if self.state is ProgressState.REPLICATE:
            self.next_index = last_index + 1
            self._in_flight.append((last_index, size_bytes))
            self._in_flight_bytes += size_bytes
        else:
            self.waiting, self.waiting_since_s = True, now_s

    def matched(self, match_index: int) -> bool:
        """The follower's log equals ours up to there; matchIndex never moves back (rule 8). True if it moved."""
        while self._in_flight and self._in_flight[0][0] <= match_index:
            self._in_flight_bytes -= self._in_flight.popleft()[1]
        moved = match_index > self.match_index
        self.match_index = max(self.match_index, match_index)
        self.next_index = max(self.next_index, match_index + 1)
        return moved

    def become_probe(self, next_index: int) -> None:
        """Go back to sending one message at a time, from next_index on (never at or below what is matched)."""
        self.state = ProgressState.PROBE
        self.next_index = max(next_index, self.match_index + 1)
        self.waiting = False
        self._in_flight.clear()
        self._in_flight_bytes = 0

    def become_replicate(self) -> None:
        """The logs agree up to match_index: stream from there."""
        self.state = ProgressState.REPLICATE
        self.next_index = self.match_index + 1
        self.waiting = False
        self._in_flight.clear()
        self._in_flight_bytes = 0

    def become_snapshot(self, index: int, term: int, membership: bytes) -> None:
        """Send the snapshot that ends at (index, term)."""
        self.become_probe(self.next_index)
        self.state = ProgressState.SNAPSHOT
        self.snapshot_index, self.snapshot_term, self.snapshot_offset = index, term, 0
        self.snapshot_membership = membership
        self.catching_up = True

    def wants_from(self) -> int:
        """The first entry it will want after its snapshot, which needs keeping; 0 while nothing of that has arrived."""
        if self.state is ProgressState.SNAPSHOT:
            return self.snapshot_index + 1 if self.snapshot_offset else 0
        return self.match_index + 1 if self.catching_up else 0

    def reborn(self, incarnation: str, next_index: int) -> None:
        """The server answers from another data directory: all that it held is gone (rule 15)."""
        self.match_index = 0
        self.read_token = 0
        self.incarnation = incarnation
        self.become_probe(next_index)
