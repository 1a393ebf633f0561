"""When a disk counts as slow, filling or full, and as good again."""

from types import SimpleNamespace
from typing import Any

import pytest

from raft_zmq.core.messages import AppendEntries, DiskState, TimeoutNow
from raft_zmq.node.disk_watch import RETRY_S, SNAPSHOT_RETRY_S, DiskWatch
from tests.unit.raft_server import append, log

pytestmark = pytest.mark.interpreted

FAST_S, LIMIT_S, SLOW_S = 0.01, 0.1, 0.2
SEGMENT_BYTES = 8000


@pytest.fixture
def storage() -> Any:
    """The little that is asked of the storage: whether there is room, and how much."""
    found = SimpleNamespace(disk_full=False, room_bytes=SEGMENT_BYTES, retries=0)

    def retry() -> None:
        found.retries += 1

    found.retry_allocation = retry
    return found


def watch(storage: Any) -> DiskWatch:
    return DiskWatch(storage, LIMIT_S, SEGMENT_BYTES)


def test_three_slow_syncs_of_five_make_a_slow_disk_and_five_fast_ones_a_good_one(storage):
    disk = watch(storage)
    states = []
    for seconds in (SLOW_S, SLOW_S, FAST_S, FAST_S, SLOW_S, FAST_S, SLOW_S, *[FAST_S] * 5):
        disk.synced(seconds)
        states.append(disk.look(0.0).name[0])
    assert "".join(states) == "GGGGSSSSSSSG"


def test_now_and_then_a_slow_sync_makes_no_slow_disk(storage):
    disk = watch(storage)
    for _ in range(20):
        for seconds in (SLOW_S, FAST_S, FAST_S):
            disk.synced(seconds)
            assert disk.look(0.0) is DiskState.GOOD


def test_the_reserve_is_left_for_term_and_vote(storage):
    disk = watch(storage)
    storage.disk_full, storage.room_bytes = True, SEGMENT_BYTES // 2
    assert disk.look(0.0) is DiskState.FILLING
    storage.room_bytes = SEGMENT_BYTES // 8
    assert disk.look(0.0) is DiskState.FULL
    storage.disk_full = False
    assert disk.look(0.0) is DiskState.GOOD


def large(data_bytes: int) -> AppendEntries:
    (entry,) = log(1)
    return append(1, entries=[type(entry)(1, 1, entry.kind, bytes(data_bytes))])


def test_entries_that_would_use_up_the_reserve_make_the_disk_full_before_they_are_taken(storage):
    disk = watch(storage)
    storage.disk_full, storage.room_bytes = True, SEGMENT_BYTES // 2
    assert disk.look(0.0) is DiskState.FILLING
    pending_bytes = disk.expect(large(1400), 0)
    assert disk.expect(TimeoutNow(term=1), pending_bytes) == pending_bytes
    assert disk.look(0.0) is DiskState.FILLING
    disk.expect(large(1700), pending_bytes)
    assert disk.look(0.0) is DiskState.FULL


def test_it_looks_for_room_now_and_then(storage):
    disk = watch(storage)
    disk.look(0.0)
    assert storage.retries == 0
    storage.disk_full = True
    for step in range(30):
        disk.look(step * RETRY_S / 10)
    assert storage.retries == 3


def test_a_snapshot_without_room_is_not_tried_again_at_once(storage):
    disk = watch(storage)
    assert disk.may_snapshot(0.0)
    disk.snapshot_found_no_room(5.0)
    assert not disk.may_snapshot(5.0)
    assert disk.may_snapshot(5.0 + SNAPSHOT_RETRY_S)
