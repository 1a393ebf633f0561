"""The log on disk: what is synced is there after a restart, in the space it may take (§5.3, §7; rules 2, 25, 28)."""

import os
import threading

import pytest

from raft_zmq.core.errors import StorageError
from raft_zmq.core.messages import HardState
from raft_zmq.core.stored import Stored
from raft_zmq.storage.disk import Disk
from raft_zmq.storage.errors import CorruptionError, DiskFullError
from raft_zmq.storage.storage import Storage
from tests.unit.storage_disks import (
    MEMBERS,
    FailingDisk,
    FullDisk,
    HoldingDisk,
    TracingDisk,
    entry,
    log,
    name_of,
    opened,
    put,
    put_each,
    segments,
    wait_until,
)


def take_snapshot(storage: Storage, index: int, term: int = 1) -> None:
    writer = storage.snapshot_writer(index, term, MEMBERS)
    writer.write(b"state after %d" % index)
    writer.finish()


def test_an_empty_disk_holds_the_defaults(tmp_path):
    with opened(tmp_path) as storage:
        assert storage.stored == Stored()
        assert storage.repairs == []


def test_everything_synced_is_there_after_a_restart_on_the_real_disk(tmp_path):
    with opened(tmp_path, disk=Disk()) as storage:
        put(storage, HardState(1, "n1", 0), MEMBERS)
        put(storage, entries=log(1, 3))
        put(storage, HardState(2, "n2", 3), None, log(4, 5, term=2))
    with opened(tmp_path, disk=Disk()) as storage:
        assert storage.stored == Stored(
            hard_state=HardState(2, "n2", 3),
            base_membership=MEMBERS,
            entries=(*log(1, 3), *log(4, 5, term=2)),
        )
        assert storage.repairs == []
        storage.forget_stored()
        assert storage.stored == Stored()


def test_what_was_written_but_never_synced_is_not_there(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 2))
        storage.write(entries=log(3, 4))
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(log(1, 2))


def test_writing_nothing_makes_no_record(tmp_path):
    with opened(tmp_path) as storage:
        before = storage.wal_bytes
        put(storage)
        assert storage.wal_bytes == before


def test_entries_replace_everything_from_the_first_of_them_on(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 9))
        put(storage, entries=log(4, 5, term=2))
        put(storage, entries=log(6, 6, term=3))
    with opened(tmp_path) as storage:
        assert storage.stored.entries == (*log(1, 3), *log(4, 5, term=2), *log(6, 6, term=3))


def test_a_reset_drops_the_whole_log(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 9))
        take_snapshot(storage, 20, term=3)
        put(storage, HardState(4, "", 20), None, log(21, 22, term=4), (20, 3))
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(log(21, 22, term=4))
        assert (storage.stored.start_term, storage.stored.snapshot_index, storage.stored.snapshot_term) == (3, 20, 3)


def test_many_segments_make_one_log(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, HardState(1, "n1", 0), MEMBERS)
        put_each(storage, log(1, 300))
    assert len(segments(tmp_path)) > 5
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(log(1, 300))
        assert storage.stored.hard_state == HardState(1, "n1", 0)
        assert storage.stored.base_membership == MEMBERS
        put(storage, entries=[entry(301)])
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(log(1, 301))


def test_a_record_larger_than_a_segment_gets_one_of_its_own(tmp_path):
    large = entry(2, data=bytes(range(256)) * (17 << 12))
    with opened(tmp_path) as storage:
        put(storage, entries=[entry(1)])
        put(storage, entries=[large])
        put(storage, entries=[entry(3)])
    with opened(tmp_path) as storage:
        assert storage.stored.entries == (entry(1), large, entry(3))
        assert storage.repairs == []


@pytest.mark.parametrize("data_bytes", range(3500, 3900, 7))
def test_a_record_that_just_fits_or_just_does_not(tmp_path, data_bytes):
    entries = [entry(1, data=b"x" * data_bytes), entry(2, data=b"y" * (4096 - 100 - data_bytes)), entry(3)]
    with opened(tmp_path) as storage:
        put_each(storage, entries)
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(entries)


def test_compaction_deletes_the_segments_that_the_snapshot_covers(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, HardState(1, "n1", 0), MEMBERS)
        put_each(storage, log(1, 300))
        before = len(segments(tmp_path))
        storage.compact(300)
        assert len(segments(tmp_path)) == before, "nothing covers the entries yet (rule 28)"
        take_snapshot(storage, 200)
        bytes_before = storage.wal_bytes
        storage.compact(250)
        assert len(segments(tmp_path)) < before
        assert storage.wal_bytes < bytes_before
    with opened(tmp_path) as storage:
        stored = storage.stored
        first = stored.entries[0].index
        assert 100 < first <= 201
        assert stored.entries == tuple(log(first, 300))
        assert stored.start_term == 1
        assert (stored.hard_state, stored.base_membership) == (HardState(1, "n1", 0), MEMBERS)


