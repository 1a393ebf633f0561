"""Snapshots on disk: written aside, whole or not there, and checked to the last byte (§7; rules 20, 26, 28)."""

import errno
import os
import threading
import zlib
from pathlib import Path

import msgspec
import pytest

from raft_zmq.core.errors import PeerError, StorageError
from raft_zmq.core.membership import encode
from raft_zmq.core.messages import InstallSnapshot
from raft_zmq.storage.disk import Bytes, Disk
from raft_zmq.storage.errors import CorruptionError, DiskFullError
from raft_zmq.storage.snapshot_file import (
    CHUNK,
    END,
    META,
    SnapshotMeta,
    SnapshotReader,
    encode_block,
    encode_end,
    verify,
)
from raft_zmq.storage.storage import Storage
from tests.unit.storage_disks import (
    MEMBERS,
    FailingDisk,
    FullDisk,
    QuickDisk,
    TracingDisk,
    log,
    opened,
    overwrite,
    put,
    wait_until,
)

CHUNKS = [b"first", b"", b"\0" * 700, bytes(range(256)) * 3]


def take(storage: Storage, index: int, term: int = 1, chunks: list[bytes] | None = None) -> int:
    with storage.snapshot_writer(index, term, MEMBERS, b"digest %d" % index) as writer:
        for chunk in CHUNKS if chunks is None else chunks:
            writer.write(chunk)
        return writer.finish()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if "wal" not in path.name)


def chunks_of(storage: Storage) -> list[bytes]:
    reader = storage.open_snapshot()
    assert reader is not None
    with reader:
        return list(reader.chunks())


def request(index: int, term: int = 1, offset: int = 0) -> InstallSnapshot:
    return InstallSnapshot(term=term, last_index=index, last_term=term, membership=encode(MEMBERS), offset=offset)


def test_a_snapshot_comes_back_chunk_for_chunk(tmp_path):
    with opened(tmp_path, disk=Disk()) as storage:
        assert storage.snapshot is None
        assert storage.open_snapshot() is None
        put(storage, entries=log(1, 7))
        size = take(storage, 7)
    assert names(tmp_path) == ["LOCK", "identity.json", "snapshot-7-1.snap"]
    with opened(tmp_path) as storage:
        stored = storage.stored
        assert (stored.snapshot_index, stored.snapshot_term, stored.snapshot_bytes) == (7, 1, size)
        assert stored.snapshot_membership == MEMBERS
        assert storage.snapshot.meta.digest == b"digest 7"
        assert chunks_of(storage) == CHUNKS


def test_only_the_newest_stays_and_an_open_reader_keeps_its_file(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 9))
        take(storage, 7)
        reader = storage.open_snapshot()
        take(storage, 9, chunks=[b"newer"])
        assert names(tmp_path) == ["LOCK", "identity.json", "snapshot-9-1.snap"]
        assert list(reader.chunks()) == CHUNKS
        reader.close()
        take(storage, 8)
        assert chunks_of(storage) == [b"newer"], "an older one that is finished late changes nothing"
    assert names(tmp_path) == ["LOCK", "identity.json", "snapshot-9-1.snap"]


@pytest.mark.parametrize("is_read", [True, False])
def test_the_blocks_of_an_old_snapshot_go_in_pieces_unless_someone_reads_it(tmp_path, monkeypatch, is_read):
    """All at once they hold up a sync of the log; taken from under a reader they would spoil what it sends."""
    pieces: list[int] = []
    truncate = os.ftruncate

    def shorten(descriptor: int, size_bytes: int) -> None:
        assert threading.current_thread().name == "free-blocks"
        pieces.append(size_bytes)
        truncate(descriptor, size_bytes)

    monkeypatch.setattr(os, "ftruncate", shorten)
    large = [b"x" * (5 << 20)] * 2
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 9))
        take(storage, 7, chunks=large)
        reader = storage.open_snapshot()
        assert reader is not None
        if not is_read:
            reader.close()
        take(storage, 9)
        assert names(tmp_path) == ["LOCK", "identity.json", "snapshot-9-1.snap"]
        if is_read:
            assert list(reader.chunks()) == large
            reader.close()
            assert pieces == []
        else:
            wait_until(lambda: len(pieces) == 2)
            assert pieces == sorted(pieces, reverse=True)


