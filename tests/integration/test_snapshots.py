"""Log compaction (§7) with real processes: the log stays small, restarts are quick, laggards get snapshots."""

import errno
import json
import socket
import threading
from pathlib import Path

import pytest

from raft_zmq.core.errors import StorageError
from raft_zmq.node import Node
from raft_zmq.settings import load
from raft_zmq.storage.disk import Disk
from tests.integration.waiting import wait_until

# Small enough that a few hundred writes of about a kilobyte make several snapshots.
COMPACT = {
    "snapshot_log_bytes": 128 << 10,
    "segment_bytes": 64 << 10,
    "trailing_entries": 16,
    "trailing_bytes": 16 << 10,
    "snapshot_chunk_bytes": 16 << 10,
}


def write_much(client, times=400):
    for number in range(times):
        client.put(b"key%d" % (number % 100), b"%d" % number * 300)


def test_the_log_is_compacted_and_a_restart_starts_from_the_snapshot(start_cluster):
    """SnapshotBasic, SnapshotAllCrash: all nodes take snapshots of their own; killed and started, they have it all."""
    cluster = start_cluster(3, **COMPACT)
    with cluster.client() as client:
        write_much(client)
    cluster.wait_until_equal()
    for name in cluster.names:
        wait_until(lambda name=name: cluster.status(name)["snapshot_index"] > 0, f"a snapshot on {name}")
        assert cluster.status(name)["first_log_index"] > 1, "the log before the snapshot is gone"
    cluster.kill(*cluster.names)
    cluster.start(*cluster.names)
    with cluster.client(timeout_s=20) as client:
        assert client.get(b"key99") == b"399" * 300
        assert len(client.scan(b"key")) == 100
    for name in cluster.names:
        assert cluster.events(name, "node_started")[-1]["snapshot_index"] > 0
    cluster.wait_until_equal()
    cluster.judge()


def test_a_follower_that_was_away_too_long_gets_a_snapshot(start_cluster):
    """SnapshotInstall: the entries it lacks are gone from the leader's log; it gets the snapshot, then the rest."""
    cluster = start_cluster(3, **COMPACT)
    away = cluster.followers()[0]
    with cluster.workload(), cluster.client() as client:
        write_much(client, 20)
        cluster.kill(away)
        write_much(client)
        cluster.start(away)
        wait_until(lambda: bool(cluster.events(away, "snapshot_installed")), f"{away} to install a snapshot")
        write_much(client, 20)
    cluster.wait_until_equal()
    assert any(event["to"] == away for name in cluster.names for event in cluster.events(name, "snapshot_sent"))
    cluster.judge()


def test_the_log_that_a_snapshot_takes_the_place_of_gives_its_room_back(start_cluster):
    """at once: a node without room for a snapshot of its own would otherwise keep it for good"""
    cluster = start_cluster(3, **{**COMPACT, "snapshot_log_bytes": 64 << 20})
    away = cluster.followers()[0]
    with cluster.client() as client:
        write_much(client)
        cluster.wait_until_equal()
        before_bytes = cluster.status(away)["wal_bytes"]
        assert before_bytes > 4 * COMPACT["segment_bytes"]
        cluster.kill(away)
        write_much(client, 100)
        client.snapshot(client.find_leader())
        cluster.start(away)
        wait_until(lambda: bool(cluster.events(away, "snapshot_installed")), f"{away} to install a snapshot")
        write_much(client, 20)
    cluster.wait_until_equal()
    assert cluster.status(away)["wal_bytes"] < 2 * COMPACT["segment_bytes"]
    cluster.judge()


def test_a_follower_killed_while_a_snapshot_arrives_gets_it_all_the_same(start_cluster):
    """SnapshotInstallCrash: killed with half of the snapshot on its disk, started, and complete in the end."""
    cluster = start_cluster(3, **COMPACT, fault_injection=True)
    away = cluster.followers()[0]
    cluster.kill(away)
    with cluster.client(timeout_s=20) as client:
        for number in range(300):
            client.put(b"large%d" % number, b"%d" % number * 1000)  # a snapshot of some fifty chunks
        for name in cluster.names:
            if name != away:
                client.fault(cluster.address(name), "delay", [away], seconds=0.02)  # so that it takes a while
        cluster.start(away)
        wait_until(lambda: any(cluster.events(n, "snapshot_send_started") for n in cluster.names), "the first chunk")
        cluster.kill(away)
        cluster.start(away)
        cluster.heal()
    cluster.wait_until_equal()
    assert cluster.events(away, "snapshot_installed")
    cluster.judge()


