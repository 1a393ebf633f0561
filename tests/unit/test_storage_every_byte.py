"""Every flipped byte, every cut and every torn write over the last 64 KiB of a log, and over a snapshot of that size.

A start finds exactly what was synced, or refuses with file, offset and reason; never a wrong entry. These tests try
each byte with RAFT_EXHAUSTIVE=1 (some minutes), and a sample otherwise; test_storage_damage.py and
test_storage_snapshots.py try each byte of small files.
"""
# ruff: noqa: PT017  (a refusal is expected for some changes only, and then has to say where)

import contextlib
import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raft_zmq.core.messages import HardState
from raft_zmq.storage.errors import CorruptionError
from raft_zmq.storage.replay import read_log
from raft_zmq.storage.snapshot_file import SnapshotReader, verify
from tests.unit.storage_disks import MEMBERS, entry, opened, put

WHOLE = os.environ.get("RAFT_EXHAUSTIVE") == "1"
TRIED_BYTES = 64 << 10
SEGMENT_BYTES = 128 << 10
BITS = [1 << bit for bit in range(8)]

pytestmark = pytest.mark.timeout(3600 if WHOLE else 120)


def positions(start: int, end: int, sample: int) -> Iterator[int]:
    """All of them, or so many."""
    return iter(range(start, end)) if WHOLE else iter(sorted(random.sample(range(start, end), sample)))


def masks() -> list[int]:
    return [random.choice(BITS), 0xFF] if WHOLE else [random.choice(BITS)]


