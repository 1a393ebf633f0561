"""The write-ahead log: one record for each sync, in preallocated segments (docs/storage.md has the format).

Every segment begins with a record of the whole state so far, so the segments from any one on are a log by themselves,
and those before it may be deleted once a snapshot covers their entries.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from raft_zmq.core.errors import StorageError
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Entry, HardState
from raft_zmq.storage.disk import Disk, free, storage_error, unlink_held, write_all, write_pieces
from raft_zmq.storage.errors import DiskFullError, Repair
from raft_zmq.storage.record import Piece, Record, encode, encode_in_pieces, seal
from raft_zmq.storage.replay import Replay, Segment, segment_path
from raft_zmq.storage.spare import SpareSegment, write_zeros

_PAGE_BYTES = 4096
_ZEROS_PAY_BYTES = 128 << 10  # with larger records a segment sees so few syncs that writing it twice costs more
_SIZE_FIELD_BYTES = 16  # room for the field `segment_bytes` to take more bytes than reckoned with


class Wal:
    """The log's writing end; not for several threads at once, but `sync` may run in another thread than `write`.

    A write or sync that fails ends it: every later call raises, because what the medium then holds is unknown
    (rule 25). Only DiskFullError, for want of room for the next segment, leaves it as it was.
    """

    def __init__(self, directory: Path, replay: Replay, segment_bytes: int, disk: Disk) -> None:
        """Go on where `replay` ended, cutting what it found torn; a new log begins if it found none.

        Raises StorageError and DiskFullError. `repairs` lists what was changed.
        """
        self.repairs: list[Repair] = []
        self._directory = directory
        self._disk = disk
        self.segment_bytes = _whole_pages(segment_bytes)
        self._spare = SpareSegment(directory, disk)
        self._spare.path.unlink(missing_ok=True)
        self._segments = replay.segments
        self._sequence = replay.next_sequence
        self._hard_state = replay.hard_state
        self._base_membership = replay.base_membership
        self._last = replay.last
        self._buffer = bytearray()
        self._pieces: list[Piece] = []
        self._body_bytes = 0
        self._pending: Record | None = None
        self._failed: str | None = None
        self._descriptor = -1
        self._records = self._records_bytes = 0  # since the present segment began, or the log was opened
        if self._segments:
            self._reopen(replay.last_record, replay.torn)
        else:
            self._spare.make(self.segment_bytes)
            self._begin_segment(0)

    @property
    def used_bytes(self) -> int:
        """What the records take up, deleted segments left out."""
        return sum(segment.used_bytes for segment in self._segments)

    @property
    def room_bytes(self) -> int:
        """What still fits into the present segment."""
        segment = self._segments[-1]
        return segment.size_bytes - segment.used_bytes

    @property
    def disk_full(self) -> bool:
        """Whether there was no room for the next segment; the present one still takes what fits in it."""
        return self._spare.disk_full

    def write(
        self,
        hard_state: HardState | None = None,
        base_membership: Membership | None = None,
        entries: Sequence[Entry] = (),
        reset_to: tuple[int, int] | None = None,
    ) -> None:
        """Make one record of it, in memory; nothing at all makes none. One `sync` belongs to each `write`.

        `entries` replace everything from entries[0].index on; with `reset_to` = (index, term) the whole log goes first
        and begins anew behind that entry.
        """
        self._check_usable()
        assert self._pending is None, "write again before sync"
        if hard_state is None and base_membership is None and reset_to is None and not entries:
            return
        before = self._last[0] if reset_to is None else reset_to[0]
        assert not entries or entries[0].index <= before + 1, "a gap in the log"
        record = Record(hard_state, base_membership, reset_to, entries)
        self._pieces, self._body_bytes = encode_in_pieces(record, self._buffer)
        self._pending = record

    def sync(self) -> None:
        """Return once the record is on the medium.

        Raises DiskFullError, with the record kept for the next `sync`, if it needs a new segment and there is no room;
        StorageError if the disk fails, and ever after.
        """
        self._check_usable()
        record = self._pending
        if record is None:
            return
        segment = self._segments[-1]
        record_bytes = sum(map(len, self._pieces))
        if segment.used_bytes + record_bytes > segment.size_bytes:
            self._begin_segment(record_bytes)
            segment = self._segments[-1]
        self._put(segment, record, self._pieces, self._body_bytes)
        self._pieces.clear()
        self._pending = None
        self._prepare_next()

    def retry_allocation(self) -> None:
        """When `disk_full`: look in the background whether there is room by now. Meant to be called now and then."""
        self._spare.retry(self.segment_bytes)

    def compact(self, first_index_to_keep: int) -> None:
        """Delete the oldest segments whose entries all come before that index, which a synced snapshot must cover.

        The newest segment always stays. Raises StorageError.
        """
        self._check_usable()
        removed: list[int] = []
        try:
            while len(self._segments) > 1 and self._segments[0].last_index < first_index_to_keep:
                path = self._segments[0].path
                try:
                    removed.append(unlink_held(path))
                except OSError as error:
                    raise storage_error(path, error) from error
                del self._segments[0]
        finally:
            if removed:
                free(removed)

    def close(self) -> None:
        """Let go of the files. A record written but not synced is dropped."""
        self._failed = self._failed or "it was closed"
        self._spare.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _prepare_next(self) -> None:
        """See to the next segment while half of this one is free, so that a full disk shows in time."""
        if self._segments[-1].used_bytes > self.segment_bytes // 2:
            small = self._records_bytes <= self._records * _ZEROS_PAY_BYTES
            self._spare.prepare(self.segment_bytes, zeros=small)

    def _check_usable(self) -> None:
        if self._failed is not None:
            raise StorageError(f"{self._segments[-1].path}: expected a log in use, found that {self._failed}. Restart.")

    def _put(self, segment: Segment, record: Record, pieces: Sequence[Piece], body_bytes: int) -> None:
        """Write one record at the end of the segment, sync it, and only then count it."""
        term = (record.hard_state or self._hard_state).current_term
        seal(pieces, body_bytes, segment.number, segment.used_bytes, self._sequence, term)
        end = segment.used_bytes + sum(map(len, pieces))
        try:
            write_pieces(self._disk, self._descriptor, pieces, segment.used_bytes)
            self._disk.fdatasync(self._descriptor)
        except OSError as error:
            raise self._fail(segment.path, error) from error
        self._records += 1
        self._records_bytes += end - segment.used_bytes
        segment.used_bytes = end
        self._sequence += 1
        self._count(segment, record)

    def _count(self, segment: Segment, record: Record) -> None:
        if record.hard_state is not None:
            self._hard_state = record.hard_state
        if record.base_membership is not None:
            self._base_membership = record.base_membership
        if record.start is not None and not record.segment_bytes:
            self._last = record.start
            for each in self._segments:
                each.last_index = 0
        if record.entries:
            last = record.entries[-1]
            self._last = (last.index, last.term)
            segment.last_index = last.index

    def _begin_segment(self, record_bytes: int) -> None:
        """Go over to a new segment with room for such a record behind the one it begins with."""
        number = self._segments[-1].number + 1 if self._segments else 1
        buffer = bytearray()
        encode(self._first_record(self.segment_bytes), buffer)
        size_bytes = max(self.segment_bytes, _whole_pages(len(buffer) + _SIZE_FIELD_BYTES + record_bytes))
        try:
            descriptor = self._spare.take(size_bytes)
        except DiskFullError:
            raise
        except StorageError as error:
            self._failed = str(error)
            raise
        former, self._descriptor = self._descriptor, descriptor
        self._records = self._records_bytes = 0
        segment = Segment(number, segment_path(self._directory, number), size_bytes)
        record = self._first_record(size_bytes)
        self._put(segment, record, [buffer], encode(record, buffer))
        # Only now does it get its name: a segment with a name and without a sound first record is damaged.
        try:
            self._disk.rename(self._spare.path, segment.path)
            self._disk.sync_directory(self._directory)
        except OSError as error:
            raise self._fail(segment.path, error) from error
        self._segments.append(segment)
        if former >= 0:
            os.close(former)

    def _first_record(self, size_bytes: int) -> Record:
        return Record(self._hard_state, self._base_membership, self._last, (), size_bytes)

    def _reopen(self, last_record: bytes, torn: Repair | None) -> None:
        """Open the last segment for writing, and make durable what was read of it, for promises are built on it.

        A process that was killed may have left the last record in the page cache alone. After a sync that failed the
        cache even takes it for written, and a second sync does nothing (rule 25): so it is written once more.
        """
        segment = self._segments[-1]
        try:
            self._descriptor = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
            found_bytes = os.fstat(self._descriptor).st_size
            if torn is not None:
                write_zeros(self._disk, self._descriptor, torn.offset, min(torn.offset + torn.bytes, found_bytes))
                self.repairs.append(torn)
            if found_bytes < segment.size_bytes:
                write_zeros(self._disk, self._descriptor, found_bytes, segment.size_bytes)
                reason = "the file was shorter than it was made, by zeros only: they were written again"
                self.repairs.append(Repair(segment.path.name, found_bytes, segment.size_bytes - found_bytes, reason))
            write_all(self._disk, self._descriptor, last_record, segment.used_bytes - len(last_record))
            self._disk.fdatasync(self._descriptor)
            self._disk.sync_directory(self._directory)
        except OSError as error:
            self.close()
            raise storage_error(segment.path, error) from error
        self._prepare_next()

    def _fail(self, path: Path, error: OSError) -> StorageError:
        """The end of this log: what the medium holds of the last write is unknown, and stays so."""
        self._failed = f"an earlier write failed ({error})"
        return StorageError(
            f"{path}: expected the write to reach the disk, found: {error}. The node stops, since what it holds now is "
            "unknown; check the disk before starting it again."
        )


def _whole_pages(count_bytes: int) -> int:
    return count_bytes + -count_bytes % _PAGE_BYTES
