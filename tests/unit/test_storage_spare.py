"""The next segment of the log: its room is taken ahead, and its zeros keep nobody waiting."""

import threading

import pytest

from raft_zmq.storage import spare
from tests.unit.storage_disks import WatchedSpare, entry, opened, put, put_each, segments, wait_until


def test_a_full_disk_shows_by_the_allocation_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(spare, "PAUSE_S", 3600.0)
    disk = WatchedSpare(room_bytes=16384 + 1000)
    with opened(tmp_path, disk=disk, segment_bytes=16384) as storage:
        put(storage, entries=[entry(1, data=b"x" * 9000)])
        wait_until(lambda: storage.disk_full)
        assert disk.zeros_written == 16384, "those of the first segment"
        disk.room_bytes += 16384
        storage.retry_allocation()
        wait_until(lambda: not storage.disk_full)
        put(storage, entries=[entry(2, data=b"y" * 9000)])
        assert len(segments(tmp_path)) == 2
        assert disk.zeros_written == 16384


@pytest.mark.parametrize("size", [200, 9000])
def test_a_spare_is_taken_without_waiting_for_its_zeros(tmp_path, monkeypatch, size):
    """Many small records make a thread write zeros, which here it never gets to: they go in all the same."""
    monkeypatch.setattr(spare, "PAUSE_S", 3600.0)
    disk = WatchedSpare()
    entries = [entry(index, data=b"x" * size) for index in range(1, 300)]
    with opened(tmp_path, disk=disk, segment_bytes=16384) as storage:
        put_each(storage, entries)
        assert disk.zeros_written == 16384, "those of the first segment"
    assert len(segments(tmp_path)) > 3
    with opened(tmp_path) as storage:
        assert storage.stored.entries == tuple(entries)
        assert storage.repairs == []


def test_a_spare_is_taken_in_the_middle_of_its_zeros(tmp_path, monkeypatch):
    """It waits for the slice at hand, and no slice is written once the log has the file."""
    monkeypatch.setattr(spare, "PAUSE_S", 0.0)
    disk = WatchedSpare()
    entries = [entry(index, data=b"x" * 110_000) for index in range(1, 21)]
    large = entry(21, data=b"y" * 2_050_000)
    with opened(tmp_path, disk=disk, segment_bytes=4 << 20) as storage:
        disk.hold_zeros(after_bytes=1 << 20)
        put_each(storage, entries)
        assert disk.held.wait(10)
        storage.write(entries=[large])
        syncing = threading.Thread(target=storage.sync)
        syncing.start()
        syncing.join(0.1)
        assert syncing.is_alive(), "it took the file from under a slice"
        disk.release_zeros()
        syncing.join(10)
        assert not syncing.is_alive()
        written = disk.zeros_written
        put(storage, entries=[entry(22)])
        assert len(segments(tmp_path)) == 2
        assert disk.zeros_written == written
    with opened(tmp_path) as storage:
        assert storage.stored.entries == (*entries, large, entry(22))


@pytest.mark.parametrize(("data_bytes", "zeros"), [(1000, True), (200_000, False)])
def test_zeros_are_written_ahead_for_small_records_only(tmp_path, monkeypatch, data_bytes, zeros):
    """Syncs of blocks never written before have metadata to write, too: it counts if there are many of them."""
    monkeypatch.setattr(spare, "PAUSE_S", 0.0)
    disk = WatchedSpare()
    with opened(tmp_path, disk=disk, segment_bytes=1 << 20) as storage:
        index = 0
        while storage.wal_bytes <= 1 << 19:
            index += 1
            put(storage, entries=[entry(index, data=b"x" * data_bytes)])
        wait_until(lambda: disk.allocated == 2)
        if zeros:
            wait_until(lambda: disk.zeros_written == 2 << 20)
        while len(segments(tmp_path)) < 2:
            index += 1
            put(storage, entries=[entry(index, data=b"x" * data_bytes)])
        assert disk.zeros_written == (2 << 20 if zeros else 1 << 20)
