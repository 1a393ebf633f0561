"""Reading the log back: every record of every segment, checked, into the state it describes. Changes nothing."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Entry, HardState
from raft_zmq.storage.disk import storage_error
from raft_zmq.storage.errors import CorruptionError, Repair
from raft_zmq.storage.record import UNREADABLE, Frame, Record, decode, read_frame
from raft_zmq.storage.tail import judge_tail

_SEGMENT_NAME = re.compile(r"wal-(\d{10})\.log")


def segment_path(directory: Path, number: int) -> Path:
    """The file of that segment."""
    return directory / f"wal-{number:010d}.log"


class Segment(msgspec.Struct):
    """One file of the log."""

    number: int
    path: Path
    size_bytes: int  # that the file was made with
    used_bytes: int = 0  # where its last record ends
    last_index: int = 0  # the log's last entry when entries were last written to it; 0 if none of them count


class Replay:
    """The log as the records tell it; `feed` them in order.

    The log is `entries`, contiguous behind the entry (start_index, start_term).
    """

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.base_membership = Membership()
        self.start_index = 0
        self.start_term = 0
        self.entries: list[Entry] = []
        self.segments: list[Segment] = []
        self.next_sequence = 1
        self.last_record = b""  # as it was read: the only one that the medium may not hold
        self.torn: Repair | None = None  # what to cut at the end of the last segment

    @property
    def last(self) -> tuple[int, int]:
        """(index, term) of the log's last entry."""
        if self.entries:
            return self.entries[-1].index, self.entries[-1].term
        return self.start_index, self.start_term

    def term_at(self, index: int) -> int | None:
        """The term of that entry, or None outside the log."""
        if index == self.start_index:
            return self.start_term
        if self.start_index < index <= self.last[0]:
            return self.entries[index - self.start_index - 1].term
        return None

    def reset(self, start: tuple[int, int]) -> None:
        """Drop the whole log; it begins anew behind that (index, term)."""
        self.start_index, self.start_term = start
        self.entries.clear()
        for segment in self.segments:
            segment.last_index = 0

    def feed(self, record: Record) -> str | None:
        """Take in one record; returns why that cannot be, or None."""
        if record.hard_state is not None:
            self.hard_state = record.hard_state
        if record.base_membership is not None:
            self.base_membership = record.base_membership
        if record.start is not None:
            self.reset(record.start)
        return self._replace_suffix(record.entries) if record.entries else None

    def _replace_suffix(self, entries: Sequence[Entry]) -> str | None:
        first, last = entries[0].index, entries[-1].index
        for expected, entry in enumerate(entries, start=max(first, 1)):
            if entry.index != expected:
                return f"expected {len(entries)} entries in order from {first}, found {entry.index} for {expected}"
        if first > self.last[0] + 1:
            return f"expected entry {self.last[0] + 1} at the latest, found {first}"
        if first <= self.start_index:
            # The entry before these went with a segment that is no longer needed, and its term with it. The snapshot
            # covers this first one too (see Wal.compact), so it may serve as what the log begins behind.
            self.start_index, self.start_term = first, entries[0].term
            self.entries = list(entries[1:])
        else:
            del self.entries[first - self.start_index - 1 :]
            self.entries += entries
        self.segments[-1].last_index = last
        return None


def read_log(directory: Path, replay: Replay | None = None) -> Replay:
    """Read all segments; no file at all gives an empty Replay. Raises CorruptionError and StorageError.

    A `replay` that is passed in holds, after an error, what came before the damage.
    """
    replay = replay or Replay()
    files = segment_files(directory)
    for position, (number, path) in enumerate(files):
        if position and number != files[position - 1][0] + 1:
            missing = segment_path(directory, files[position - 1][0] + 1)
            raise CorruptionError(missing, 0, "expected this segment, found it missing")
        _read_segment(replay, number, path, last=path == files[-1][1])
    return replay


def segment_files(directory: Path) -> list[tuple[int, Path]]:
    """Number and path of each file of the log, in order. Raises StorageError."""
    try:
        matches = [(_SEGMENT_NAME.fullmatch(path.name), path) for path in directory.iterdir()]
    except OSError as error:
        raise storage_error(directory, error) from error
    return sorted((int(match[1]), path) for match, path in matches if match)


def _read_segment(replay: Replay, number: int, path: Path, *, last: bool) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise storage_error(path, error) from error
    with memoryview(data) as view:
        frame = read_frame(view, 0, number)
        if frame is None:
            # A segment gets its name only after its first record is synced, so this one was sound once.
            raise CorruptionError(path, 0, "expected the segment's first record, found it damaged")
        segment_bytes = _begin_segment(replay, Segment(number, path, len(data)), frame)
        replay.segments[-1].size_bytes = segment_bytes
        start, end = 0, frame.end
        while (frame := read_frame(view, end, number)) is not None:
            if frame.sequence != replay.next_sequence:
                raise CorruptionError(path, end, f"expected record {replay.next_sequence}, found {frame.sequence}")
            _feed(replay, path, end, _decode(path, end, frame))
            start, end = end, frame.end
    if end > segment_bytes:
        raise CorruptionError(path, 0, f"expected a segment made for {end} bytes or more, found {segment_bytes}")
    replay.segments[-1].used_bytes = end
    if last:
        replay.last_record = data[start:end]
        replay.torn = judge_tail(path, data[:segment_bytes], end, number, segment_bytes)


def _begin_segment(replay: Replay, segment: Segment, frame: Frame) -> int:
    """Check a segment's first record against the log before it, or begin the log with it; returns the file's size."""
    record = _decode(segment.path, 0, frame)
    if record.hard_state is None or record.base_membership is None or record.start is None:
        raise CorruptionError(segment.path, 0, "expected a first record with the whole state, found a partial one")
    if not replay.segments:
        replay.segments.append(segment)
        replay.next_sequence = frame.sequence
        _feed(replay, segment.path, 0, record)
        return record.segment_bytes
    former = replay.segments[-1]
    if frame.sequence != replay.next_sequence:
        reason = (
            f"expected record {replay.next_sequence}, found none, and the next segment begins with {frame.sequence}"
        )
        raise CorruptionError(former.path, former.used_bytes, reason)
    if (record.hard_state, record.base_membership, record.start) != (
        replay.hard_state,
        replay.base_membership,
        replay.last,
    ):
        raise CorruptionError(segment.path, 0, "expected the state at the end of the segment before, found another")
    replay.segments.append(segment)
    replay.next_sequence += 1
    return record.segment_bytes


def _feed(replay: Replay, path: Path, offset: int, record: Record) -> None:
    wrong = replay.feed(record)
    if wrong is not None:
        raise CorruptionError(path, offset, wrong)
    replay.next_sequence += 1


def _decode(path: Path, offset: int, frame: Frame) -> Record:
    try:
        return decode(frame.body)
    except UNREADABLE as error:
        raise CorruptionError(path, offset, f"expected a record's fields, found: {error}") from error
