"""A simulated disk: what was synced stays, what was only written may be lost, torn or kept when the server dies.

It keeps records as values, not bytes; that the real files hold what they promise is for the tests of the storage.
"""

import random
import zlib
from collections.abc import Iterable, Sequence

import msgspec

from raft_zmq.core.errors import StorageError
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Entry, HardState
from raft_zmq.core.stored import Stored


class DiskFullError(StorageError):
    """No room for the record; nothing of it counts."""


class CorruptionError(StorageError):
    """A record or snapshot that was synced no longer reads as it was written: the server must not start."""


class Snapshot(msgspec.Struct, frozen=True):
    """A snapshot file: what it covers, and its bytes as `seal` made them."""

    index: int
    term: int
    membership: Membership
    data: bytes


def seal(chunks: Iterable[bytes]) -> bytes:
    """The bytes of a snapshot file: a checksum, then the chunks of the state machine."""
    body = msgspec.msgpack.encode(list(chunks))
    return zlib.crc32(body).to_bytes(4) + body


def unseal(data: bytes) -> list[bytes]:
    """The chunks in a snapshot file. Raises CorruptionError."""
    if zlib.crc32(data[4:]).to_bytes(4) != data[:4]:
        raise CorruptionError("the snapshot does not match its checksum")
    return msgspec.msgpack.decode(data[4:], type=list[bytes])


class Record(msgspec.Struct, frozen=True):
    """One write of the log file: all of it counts, or nothing."""

    hard_state: HardState | None
    base_membership: Membership | None
    entries: Sequence[Entry]
    reset_to: tuple[int, int] | None


class Log:
    """The synced entries first_index … last_index, and the term of the one before them."""

    def __init__(self) -> None:
        self.first_index = 1
        self.start_term = 0
        self.entries: list[Entry] = []

    @property
    def last_index(self) -> int:
        """The newest entry, or the place before the first one while there is none."""
        return self.first_index + len(self.entries) - 1

    @property
    def size_bytes(self) -> int:
        """What the entries hold."""
        return sum(len(entry.data) for entry in self.entries)

    def term_at(self, index: int) -> int | None:
        """The term of that entry; None when it is not here."""
        position = index - self.first_index
        if 0 <= position < len(self.entries):
            return self.entries[position].term
        return self.start_term if position == -1 else None

    def put(self, entries: Sequence[Entry]) -> None:
        """Replace everything from entries[0].index on."""
        assert entries[0].index <= self.last_index + 1, f"gap: {entries[0].index} after {self.last_index}"
        self.entries[max(0, entries[0].index - self.first_index) :] = entries

    def reset(self, index: int, term: int) -> None:
        """Begin anew after a snapshot."""
        self.first_index, self.start_term = index + 1, term
        self.entries = []

    def compact(self, first_index: int) -> None:
        """Drop what is below first_index."""
        count = min(first_index - self.first_index, len(self.entries))
        if count > 0:
            self.start_term = self.entries[count - 1].term
            del self.entries[:count]
            self.first_index += count


