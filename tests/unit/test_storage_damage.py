"""Torn writes are cut, damage is refused, and never comes a wrong entry out (rule 26)."""

import itertools
from pathlib import Path

import msgspec
import pytest

from raft_zmq.core.errors import StorageError
from raft_zmq.core.messages import HardState
from raft_zmq.core.stored import Stored
from raft_zmq.storage.errors import CorruptionError
from raft_zmq.storage.record import HEADER, Record, decode, encode, frame_end, read_frame, seal
from tests.unit.storage_disks import MEMBERS, TearingDisk, entry, log, opened, overwrite, put

FIRST = "wal-0000000001.log"
RECORDS: list[dict] = [
    {"hard_state": HardState(1, "n1", 0), "base_membership": MEMBERS},
    {"entries": log(1, 3)},
    {"hard_state": HardState(2, "n2", 2), "entries": log(3, 5, term=2)},
    {"entries": [entry(6, term=2)]},
]


def written(directory: Path, records: list[dict]) -> list[tuple[int, Stored]]:
    """Write these records; after each, the end of the log and what a restart finds then."""
    ends, states = [], []
    for count in range(len(records) + 1):
        with opened(directory) as storage:
            ends.append(storage.wal_bytes)
            states.append(storage.stored)
            if count < len(records):
                put(storage, **records[count])
    return list(zip(ends, states, strict=True))


refused_at: list[tuple[Path, int]] = []  # by `found`


def found(directory: Path) -> tuple[Stored, int] | None:
    """What a start finds and how many repairs that took; None if it refuses, which must change nothing."""
    before = (directory / FIRST).read_bytes()
    try:
        with opened(directory) as storage:
            return storage.stored, len(storage.repairs)
    except CorruptionError as refusal:
        refused_at.append((refusal.file, refusal.offset))
        assert (directory / FIRST).read_bytes() == before
        return None


def goes_on(directory: Path) -> None:
    """A node that started writes on and starts again."""
    with opened(directory) as storage:
        entries = storage.stored.entries
        following = entry(len(entries) + 1, term=9)
        put(storage, entries=[following])
    with opened(directory) as storage:
        assert storage.stored.entries == (*entries, following)
        assert storage.repairs == []


def test_a_write_torn_at_any_byte_leaves_all_records_before_it(tmp_path):
    """torn write at every byte of the last records: at each byte of the last one, the only one that can be torn"""
    history = written(tmp_path, RECORDS)
    path = tmp_path / FIRST
    sound = path.read_bytes()
    (start, before), (end, after) = history[-2:]
    cuts = 0
    for length in range(end - start):
        overwrite(path, sound[: start + length] + bytes(len(sound) - start - length))
        outcome = found(tmp_path)
        assert outcome in ((before, 0 if length == 0 else 1), (after, 0)), f"{length} of {end - start} bytes written"
        cuts += outcome == (before, 1)
        if length % 16 == 5:
            goes_on(tmp_path)
    assert cuts > HEADER.size + 16


def test_sectors_of_the_last_write_missing_in_any_combination(tmp_path):
    records = [*RECORDS, {"entries": [entry(7, term=2, data=bytes(range(1, 256)) * 7)]}]
    history = written(tmp_path, records)
    path = tmp_path / FIRST
    sound = path.read_bytes()
    (start, before), (end, after) = history[-2:]
    bounds = [start, *range(start - start % 512 + 512, end, 512), end]
    pieces = list(itertools.pairwise(bounds))
    assert len(pieces) >= 4
    for present in itertools.product((False, True), repeat=len(pieces)):
        data = bytearray(sound)
        for (piece_start, piece_end), there in zip(pieces, present, strict=True):
            if not there:
                data[piece_start:piece_end] = bytes(piece_end - piece_start)
        overwrite(path, data)
        stored, repairs = found(tmp_path) or pytest.fail(f"a torn write was refused: {present}")
        # The last piece may hold nothing but padding and end mark; without it the record is whole all the same.
        assert stored in ((after,) if all(present) else (before, after) if all(present[:-1]) else (before,))
        assert repairs == (stored == before and any(present))


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_any_flipped_byte_is_healed_or_refused(tmp_path, mask):
    """bit flip at every byte of the last records (one bit, and all eight), and of the blank space behind them

    The last record counts too: it was synced, so it may be acknowledged, and its loss must not go unnoticed.
    """
    history = written(tmp_path, RECORDS)
    end, state = history[-1]
    path = tmp_path / FIRST
    sound = path.read_bytes()
    refusals = 0
    starts = [0, *(record_end for record_end, _ in history[:-1])]
    for position in [*range(end + 70), *range(end + 70, len(sound), 211)]:
        overwrite(path, sound[:position] + bytes([sound[position] ^ mask]) + sound[position + 1 :])
        outcome = found(tmp_path)
        if outcome is None:
            assert refused_at[-1] == (path, max(start for start in starts if start <= position))
        assert outcome is None or outcome[0] == state, f"byte {position} flipped"
        assert outcome is None or position >= end or outcome[1] == 0, f"byte {position} flipped"
        refusals += outcome is None
    assert refusals > 0.8 * end