@pytest.mark.slow
def test_a_follower_that_halts_while_a_snapshot_arrives_keeps_no_more_than_the_limit(start_cluster):
    """SnapshotInstallCrash, but silent: docs/storage.md says what of its log the leader keeps meanwhile."""
    cluster = start_cluster(3, **COMPACT, fault_injection=True)
    away = cluster.followers()[0]
    cluster.kill(away)
    with cluster.client(timeout_s=20) as client:
        for number in range(300):
            client.put(b"large%d" % number, b"%d" % number * 1000)
        for name in cluster.names:
            if name != away:
                client.fault(cluster.address(name), "delay", [away], seconds=0.02)
        cluster.start(away)
        wait_until(lambda: any(cluster.events(n, "snapshot_send_started") for n in cluster.names), "the first chunk")
        wait_until(lambda: any((cluster.directory / away).rglob("*.tmp")), f"a part of it on {away}")
        cluster.pause(away)
        leader = cluster.wait_for_leader_among([name for name in cluster.names if name != away])
        kept_entries, longest_bytes = [], 0
        for _ in range(12):
            write_much(client, 100)
            said = cluster.status(leader)
            kept_entries.append(said["snapshot_index"] + 1 - said["first_log_index"])
            longest_bytes = max(longest_bytes, said["wal_bytes"])
        cluster.resume(away)
        cluster.heal()
    assert max(kept_entries) > COMPACT["trailing_entries"], "it was waited for"
    assert kept_entries[-1] <= COMPACT["trailing_entries"], "it was given up"
    assert longest_bytes <= 5 * COMPACT["snapshot_log_bytes"] + 3 * COMPACT["segment_bytes"]
    cluster.wait_until_equal()
    cluster.judge()


def test_a_new_node_gets_a_snapshot_and_is_promoted(start_cluster):
    """SnapshotInit, with a server that never had a log: all that it knows comes from the snapshot and what follows."""
    cluster = start_cluster(1, **COMPACT)
    with cluster.client() as client:
        write_much(client)
        cluster.change_members("add", *cluster.start_outside("n2"))
        cluster.wait_for_voters("n1", "n2")
    assert cluster.events("n2", "snapshot_installed")
    cluster.wait_until_equal("n1", "n2")
    cluster.kill("n1", "n2")
    cluster.start("n1", "n2")
    cluster.wait_for_voters("n1", "n2")
    cluster.judge()


def test_a_snapshot_on_demand(start_cluster):
    """`raftctl snapshot`: says which index it covers; the log before it goes, but for the trailing entries."""
    cluster = start_cluster(3, trailing_entries=0)
    with cluster.client() as client:
        write_much(client, 20)
    cluster.wait_until_equal()
    for name in cluster.names:
        applied = cluster.status(name)["last_applied"]
        taken = cluster.raftctl("snapshot", name, "--json")
        assert taken.returncode == 0, taken
        index = json.loads(taken.stdout)["index"]
        assert index >= applied
        said = cluster.status(name)
        assert (said["snapshot_index"], said["first_log_index"]) == (index, index + 1)
    again = cluster.raftctl("snapshot", cluster.names[0])
    assert again.returncode == 0, again
    cluster.judge()


class BrokenRename(Disk):
    """A disk on which no snapshot gets its name."""

    def rename(self, source: Path, target: Path) -> None:
        if target.name.startswith("snapshot"):
            raise OSError(errno.EIO, "Input/output error", str(target))
        super().rename(source, target)


def test_a_node_whose_disk_fails_while_it_writes_a_snapshot_stops(tmp_path):
    """Rule 25: the thread that writes the snapshot cannot pass over the failure; the whole node ends with it."""
    node = Node(
        load(
            {
                "node_id": "n1",
                "members": "n1=127.0.0.1:7001:7000",
                "data_dir": str(tmp_path / "n1"),
                "bind_host": "127.0.0.1",
                "auth": "none",
                **free_ports(),
                "snapshot_log_bytes": 1,
            },
            {},
        ),
        disk=BrokenRename(),
    )
    watchdog = threading.Timer(20, node.stop, ["it went on for 20 s"])
    watchdog.start()
    with pytest.raises(StorageError, match="snapshot"):
        node.run()
    watchdog.cancel()


def free_ports():
    names = ("client_port", "peer_port", "http_port")
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = {name: listener.getsockname()[1] for name, listener in zip(names, listeners, strict=True)}
    for listener in listeners:
        listener.close()
    return ports