def test_written_aside_synced_renamed_and_only_then_is_the_old_one_removed(tmp_path):
    disk = TracingDisk(lambda: sorted(path.name for path in tmp_path.glob("*.snap")))
    with opened(tmp_path, disk=disk) as storage:
        put(storage, entries=log(1, 9))
        take(storage, 7)
        disk.calls.clear()
        take(storage, 9)
        assert disk.calls == [
            ("pwrite", "snapshot-9-1.tmp", ["snapshot-7-1.snap"]),
            ("fdatasync", "snapshot-9-1.tmp", ["snapshot-7-1.snap"]),
            ("rename", "snapshot-9-1.snap", ["snapshot-7-1.snap"]),
            ("sync_directory", tmp_path.name, ["snapshot-7-1.snap", "snapshot-9-1.snap"]),
        ]


def test_a_large_snapshot_is_synced_in_slices_in_a_thread_of_its_own(tmp_path):
    class SliceDisk(QuickDisk):
        unsynced = most = 0

        def pwrite(self, descriptor: int, data: Bytes, offset: int) -> int:
            self.unsynced += len(data)
            self.most = max(self.most, self.unsynced)
            return super().pwrite(descriptor, data, offset)

        def fdatasync(self, descriptor: int) -> None:
            self.unsynced = 0

    disk = SliceDisk()
    chunks = [os.urandom(300_000), os.urandom(5_000_000), os.urandom(10)]
    with opened(tmp_path, disk=disk) as storage:
        put(storage, entries=log(1, 7))
        writing = threading.Thread(target=take, args=(storage, 7, 1, chunks))
        writing.start()
        writing.join(10)
        assert chunks_of(storage) == chunks
    assert disk.most <= 1 << 20


def test_an_abandoned_snapshot_leaves_nothing(tmp_path):
    with opened(tmp_path) as storage:
        writer = storage.snapshot_writer(7, 1, MEMBERS)
        writer.write(b"some")
        assert "snapshot-7-1.tmp" in names(tmp_path)
        writer.abort()
        assert names(tmp_path) == ["LOCK", "identity.json"]
        storage.snapshot_writer(8, 1, MEMBERS)  # as after a crash
        (tmp_path / "received.tmp").touch()
    opened(tmp_path).close()
    assert names(tmp_path) == ["LOCK", "identity.json"]


def test_after_a_crash_between_rename_and_removal_the_newest_counts(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 20))
        take(storage, 9)
        old = (tmp_path / "snapshot-9-1.snap").read_bytes()
        take(storage, 10)
    (tmp_path / "snapshot-9-1.snap").write_bytes(old)
    with opened(tmp_path) as storage:
        assert storage.stored.snapshot_index == 10
    assert names(tmp_path) == ["LOCK", "identity.json", "snapshot-10-1.snap"]


def test_a_full_disk_ends_the_snapshot_and_nothing_else(tmp_path):
    disk = FullDisk(room_bytes=3 * 4096)
    with opened(tmp_path, disk=disk) as storage:
        put(storage, entries=log(1, 9))
        take(storage, 7)
        with pytest.raises(DiskFullError, match="expected room on the disk"):
            take(storage, 9, chunks=[b"x" * 20_000])
        assert names(tmp_path) == ["LOCK", "identity.json", "snapshot-7-1.snap"]
        put(storage, entries=log(10, 11))
        disk.room_bytes += 30_000
        take(storage, 9, chunks=[b"x" * 20_000])
        assert storage.snapshot.meta.index == 9


def test_a_failing_sync_never_lets_a_snapshot_count(tmp_path):
    disk = FailingDisk("fdatasync", prefix="snapshot-")
    with opened(tmp_path, disk=disk) as storage:
        disk.failing = True
        with pytest.raises(StorageError, match="expected to read and write it") as failed:
            take(storage, 7)
        assert not isinstance(failed.value, DiskFullError)
        assert storage.snapshot is None
    assert names(tmp_path) == ["LOCK", "identity.json"]


def test_a_failing_rename_never_lets_a_snapshot_count(tmp_path):
    class NoRename(QuickDisk):
        def rename(self, source: Path, target: Path) -> None:
            if target.suffix == ".snap":
                raise OSError(errno.EIO, "Input/output error")
            super().rename(source, target)

    with opened(tmp_path, disk=NoRename()) as storage:
        with pytest.raises(StorageError):
            take(storage, 7)
        assert storage.snapshot is None
    assert names(tmp_path) == ["LOCK", "identity.json"]