def test_a_file_cut_short_at_any_byte_is_healed_or_refused(tmp_path):
    """truncation at every byte of the last records"""
    end, state = written(tmp_path, RECORDS)[-1]
    path = tmp_path / FIRST
    sound = path.read_bytes()
    for length in [*range(end + 70), *range(end + 70, len(sound), 211)]:
        overwrite(path, sound[:length])
        outcome = found(tmp_path)
        # Eight blank bytes behind the last record prove that none came after it.
        assert outcome == (None if length < end + 8 else (state, 1)), f"cut to {length} bytes"
        if outcome is not None:
            assert path.stat().st_size == len(sound)
            goes_on(tmp_path)
            overwrite(path, sound)


def test_any_blanked_record_with_another_behind_it_is_refused(tmp_path):
    history = written(tmp_path, RECORDS)
    path = tmp_path / FIRST
    sound = path.read_bytes()
    for (start, _), (end, _) in itertools.pairwise(history[:-1]):
        overwrite(path, sound[:start] + bytes(end - start) + sound[end:])
        with pytest.raises(CorruptionError, match="a sound one behind it at") as refused:
            opened(tmp_path)
        assert (refused.value.file, refused.value.offset) == (path, start)


def test_a_record_in_the_wrong_place_is_refused(tmp_path):
    """A sound record, moved or repeated by a lying disk, is not one here."""
    history = written(tmp_path, [{"entries": [entry(index)]} for index in (1, 2, 3)])
    path = tmp_path / FIRST
    sound = path.read_bytes()
    ends = [end for end, _ in history]
    swapped = sound[: ends[0]] + sound[ends[1] : ends[2]] + sound[ends[0] : ends[1]] + sound[ends[2] :]
    assert len(swapped) == len(sound)
    overwrite(path, swapped)
    assert found(tmp_path) is None
    repeated = sound[: ends[3]] + sound[ends[2] : ends[3]]
    overwrite(path, repeated + bytes(len(sound) - len(repeated)))
    assert found(tmp_path) == (history[3][1], 1), "behind the last record: nothing that was ever part of the log"


def many_segments(directory: Path) -> tuple[list[Path], Stored]:
    with opened(directory) as storage:
        for index in range(1, 201):
            put(storage, HardState(index, "n1", 0), None, [entry(index)])
    with opened(directory) as storage:
        return sorted(directory.glob("wal-*.log")), storage.stored


def last_record(data: bytes) -> tuple[int, int]:
    """Start and end of the last record of a segment's bytes."""
    start, end = 0, frame_end(0, HEADER.unpack_from(data, 0)[2])
    while data[end : end + 4] == data[:4]:
        start, end = end, frame_end(end, HEADER.unpack_from(data, end)[2])
    return start, end


def test_a_missing_or_foreign_segment_in_the_middle_is_refused(tmp_path):
    paths, _ = many_segments(tmp_path)
    assert len(paths) >= 4
    middle = paths[1].read_bytes()
    paths[1].unlink()
    with pytest.raises(CorruptionError, match="expected this segment, found it missing") as refused:
        opened(tmp_path)
    assert refused.value.file == paths[1]
    paths[1].write_bytes(paths[2].read_bytes())
    with pytest.raises(CorruptionError, match="expected the segment's first record"):
        opened(tmp_path)
    overwrite(paths[1], middle)
    opened(tmp_path).close()


def test_the_end_of_a_segment_that_is_not_the_last_is_never_cut(tmp_path):
    paths, _ = many_segments(tmp_path)
    data = paths[1].read_bytes()
    start, end = last_record(data)
    for length in range(start, end - 16):
        overwrite(paths[1], data[:length] + bytes(len(data) - length))
        with pytest.raises(CorruptionError, match="and the next segment begins with") as refused:
            opened(tmp_path)
        assert (refused.value.file, refused.value.offset) == (paths[1], start)


