"""The log (§5.3) as the core sees it: entries in memory, from some start on, and how much of it is synced."""

from collections.abc import Sequence

from raft_zmq.core.messages import Entry

ENTRY_BYTES = 32  # what an entry takes in a message beside its data, at most


class RaftLog:
    """Entries first_index … last_index, contiguous; what came before is known only by `start_term`.

    `snapshot_index` is the last entry covered by the newest snapshot on disk; the log may reach further down than
    that (trailing entries). `stable_index` is the last entry known to be synced here.
    """

    def __init__(self, entries: Sequence[Entry], start_term: int, snapshot_index: int, snapshot_term: int) -> None:
        self._entries = list(entries)
        self.first_index = entries[0].index if entries else snapshot_index + 1
        self.start_term = start_term if entries else snapshot_term
        self.snapshot_index = snapshot_index
        self.snapshot_term = snapshot_term
        self.stable_index = self.last_index
        self._write_from = self.last_index + 1  # what the next Ready has to write
        self._in_flight_to = 0  # the last entry of the write under way; 0 is "no write under way"

    @property
    def last_index(self) -> int:
        """The index of the newest entry; that of the snapshot while the log is empty."""
        return self.first_index + len(self._entries) - 1

    @property
    def last_term(self) -> int:
        """The term of the newest entry; that of the snapshot while the log is empty."""
        return self._entries[-1].term if self._entries else self.start_term

    def term_at(self, index: int) -> int | None:
        """The term of that entry, None when it is not here; the entry before the first one still has its term."""
        position = index - self.first_index
        if 0 <= position < len(self._entries):
            return self._entries[position].term
        if position == -1:
            return self.start_term
        return None

    def entries(self, first: int, last: int) -> list[Entry]:
        """The entries first … last, both included; [] when first > last."""
        start = first - self.first_index
        assert start >= 0, f"entry {first} was compacted; the log starts at {self.first_index}"
        return self._entries[start : last - self.first_index + 1]

    def batch(self, first: int, bytes_max: int) -> list[Entry]:
        """Entries from `first` on, at least one if there is one, and no more than `bytes_max` of them.

        Each counts with what stands around its data in a message: small ones would be many times larger there.
        """
        start = first - self.first_index
        total_bytes = 0
        for end in range(start, len(self._entries)):
            total_bytes += len(self._entries[end].data) + ENTRY_BYTES
            if total_bytes > bytes_max and end > start:
                return self._entries[start:end]
        return self._entries[start:]

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries directly after the last one."""
        assert not entries or entries[0].index == self.last_index + 1
        self._entries.extend(entries)

    def truncate(self, first: int) -> None:
        """Remove the entries from `first` on. A write under way no longer vouches for them (rule 21)."""
        del self._entries[first - self.first_index :]
        self.stable_index = min(self.stable_index, first - 1)
        self._write_from = min(self._write_from, first)
        self._in_flight_to = min(self._in_flight_to, first - 1)

    def reset(self, index: int, term: int) -> None:
        """Drop everything: the log begins after a snapshot that was installed (rule 20)."""
        self._entries.clear()
        self.first_index = index + 1
        self.start_term = term
        self.snapshot_index, self.snapshot_term = index, term
        self.stable_index = index
        self._write_from = index + 1
        self._in_flight_to = 0

    def trailing_from(self, index: int, entries_max: int, bytes_max: int) -> int:
        """The oldest entry to keep below and at `index`, by number and by bytes of data."""
        first = index + 1
        total_bytes = 0
        while first > max(self.first_index, index + 1 - entries_max):
            total_bytes += len(self._entries[first - 1 - self.first_index].data)
            if total_bytes > bytes_max:
                break
            first -= 1
        return first

    def snapshot_written(self, index: int, term: int, keep_from: int) -> list[Entry]:
        """A snapshot of everything up to `index` is on disk: entries below `keep_from` go (§7), and are returned.

        Those are not touched one by one, which takes long where they are many; what stays is.
        """
        self.snapshot_index, self.snapshot_term = index, term
        keep_from = min(keep_from, index + 1)
        if keep_from <= self.first_index:
            return []
        new_start_term = self.term_at(keep_from - 1)
        assert new_start_term is not None
        leaving = keep_from - self.first_index
        gone, self._entries = self._entries, self._entries[leaving:]
        del gone[leaving:]
        self.first_index = keep_from
        self.start_term = new_start_term
        return gone

    def last_index_not_above(self, index: int, term: int) -> tuple[int, int]:
        """The newest place no later than `index` whose term is at most `term`: where two logs may agree (§5.3).

        Returns (index, its term); (0, 0) when the search would leave the log.
        """
        index = min(index, self.last_index)
        while (found := self.term_at(index)) is not None:
            if found <= term:
                return index, found
            index -= 1
        return 0, 0

    def up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log that ends so is at least as up to date as this one: by term, then by index (§5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def has_to_write(self) -> bool:
        """Whether entries have come in since the last write began."""
        return self._write_from <= self.last_index

    def begin_write(self) -> list[Entry]:
        """The entries to write now; `end_write` says that they are synced."""
        entries = self.entries(self._write_from, self.last_index)
        self._write_from = self.last_index + 1
        self._in_flight_to = self.last_index
        return entries

    def end_write(self) -> None:
        """The write under way is synced: what of it has not been truncated since is stable (rule 21)."""
        self.stable_index = max(self.stable_index, self._in_flight_to)
        self._in_flight_to = 0