def test_what_compaction_deletes_is_freed_without_waiting_for_it(tmp_path, monkeypatch):
    """Freeing the blocks of a segment takes milliseconds, and the loop has heartbeats to send."""
    free, close = threading.Event(), os.close
    closing_threads: list[str] = []

    def close_when_free(descriptor: int) -> None:
        if name_of(descriptor).endswith("(deleted)"):
            closing_threads.append(threading.current_thread().name)
            assert free.wait(10)
        close(descriptor)

    with opened(tmp_path) as storage:
        put_each(storage, log(1, 300))
        take_snapshot(storage, 300)
        before = len(segments(tmp_path))
        monkeypatch.setattr(os, "close", close_when_free)
        storage.compact(300)
        assert len(segments(tmp_path)) == 1
        free.set()
        wait_until(lambda: len(closing_threads) == before - 1)
        assert set(closing_threads) == {"free-blocks"}


def test_compaction_keeps_a_segment_while_one_entry_of_it_is_needed(tmp_path):
    with opened(tmp_path) as storage:
        put_each(storage, log(1, 300))
        take_snapshot(storage, 300)
        for keep in range(1, 301):
            storage.compact(keep)
            if keep % 20 == 0:
                storage.close()
                storage = opened(tmp_path)
                assert storage.stored.entries[0].index <= keep
        storage.close()


def test_a_reset_lets_older_segments_go_whatever_they_held(tmp_path):
    with opened(tmp_path) as storage:
        put_each(storage, log(1, 100))
        take_snapshot(storage, 50, term=2)
        put(storage, reset_to=(50, 2))
        storage.compact(51)
        assert len(segments(tmp_path)) == 1
        put(storage, entries=log(51, 52, term=2))
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(log(51, 52, term=2))


def test_a_log_compacted_up_to_an_overwritten_suffix_still_reads(tmp_path):
    """The newest segment begins behind entry 40 of term 1, which its first records then replace from 35 on."""
    with opened(tmp_path) as storage:
        index = 0
        while len(segments(tmp_path)) < 2:
            index += 1
            put(storage, entries=[entry(index)])
        put(storage, entries=log(index - 5, index + 20, term=2))
        take_snapshot(storage, index + 3, term=2)
        storage.compact(index + 4)
        assert len(segments(tmp_path)) == 1
    with opened(tmp_path) as storage:
        stored = storage.stored
        first = stored.entries[0].index
        assert first <= index + 4
        assert stored.entries == tuple(log(first, index + 20, term=2))
        assert stored.start_term == 2


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_failed_write_or_sync_is_the_end(tmp_path, call):
    disk = FailingDisk(call)
    with opened(tmp_path, disk=disk) as storage:
        put(storage, entries=log(1, 2))
        storage.write(entries=log(3, 3))
        disk.failing = True
        with pytest.raises(StorageError, match="The node stops"):
            storage.sync()
        disk.failing = False
        for again in (storage.sync, storage.write, lambda: storage.compact(1)):
            with pytest.raises(StorageError, match="an earlier write failed"):
                again()
    with opened(tmp_path) as storage:
        assert storage.stored.entries[:2] == tuple(log(1, 2))


@pytest.mark.parametrize("call", ["pwrite", "allocate", "fdatasync"])
def test_a_disk_that_fails_under_the_next_segment_is_the_end_too(tmp_path, call):
    disk = FailingDisk(call, prefix="wal.spare")
    with opened(tmp_path, disk=disk) as storage:
        disk.failing = True
        with pytest.raises(StorageError) as failed:
            put_each(storage, log(1, 100))
        assert not isinstance(failed.value, DiskFullError)
        with pytest.raises(StorageError, match="expected a log in use"):
            storage.sync()


def test_a_full_disk_is_told_before_anything_is_half_written_and_passes(tmp_path):
    disk = FullDisk(room_bytes=3 * 4096)
    with opened(tmp_path, disk=disk) as storage:
        entries = iter(log(1, 1000))
        with pytest.raises(DiskFullError, match="expected room on the disk"):
            put_each(storage, entries)
        refused = next(entries).index - 1
        assert storage.disk_full
        assert not (tmp_path / "wal.spare").exists(), "what was made of it must not take up room"
        with pytest.raises(DiskFullError):
            storage.sync()
        disk.room_bytes += 100 * 4096
        storage.sync()
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(log(1, refused))
        assert storage.repairs == []


def test_a_full_disk_shows_while_there_is_still_room_in_the_segment(tmp_path):
    disk = FullDisk(room_bytes=4096 + 1000)
    with opened(tmp_path, disk=disk) as storage:
        index = 0
        while storage.wal_bytes <= 2048:
            index += 1
            put(storage, entries=[entry(index)])
        wait_until(lambda: storage.disk_full)
        put(storage, entries=[entry(index + 1)])
        disk.room_bytes += 4096
        storage.retry_allocation()
        for after in range(index + 2, index + 60):
            put(storage, entries=[entry(after)])
            if len(segments(tmp_path)) == 2:
                break
        assert len(segments(tmp_path)) == 2
        assert not storage.disk_full