def test_a_chunk_that_no_reader_would_take_is_refused(tmp_path):
    expected = pytest.raises(StorageError, match="expected at most 67108864 bytes, found 67108865")
    with opened(tmp_path) as storage, storage.snapshot_writer(7, 1, MEMBERS) as writer, expected:
        writer.write(bytes((64 << 20) + 1))


def test_every_flip_and_every_cut_of_a_snapshot_is_noticed(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 9))
        take(storage, 7)
    path = tmp_path / "snapshot-7-1.snap"
    sound = path.read_bytes()
    assert verify(path).index == 7
    for position in range(len(sound)):
        for mask in (0x01, 0xFF):
            overwrite(path, sound[:position] + bytes([sound[position] ^ mask]) + sound[position + 1 :])
            with pytest.raises(CorruptionError):
                verify(path)
    for length in range(len(sound)):
        overwrite(path, sound[:length])
        with pytest.raises(CorruptionError):
            SnapshotReader(path)
        if length % 50 == 0:
            with pytest.raises(CorruptionError, match=r"snapshot-7-1\.snap, offset"):
                opened(tmp_path)
    overwrite(path, sound + b"\0")
    with pytest.raises(CorruptionError):
        opened(tmp_path)


def test_the_checksum_of_a_block_is_that_of_zlib():
    header, crc = encode_block(CHUNK, 3, b"content", 7)
    assert crc == zlib.crc32(b"content", zlib.crc32(header[:-4], 7))


@pytest.mark.parametrize(("chunks_claimed", "appended"), [(2, b""), (1, b"more")])
def test_an_end_that_does_not_fit_the_file_is_refused(tmp_path, chunks_claimed, appended):
    """Sound blocks all of them: a writer's error, or a file made up by someone."""
    path = tmp_path / "made-up.snap"
    data, crc = b"", 0
    meta = msgspec.msgpack.encode(SnapshotMeta(7, 1, MEMBERS))
    for number, (magic, content) in enumerate([(META, meta), (CHUNK, b"chunk")]):
        header, crc = encode_block(magic, number, content, crc)
        data += header + content
    end = encode_end(chunks_claimed, len(data))
    header, crc = encode_block(END, 2, end, crc)
    path.write_bytes(data + header + end + appended)
    with pytest.raises(CorruptionError):
        verify(path)


def test_chunks_before_the_damage_are_given_out_and_none_after(tmp_path):
    with opened(tmp_path) as storage:
        take(storage, 7)
        path = tmp_path / "snapshot-7-1.snap"
        data = bytearray(path.read_bytes())
        data[-100] ^= 1  # in the last chunk
        overwrite(path, data)
        seen = []
        with storage.open_snapshot() as reader, pytest.raises(CorruptionError, match="expected crc32"):
            seen.extend(reader.chunks())  # it takes them over one by one
        assert seen == CHUNKS[:-1]


def test_a_renamed_snapshot_is_refused(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 9))
        take(storage, 7)
    (tmp_path / "snapshot-7-1.snap").rename(tmp_path / "snapshot-8-1.snap")
    with pytest.raises(CorruptionError, match=r"expected the snapshot of \(8, 1\), found that of \(7, 1\)"):
        opened(tmp_path)


@pytest.fixture
def leader(tmp_path):
    with opened(tmp_path / "leader", snapshot_chunk_bytes=100) as storage:
        put(storage, entries=log(1, 9))
        take(storage, 7)
        yield storage


@pytest.fixture
def follower(tmp_path):
    with opened(tmp_path / "follower", node_id="n2") as storage:
        yield storage


def send_all(leader: Storage, follower: Storage, index: int) -> int:
    """Send chunks until the last; returns how many it took."""
    count = 0
    while True:
        message = leader.fill_chunk(request(index, offset=follower.next_snapshot_offset(index, 1)))
        assert message is not None
        count += 1
        if follower.receive_chunk(message):
            return count