class Disk:
    """The data directory of one server under one incarnation."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.hard_state = HardState()
        self.base_membership = Membership()
        self.log = Log()
        self.snapshot: Snapshot | None = None
        self.full = False
        self.failing_sync = False
        self.damaged = False  # a synced byte is not what it was; the next start finds out
        self._unsynced: Record | None = None
        self._flipped_entry = 0
        self._aside: dict[int, bytearray] = {}  # snapshots on their way in, by their last index

    # -- the log file --------------------------------------------------------------------------------------------------

    def write(self, record: Record) -> None:
        """Hand a record to the operating system; raises DiskFullError."""
        assert self._unsynced is None, "one write at a time"
        if self.full:
            raise DiskFullError("the disk is full")
        self._unsynced = record

    def sync(self) -> None:
        """Make the record durable; after a failed sync nobody knows what is on the disk."""
        if self.failing_sync:
            self.failing_sync = False
            raise StorageError("fdatasync failed")
        if self._unsynced is not None:
            self._keep(self._unsynced)
            self._unsynced = None

    def end_as_written(self) -> tuple[int, int | None]:
        """(index, term) of the last entry, the unsynced record included."""
        record = self._unsynced
        if record is not None and record.entries:
            return record.entries[-1].index, record.entries[-1].term
        if record is not None and record.reset_to is not None:
            return record.reset_to
        return self.log.last_index, self.log.term_at(self.log.last_index)

    def compact(self, first_index: int) -> None:
        """Drop log entries that a durable snapshot covers."""
        assert self.snapshot is not None
        assert first_index <= self.snapshot.index + 1, "only what a snapshot holds may go"
        self.log.compact(first_index)

    def _keep(self, record: Record) -> None:
        if record.hard_state is not None:
            self.hard_state = record.hard_state
        if record.base_membership is not None:
            self.base_membership = record.base_membership
        if record.reset_to is not None:
            self.log.reset(*record.reset_to)
        if record.entries:
            self.log.put(record.entries)

    # -- snapshots -----------------------------------------------------------------------------------------------------

    def put_snapshot(self, index: int, term: int, membership: Membership, data: bytes) -> None:
        """Write aside, sync and rename: the snapshot is there as a whole, or the old one stays."""
        if self.full:
            raise DiskFullError("the disk is full")
        self.snapshot = Snapshot(index, term, membership, data)

    def write_chunk(self, last_index: int, offset: int, data: bytes) -> None:
        """Put a received chunk at its place in the file that is kept aside."""
        if self.full:
            raise DiskFullError("the disk is full")
        if last_index not in self._aside:
            self._aside.clear()
        aside = self._aside.setdefault(last_index, bytearray())
        if len(aside) < offset:
            aside.extend(bytes(offset - len(aside)))
        aside[offset:] = data

    def take_received(self, last_index: int) -> bytes:
        """The whole file that came in for that index; it is aside no longer."""
        return bytes(self._aside.pop(last_index, b""))

    def flip_received(self, rng: random.Random) -> bool:
        """Damage a snapshot that is coming in; False when there is none."""
        for aside in self._aside.values():
            if aside:
                aside[rng.randrange(len(aside))] ^= 1 << rng.randrange(8)
                return True
        return False

    # -- crashes and damage --------------------------------------------------------------------------------------------

    def crash(self, rng: random.Random) -> str:
        """What becomes of the write under way: "", "kept_write", "lost_write" or "torn_write"."""
        record, self._unsynced = self._unsynced, None
        self._aside.clear()
        self.failing_sync = False
        if record is None:
            return ""
        fate = rng.choice(["kept_write", "lost_write", "torn_write"])
        if fate == "kept_write":
            self._keep(record)
        return fate

    def flip_entry(self, rng: random.Random) -> bool:
        """Damage a synced record that has good ones after it; False when the log is too short for that.

        The very last record is spared: there a flipped bit looks like a torn write, to any log without a second copy.
        """
        if len(self.log.entries) < 2:
            return False
        self._flipped_entry = rng.randrange(self.log.first_index, self.log.last_index)
        self.damaged = True
        return True

    def flip_snapshot(self, rng: random.Random) -> bool:
        """Damage the snapshot file; False when there is none."""
        if self.snapshot is None:
            return False
        data = bytearray(self.snapshot.data)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        self.snapshot = msgspec.structs.replace(self.snapshot, data=bytes(data))
        self.damaged = True
        return True

    def load(self) -> Stored:
        """What a starting server finds. Raises CorruptionError.

        A crash between the snapshot's rename and the log's reset leaves a log that does not reach or does not match
        the snapshot; such a log is dropped (Figure 13, step 7).
        """
        if self._flipped_entry >= self.log.first_index:
            raise CorruptionError(f"log entry {self._flipped_entry} does not match its checksum")
        snapshot = self.snapshot
        if snapshot is None:
            return Stored(
                hard_state=self.hard_state, base_membership=self.base_membership, entries=tuple(self.log.entries)
            )
        unseal(snapshot.data)
        if self.log.term_at(snapshot.index) != snapshot.term:
            self.log.reset(snapshot.index, snapshot.term)
        return Stored(
            hard_state=self.hard_state,
            base_membership=self.base_membership,
            snapshot_index=snapshot.index,
            snapshot_term=snapshot.term,
            snapshot_membership=snapshot.membership,
            snapshot_bytes=len(snapshot.data),
            entries=tuple(self.log.entries),
            start_term=self.log.start_term,
        )