def test_a_data_directory_on_a_full_disk_can_be_opened_later(tmp_path):
    with pytest.raises(DiskFullError):
        opened(tmp_path, disk=FullDisk(room_bytes=100))
    with opened(tmp_path) as storage:
        assert storage.stored == Stored()


def test_each_record_is_one_write_and_one_sync(tmp_path):
    disk = TracingDisk()
    with opened(tmp_path, disk=disk) as storage:
        disk.calls.clear()
        put(storage, HardState(1, "n1", 0), MEMBERS, log(1, 20))
        assert [call for call, _, _ in disk.calls] == ["pwrite", "fdatasync"]


def test_a_segment_gets_its_name_when_its_first_record_is_synced(tmp_path):
    disk = TracingDisk()
    with opened(tmp_path, disk=disk):
        in_order = [(call, name) for call, name, _ in disk.calls if call != "pwrite"]
        assert in_order[:6] == [
            ("allocate", "wal.spare"),
            ("fdatasync", "wal.spare"),  # the room
            ("fdatasync", "wal.spare"),  # the zeros
            ("fdatasync", "wal.spare"),  # the record
            ("rename", "wal-0000000001.log"),
            ("sync_directory", tmp_path.name),
        ]


def test_opening_syncs_what_it_read(tmp_path):
    """The last record may be in the page cache only, which may take it for written; the node now promises on it."""
    with opened(tmp_path) as storage:
        put(storage, entries=log(1, 2))
    disk = TracingDisk()
    with opened(tmp_path, disk=disk):
        assert [(call, name) for call, name, _ in disk.calls] == [
            ("pwrite", "wal-0000000001.log"),
            ("fdatasync", "wal-0000000001.log"),
            ("sync_directory", tmp_path.name),
        ]


def test_sync_returns_only_once_the_disk_has_answered(tmp_path):
    disk = HoldingDisk()
    with opened(tmp_path, disk=disk) as storage:
        storage.write(entries=log(1, 2))
        disk.waiting.clear()
        disk.released.clear()
        syncing = threading.Thread(target=storage.sync)
        syncing.start()
        assert disk.waiting.wait(10)
        assert syncing.is_alive()
        disk.released.set()
        syncing.join(10)
        assert not syncing.is_alive()


def test_the_snapshot_is_there_and_the_log_is_not_reset(tmp_path):
    """A crash between the two halves of InstallSnapshot: a log that ends before the snapshot goes (rule 20)."""
    with opened(tmp_path) as storage:
        put(storage, HardState(1, "n1", 3), MEMBERS, log(1, 5))
        take_snapshot(storage, 9, term=2)
    for repairs in (1, 0):
        with opened(tmp_path) as storage:
            stored = storage.stored
            assert (stored.snapshot_index, stored.snapshot_term, stored.entries) == (9, 2, ())
            assert stored.hard_state == HardState(2, "", 3), "the term of the snapshot has been seen"
            assert stored.base_membership == MEMBERS
            assert len(storage.repairs) == repairs
    with opened(tmp_path) as storage:
        put(storage, entries=log(10, 11, term=2))
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(log(10, 11, term=2))


def test_a_log_that_differs_at_the_snapshot_goes(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, HardState(1, "n1", 3), MEMBERS, log(1, 12))
        take_snapshot(storage, 9, term=2)
    with opened(tmp_path) as storage:
        assert storage.stored.entries == ()


def test_a_log_that_agrees_at_the_snapshot_keeps_what_follows(tmp_path):
    with opened(tmp_path) as storage:
        put(storage, HardState(1, "n1", 3), MEMBERS, log(1, 12))
        take_snapshot(storage, 9, term=1)
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(log(1, 12))
        assert storage.repairs == []


def test_a_log_that_begins_after_the_snapshot_is_refused(tmp_path):
    with opened(tmp_path) as storage:
        put_each(storage, log(1, 300))
        take_snapshot(storage, 200)
        storage.compact(201)
    next(tmp_path.glob("*.snap")).unlink()
    with pytest.raises(CorruptionError, match="expected the log to begin at entry 1 or before"):
        opened(tmp_path)


def test_a_full_disk_stays_full_until_room_was_found(tmp_path):
    disk = FullDisk(room_bytes=4096 + 1000)
    with opened(tmp_path, disk=disk) as storage:
        index = 0
        while not storage.disk_full:
            index += 1
            put(storage, entries=[entry(index)])
            if storage.wal_bytes > 2048:
                wait_until(lambda: storage.disk_full)
        assert storage.room_bytes == 4096 - storage.wal_bytes
        for _ in range(50):
            storage.retry_allocation()
            assert storage.disk_full, "an attempt under way is no room yet"
        disk.room_bytes += 4096
        wait_until(lambda: storage.retry_allocation() or not storage.disk_full)


def test_a_full_disk_shows_at_a_start_already(tmp_path):
    with opened(tmp_path) as storage:
        index = 0
        while storage.wal_bytes <= 2048:
            index += 1
            put(storage, entries=[entry(index)])
    with opened(tmp_path, disk=FullDisk(room_bytes=1000)) as storage:
        wait_until(lambda: storage.disk_full)