class Patched:
    """A file in which single bytes are changed and put back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sound = path.read_bytes()
        self.descriptor = os.open(path, os.O_RDWR)

    @contextlib.contextmanager
    def with_bytes(self, offset: int, data: bytes) -> Iterator[None]:
        os.pwrite(self.descriptor, data, offset)
        yield
        os.pwrite(self.descriptor, self.sound[offset : offset + len(data)], offset)

    @contextlib.contextmanager
    def cut_to(self, length: int) -> Iterator[None]:
        os.ftruncate(self.descriptor, length)
        yield
        os.pwrite(self.descriptor, self.sound[length:], length)

    def flips(self, start: int, end: int, sample: int) -> Iterator[int]:
        """One changed byte after the other; gives its position while it is changed."""
        for position in positions(start, end, sample):
            for mask in masks():
                with self.with_bytes(position, bytes([self.sound[position] ^ mask])):
                    yield position


def what_is_read(directory: Path) -> tuple[object, ...]:
    replay = read_log(directory)
    return replay.hard_state, replay.base_membership, replay.start_index, replay.entries


def read_or_refused(read: Callable[[], object]) -> object | None:
    """What was read; None after a refusal, which names a file, an offset and a reason."""
    try:
        return read()
    except CorruptionError as refused:
        assert refused.file.exists()
        assert refused.offset >= 0
        assert refused.reason
        return None


@pytest.fixture
def many_records(tmp_path: Path) -> tuple[Patched, int, tuple[object, ...]]:
    """A log of one segment whose records take 64 KiB and more; where they end, and what it says."""
    rng = random.Random(1)
    with opened(tmp_path, segment_bytes=SEGMENT_BYTES) as storage:
        index = 0
        while storage.wal_bytes < TRIED_BYTES + 2000:
            hard_state = HardState(1 + index // 50, "n1", index) if rng.random() < 0.2 else None
            size = rng.choice([0, 20, 200, 1500])
            entries = [entry(index + n, 1 + index // 50, rng.randbytes(size)) for n in range(1, rng.randrange(2, 5))]
            put(storage, hard_state, MEMBERS if not index else None, entries)
            index += len(entries)
        end = storage.wal_bytes
    (path,) = tmp_path.glob("wal-*.log")
    return Patched(path), end, what_is_read(tmp_path)


@pytest.fixture
def one_large_record(tmp_path: Path) -> tuple[Patched, int, int, tuple[object, ...], tuple[object, ...]]:
    """A log whose last record alone takes 64 KiB: its start and end, and what the log says without and with it."""
    rng = random.Random(2)
    with opened(tmp_path, segment_bytes=SEGMENT_BYTES) as storage:
        put(storage, HardState(1, "n1", 0), MEMBERS, [entry(1), entry(2)])
        start, before = storage.wal_bytes, what_is_read(tmp_path)
        put(storage, HardState(2, "n2", 1), None, [entry(n, 2, rng.randbytes(1000)) for n in range(3, 69)])
        end = storage.wal_bytes
    assert end - start > TRIED_BYTES
    (path,) = tmp_path.glob("wal-*.log")
    return Patched(path), start, end, before, what_is_read(tmp_path)


def test_every_flipped_byte_of_a_log(many_records):
    file, end, sound = many_records
    refused = 0
    for position in file.flips(end - TRIED_BYTES, end, sample=1500):
        found = read_or_refused(lambda: what_is_read(file.path.parent))
        assert found in (None, sound), f"byte {position}"
        refused += found is None
    assert refused > 0


def test_every_cut_of_a_log(many_records):
    file, end, sound = many_records
    for length in positions(end - TRIED_BYTES, end + 64, sample=1500):
        with file.cut_to(length):
            found = read_or_refused(lambda: what_is_read(file.path.parent))
            # Eight blank bytes behind the last record prove that none came after it.
            assert found == (sound if length >= end + 8 else None), f"cut to {length} bytes"


def test_a_large_write_torn_at_every_byte(one_large_record):
    """Written from its beginning up to there, or only from there on."""
    file, start, end, before, after = one_large_record
    os.pwrite(file.descriptor, bytes(end - start), start)
    written = start
    for position in positions(start, end, sample=1500):
        os.pwrite(file.descriptor, file.sound[written:position], written)
        written = position
        assert what_is_read(file.path.parent) in (before, after), f"torn at byte {position}"
    os.pwrite(file.descriptor, file.sound[start:end], start)
    written = start
    for position in positions(start, end, sample=300):
        os.pwrite(file.descriptor, bytes(position - written), written)
        written = position
        torn = position >= start - start % 512 + 512  # a disk writes sectors whole: less than one is no torn write
        found = read_or_refused(lambda: what_is_read(file.path.parent))
        assert found in ((before, after) if torn else (None, before, after)), f"missing up to byte {position}"


def test_a_large_write_with_any_sectors_missing(one_large_record):
    file, start, end, before, _ = one_large_record
    rng = random.Random(3)
    bounds = [start, *range(start - start % 512 + 512, end, 512), end]
    pieces = list(itertools.pairwise(bounds))[:-1]  # the last one may be nothing but padding and end mark
    for missing in [[piece] for piece in pieces] + [rng.sample(pieces, rng.randrange(2, 100)) for _ in range(200)]:
        data = bytearray(file.sound[start:end])
        for piece_start, piece_end in missing:
            data[piece_start - start : piece_end - start] = bytes(piece_end - piece_start)
        with file.with_bytes(start, bytes(data)):
            assert what_is_read(file.path.parent) == before


def test_every_flipped_byte_of_a_synced_large_record_is_refused(one_large_record):
    file, start, end, _, after = one_large_record
    for position in file.flips(start, end, sample=1500):
        found = read_or_refused(lambda: what_is_read(file.path.parent))
        assert found in (None, after), f"byte {position}"


@pytest.fixture
def snapshot(tmp_path: Path) -> Patched:
    rng = random.Random(4)
    with opened(tmp_path) as storage, storage.snapshot_writer(7, 1, MEMBERS, b"digest") as writer:
        for size in (0, 10, 4096, 60_000, 3000, 1):
            writer.write(rng.randbytes(size))
        assert writer.finish() > TRIED_BYTES
    return Patched(tmp_path / "snapshot-7-1.snap")


def test_every_flipped_byte_of_a_snapshot_is_refused(snapshot):
    for position in snapshot.flips(0, len(snapshot.sound), sample=1500):
        assert read_or_refused(lambda: verify(snapshot.path)) is None, f"byte {position}"


def test_every_cut_of_a_snapshot_is_refused_when_it_is_opened(snapshot):
    for length in positions(0, len(snapshot.sound), sample=1500):
        with snapshot.cut_to(length):
            assert read_or_refused(lambda: SnapshotReader(snapshot.path).close()) is None, f"cut to {length} bytes"


def test_a_snapshot_torn_at_every_byte_or_without_a_sector_is_refused(snapshot):
    """As a disk that lied about a sync would leave it."""
    size = len(snapshot.sound)
    os.pwrite(snapshot.descriptor, bytes(size), 0)
    written = 0
    for position in positions(0, len(snapshot.sound.rstrip(b"\0")), sample=1500):
        os.pwrite(snapshot.descriptor, snapshot.sound[written:position], written)
        written = position
        assert read_or_refused(lambda: verify(snapshot.path)) is None, f"torn at byte {position}"
    os.pwrite(snapshot.descriptor, snapshot.sound, 0)
    for start in range(0, size, 512):
        with snapshot.with_bytes(start, bytes(min(512, size - start))):
            assert read_or_refused(lambda: verify(snapshot.path)) is None, f"sector at {start}"
    assert verify(snapshot.path).index == 7