def test_flipped_bytes_over_several_segments(tmp_path):
    paths, state = many_segments(tmp_path)
    for path in paths:
        sound = path.read_bytes()
        for position in range(0, len(sound), 37):
            overwrite(path, sound[:position] + bytes([sound[position] ^ 0x40]) + sound[position + 1 :])
            try:
                with opened(tmp_path) as storage:
                    assert storage.stored == state
            except CorruptionError:
                pass
        overwrite(path, sound)


def resealed(data: bytes, offset: int, segment: int, sequence: int, record: Record) -> bytes:
    """The segment with a record put in at that offset which is sound by itself."""
    frame = bytearray()
    seal([frame], encode(record, frame), segment, offset, sequence, term=1)
    return data[:offset] + frame + data[offset + len(frame) :]


@pytest.mark.parametrize(
    ("sequence", "entries", "reason"),
    [
        (7, log(7, 7), "expected record 6, found 7"),
        (5, log(7, 7), "expected record 6, found 5"),
        (6, log(8, 8), "expected entry 7 at the latest, found 8"),
        (6, [entry(7), entry(9), entry(9)], "expected 3 entries in order from 7, found 9 for 8"),
        (6, [entry(7), entry(9)], "expected 2 entries in order from 7, found 9 for 8"),
    ],
)
def test_a_sound_record_that_cannot_follow_is_refused(tmp_path, sequence, entries, reason):
    end, _ = written(tmp_path, RECORDS)[-1]
    path = tmp_path / FIRST
    overwrite(path, resealed(path.read_bytes(), end, 1, sequence, Record(entries=entries)))
    with pytest.raises(CorruptionError, match=reason) as refused:
        opened(tmp_path)
    assert (refused.value.file, refused.value.offset) == (path, end)


def test_a_segment_that_begins_with_another_state_is_refused(tmp_path):
    paths, state = many_segments(tmp_path)
    data = paths[1].read_bytes()
    view = memoryview(data)
    first = read_frame(view, 0, 2)
    assert first is not None
    record = decode(first.body)
    for wrong in ({"hard_state": HardState(9, "n3", 0)}, {"base_membership": MEMBERS}, {"start": (1, 1)}):
        overwrite(paths[1], resealed(data, 0, 2, first.sequence, msgspec.structs.replace(record, **wrong)))
        with pytest.raises(CorruptionError, match="expected the state at the end of the segment before"):
            opened(tmp_path)
    overwrite(paths[1], resealed(data, 0, 2, first.sequence, record))
    with opened(tmp_path) as storage:
        assert storage.stored == state


def test_a_large_record_torn_at_a_page(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 2))
    for kept in (0, 4096, 1 << 20, (3 << 20) - 512):
        disk = TearingDisk()
        with opened(tmp_path, disk=disk) as storage:
            storage.write(entries=[entry(3, data=b"large" * (3 << 18))])
            disk.keep = lambda data, _, kept=kept: data[:kept]
            with pytest.raises(StorageError):
                storage.sync()
        with opened(tmp_path) as storage:
            assert storage.stored.entries == tuple(log(1, 2))


def test_a_value_that_holds_a_copy_of_the_log_is_only_a_value(tmp_path):
    """Neither the records in it nor their end marks count, wherever the write of it is torn."""
    end, state = written(tmp_path, RECORDS)[-1]
    path = tmp_path / FIRST
    copy = path.read_bytes()[:end]
    with opened(tmp_path) as storage:
        put(storage, entries=[entry(7, data=copy)])
    sound = path.read_bytes()
    start, end = last_record(sound)
    assert end - start > len(copy)
    for kept in range(start + 8, end - 16, 4):
        overwrite(path, sound[:kept] + bytes(len(sound) - kept))
        assert found(tmp_path) == (state, 1)


def test_opening_a_torn_log_reports_what_it_cut(tmp_path):
    start, _ = written(tmp_path, RECORDS)[-2]
    path = tmp_path / FIRST
    sound = path.read_bytes()
    overwrite(path, sound[: start + 20] + bytes(len(sound) - start - 20))
    with opened(tmp_path) as storage:
        (repair,) = storage.repairs
    assert (repair.file, repair.offset, repair.bytes) == (FIRST, start, 24)
    assert "never synced" in repair.reason
    assert path.read_bytes() == sound[:start] + bytes(len(sound) - start)