def test_a_snapshot_that_was_sent_gives_its_room_back_once_a_newer_one_is_there(tmp_path, leader, follower):
    send_all(leader, follower, 7)
    put(leader, entries=log(10, 12))
    take(leader, 9)
    leader.compact(1, sending=True)
    assert leader.fill_chunk(request(7)) is not None, "another follower still gets it"
    leader.compact(1)
    assert leader.fill_chunk(request(7)) is None
    held = [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    assert not [name for name in held if name.startswith(str(tmp_path / "leader" / "snapshot-7-1"))]


def test_a_snapshot_sent_in_chunks_arrives_whole(tmp_path, leader, follower):
    assert send_all(leader, follower, 7) > 10
    assert chunks_of(follower) == CHUNKS
    assert follower.snapshot.meta == leader.snapshot.meta
    assert names(tmp_path / "follower") == ["LOCK", "identity.json", "snapshot-7-1.snap"]
    sent, received = (tmp_path / name / "snapshot-7-1.snap" for name in ("leader", "follower"))
    assert sent.read_bytes() == received.read_bytes()


def test_an_interrupted_transfer_goes_on_where_it_broke(leader, follower):
    for offset in (0, 100, 200):
        assert follower.next_snapshot_offset(7, 1) == offset
        assert not follower.receive_chunk(leader.fill_chunk(request(7, offset=offset)))
    assert follower.next_snapshot_offset(7, 1) == 300
    assert follower.next_snapshot_offset(7, 2) == 0
    send_all(leader, follower, 7)
    assert chunks_of(follower) == CHUNKS


def test_a_chunk_out_of_order_means_start_again(leader, follower):
    follower.receive_chunk(leader.fill_chunk(request(7)))
    with pytest.raises(PeerError, match="expected the chunk at 100, found 200"):
        follower.receive_chunk(leader.fill_chunk(request(7, offset=200)))
    assert follower.next_snapshot_offset(7, 1) == 0
    with pytest.raises(PeerError, match="expected the chunk at 0, found 100"):
        follower.receive_chunk(leader.fill_chunk(request(7, offset=100)))
    send_all(leader, follower, 7)
    assert chunks_of(follower) == CHUNKS


def test_another_snapshot_starts_anew(leader, follower):
    follower.receive_chunk(leader.fill_chunk(request(7)))
    take(leader, 9, chunks=[b"newer"])
    send_all(leader, follower, 9)
    assert chunks_of(follower) == [b"newer"]


def test_a_transfer_in_progress_survives_a_newer_snapshot(leader, follower):
    follower.receive_chunk(leader.fill_chunk(request(7)))
    take(leader, 9, chunks=[b"newer"])
    send_all(leader, follower, 7)
    assert chunks_of(follower) == CHUNKS
    assert leader.fill_chunk(request(9)).total_bytes == leader.snapshot.total_bytes
    assert leader.fill_chunk(request(7)) is None


def test_damage_on_the_way_is_noticed_and_nothing_installed(tmp_path, leader, follower):
    good = leader.open_snapshot()
    data = good.read_at(0, good.total_bytes)
    good.close()
    for position in range(0, len(data), 7):
        damaged = data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]
        message = InstallSnapshot(
            term=1, last_index=7, last_term=1, membership=b"", offset=0, data=damaged, done=True, total_bytes=len(data)
        )
        with pytest.raises(PeerError, match="Start again"):
            follower.receive_chunk(message)
        assert follower.snapshot is None
    assert names(tmp_path / "follower") == ["LOCK", "identity.json"]
    send_all(leader, follower, 7)


def test_a_snapshot_under_a_false_name_is_refused(leader, follower):
    message = leader.fill_chunk(request(7))
    reader = leader.open_snapshot()
    whole = reader.read_at(0, reader.total_bytes)
    reader.close()
    false = InstallSnapshot(
        term=1, last_index=8, last_term=1, membership=message.membership, offset=0, data=whole, done=True
    )
    with pytest.raises(PeerError, match=r"expected it, found that of \(7, 1\)"):
        follower.receive_chunk(false)
    assert follower.snapshot is None


def test_receiving_on_a_full_disk_can_be_tried_again(tmp_path, leader):
    disk = FullDisk(room_bytes=4096 + 500)
    with opened(tmp_path / "other", node_id="n3", disk=disk) as follower:
        with pytest.raises(DiskFullError):
            send_all(leader, follower, 7)
        disk.room_bytes += 4096
        send_all(leader, follower, 7)
        assert chunks_of(follower) == CHUNKS
