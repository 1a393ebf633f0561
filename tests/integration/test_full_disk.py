"""Full disks under real nodes: writes are refused in plain words, reads go on, and with room everything does."""

import itertools

import pytest

from raft_zmq import local
from raft_zmq.client.errors import RefusedError
from raft_zmq.core.errors import OutcomeUnknownError
from tests.integration.waiting import wait_until

pytestmark = [pytest.mark.mount]

SEGMENT_BYTES = 1 << 20
DISK_BYTES = 16 << 20
VALUE = bytes(32 << 10)
SETTINGS = {"segment_bytes": SEGMENT_BYTES}


def events_of(cluster, name):
    return [event["disk"] for event in cluster.events(name, "disk_state_changed")]


def put_until_refused(client) -> int:
    """Write until a node says that there is no room; how many writes it took."""
    numbers = itertools.count()

    def fill() -> None:
        for number in itertools.islice(numbers, 500):
            client.put(b"key%d" % (number % 10), VALUE)

    with pytest.raises(RefusedError, match="found the disk full on") as refused:
        fill()
    assert refused.value.kind == "disk_full"
    return next(numbers) - 1


def test_a_leader_with_a_full_disk_hands_over_and_follows_as_far_as_it_can(tmp_path, small_disk, start_cluster):
    """a leader with a full disk: no write fails, for others have room"""
    disk = small_disk(tmp_path / "cluster0" / "n1", DISK_BYTES)
    cluster = start_cluster(3, **SETTINGS)
    cluster.transfer("n1")
    disk.fill()
    with cluster.client(timeout_s=15) as client:
        for number in range(100):
            client.put(b"key%d" % (number % 10), VALUE)
        assert cluster.leader() != "n1"
        assert cluster.events("n1", "disk_handover")[0]["disk"] == "filling"
        wait_until(lambda: events_of(cluster, "n1")[-1:] == ["full"], "the follower's disk to be full")
        cluster.kill(next(name for name in cluster.followers() if name != "n1"))
        assert cluster.status("n1")["role"] == "follower"
        cluster.start(*(name for name in cluster.names if name not in cluster.statuses()))
        assert cluster.status("n1")["disk"] == "full"
        disk.make_room()
        client.put(b"key", b"after")
        cluster.wait_until_equal()
        assert events_of(cluster, "n1")[-1] == "good"
    cluster.judge()


def test_full_disks_everywhere_refuse_writes_and_serve_reads(tmp_path, small_disk, start_cluster):
    disks = [small_disk(tmp_path / "cluster0" / name, DISK_BYTES) for name in ("n1", "n2", "n3")]
    cluster = start_cluster(3, **SETTINGS)
    with cluster.client() as client:
        client.put(b"first", b"before")
        for disk in disks:
            disk.fill()
        assert put_until_refused(client) > 5, "half a segment is there without a new one"
        assert client.get(b"first") == b"before"
        assert {status["disk"] for status in cluster.statuses().values()} <= {"good", "filling", "full"}
        term = cluster.status(cluster.leader())["term"]
        cluster.kill(cluster.leader())
        wait_until(lambda: cluster.status(cluster.leader())["term"] > term, "an election on full disks")
        assert client.get(b"first") == b"before", "term, vote and the leader's first entry have their reserve"
        for disk in disks:
            disk.make_room()
        wait_until(lambda: cluster.status(cluster.leader())["disk"] == "good", "the leader to find room")
        client.put(b"first", b"after")
        assert client.get(b"first") == b"after"
    cluster.judge()


def test_a_record_that_does_not_fit_waits_for_room(tmp_path, small_disk, start_cluster):
    disk = small_disk(tmp_path / "cluster0" / "n1", DISK_BYTES)
    cluster = start_cluster(1, **SETTINGS)
    with cluster.client() as client:
        client.put(b"key", b"before")
        disk.fill()
        with pytest.raises(OutcomeUnknownError):
            client.put(b"key", bytes(SEGMENT_BYTES), timeout_s=2)
        with pytest.raises(RefusedError) as refused:
            client.put(b"other", b"value")
        assert refused.value.kind == "disk_full"
        status = cluster.status("n1")
        assert (status["disk"], status["ready"]) == ("full", False)
        disk.make_room()
        wait_until(lambda: cluster.status("n1")["ready"], "the record to be written")
        assert client.get(b"key") == bytes(SEGMENT_BYTES)
        client.put(b"key", b"after")
        assert client.get(b"key") == b"after"
    cluster.judge()


def test_a_node_whose_record_waits_for_room_can_be_stopped(tmp_path, small_disk, start_cluster):
    disk = small_disk(tmp_path / "cluster0" / "n1", DISK_BYTES)
    cluster = start_cluster(1, **SETTINGS)
    with cluster.client() as client:
        client.put(b"key", b"before")
        disk.fill()
        with pytest.raises(OutcomeUnknownError):
            client.put(b"key", bytes(SEGMENT_BYTES), timeout_s=1)
        local.down(cluster.directory)
        assert cluster.events("n1", "node_stopped")[-1]["reason"] == "SIGTERM"
        cluster.start("n1")
        assert client.get(b"key") == b"before"
