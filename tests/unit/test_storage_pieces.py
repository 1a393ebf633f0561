"""Large entries are written to the log from where they are in memory, in the format that all entries have."""

import os
import zlib

import pytest

from raft_zmq.core.errors import StorageError
from raft_zmq.core.messages import HardState
from raft_zmq.storage.disk import PIECES_MAX
from raft_zmq.storage.record import HEADER, Record, encode, encode_in_pieces, seal
from tests.unit.storage_disks import MEMBERS, QuickDisk, TearingDisk, entry, opened, put


@pytest.mark.parametrize(
    "sizes",
    [(65536,), (65535,), (1 << 20, 3, 70_000), (5, 65536, 65536, 5), (100_000,) * 20, (0, 70_001), (70_007, *[1] * 70)],
)
def test_large_data_is_written_from_where_it_is_in_the_same_bytes(tmp_path, sizes):
    entries = [entry(index, data=os.urandom(size)) for index, size in enumerate(sizes, start=1)]
    record = Record(HardState(1, "n1", 0), MEMBERS, None, entries)
    whole, first = bytearray(), bytearray(b"of an earlier record")
    seal([whole], encode(record, whole), 3, 8000, 7, 1)
    pieces, body_bytes = encode_in_pieces(record, first)
    seal(pieces, body_bytes, 3, 8000, 7, 1)
    assert b"".join(pieces) == whole
    assert all(any(piece is each.data for piece in pieces) for each in entries if len(each.data) >= 65536)
    with opened(tmp_path) as storage:
        put(storage, HardState(1, "n1", 0), MEMBERS, entries)
        put(storage, entries=[entry(len(entries) + 1)])
    with opened(tmp_path) as storage:
        assert storage.stored.entries == (*entries, entry(len(entries) + 1))
        assert storage.repairs == []


@pytest.mark.parametrize("size", [0, 1, 100, 70_000, 1 << 20])
def test_the_checksum_is_that_of_zlib(size):
    """Whatever computes it: logs outlive versions, and others are to be able to read them."""
    frame = bytearray()
    body_bytes = encode(Record(HardState(1, "n1", 0), MEMBERS, None, [entry(1, data=os.urandom(size))]), frame)
    seal([frame], body_bytes, 3, 8000, 7, 1)
    assert int.from_bytes(frame[4:8], "little") == zlib.crc32(frame[8 : HEADER.size + body_bytes])


@pytest.mark.parametrize("kept_bytes", [0, 40, 70_000, 70_100, 140_000, 140_080])
def test_a_record_in_pieces_that_ends_early_is_torn(tmp_path, kept_bytes):
    """The power is cut when so much of it has reached the medium."""
    disk = TearingDisk()
    with opened(tmp_path, disk=disk, segment_bytes=1 << 20) as storage:
        put(storage, entries=[entry(1)])
        storage.write(entries=[entry(2, data=os.urandom(70_000)), entry(3), entry(4, data=os.urandom(70_001))])
        disk.keep = lambda data, offset: data[:kept_bytes]
        with pytest.raises(StorageError):
            storage.sync()
    with opened(tmp_path, segment_bytes=1 << 20) as storage:
        assert storage.stored.entries == (entry(1),)
        assert len(storage.repairs) == (1 if kept_bytes else 0)
        put(storage, entries=[entry(2)])
    with opened(tmp_path, segment_bytes=1 << 20) as storage:
        assert storage.stored.entries == (entry(1), entry(2))


def test_what_the_kernel_takes_in_part_is_written_to_its_end(tmp_path):
    class StingyDisk(QuickDisk):
        def pwritev(self, descriptor, pieces, offset):
            return super().pwrite(descriptor, b"".join(pieces)[:70_010], offset)

    entries = [entry(index, data=os.urandom(70_000)) for index in (1, 2)]
    with opened(tmp_path, disk=StingyDisk()) as storage:
        put(storage, entries=entries)
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(entries)


def test_more_pieces_than_one_call_takes(tmp_path):
    entries = [entry(index, data=bytes([index % 256]) * 65_536) for index in range(1, PIECES_MAX // 2 + 2)]
    with opened(tmp_path) as storage:
        put(storage, entries=entries)
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(entries)
