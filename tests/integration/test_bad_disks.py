"""Disks that fail, that may not be written to, that are damaged: real nodes behave as docs/storage.md says."""

import errno
import json
import threading
from pathlib import Path

import pytest

from raft_zmq import local
from raft_zmq.core.errors import StorageError
from raft_zmq.node import Node
from raft_zmq.settings import load
from raft_zmq.storage.disk import Disk
from tests.integration.test_bad_input import run_node
from tests.lone_node import lone_node


@pytest.mark.mount
def test_a_read_only_directory_is_refused_at_the_start(tmp_path, small_disk, start_cluster):
    disk = small_disk(tmp_path / "cluster0" / "n1", 16 << 20)
    cluster = start_cluster(1, segment_bytes=1 << 20)
    local.down(cluster.directory)
    before = {path.name: path.read_bytes() for path in disk.place.iterdir()}
    disk.make_read_only()
    result = run_node("--config", str(cluster.directory / "n1.yaml"))
    assert result.returncode == 2, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "expected a folder this process may read and write" in line
    assert "Read-only file system" in line
    assert {path.name: path.read_bytes() for path in disk.place.iterdir()} == before
    assert run_node("check", str(disk.place)).returncode == 0, "looking needs no right to write"


class FailingDisk(Disk):
    """Its syncs fail while `failing`."""

    failing = False

    def fdatasync(self, descriptor: int) -> None:
        if self.failing:
            raise OSError(errno.EIO, "Input/output error")
        super().fdatasync(descriptor)


def test_a_failing_sync_ends_the_node_and_nothing_is_promised(tmp_path, capfd):
    """rule 25: a failed sync is fatal, and never tried again"""
    disk = FailingDisk()
    node = Node(load(lone_node(tmp_path), {}), disk=disk)
    disk.failing = True  # the first election cannot be written down
    ended: list[Exception] = []

    def run() -> None:
        try:
            node.run()
        except StorageError as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert "The node stops" in str(ended[0])
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert events[-1]["event"] == "node_stopped"
    assert not any(event["event"] == "became_leader" for event in events)


def damage_log(directory: Path) -> None:
    """One byte in the middle of what the log has."""
    (path,) = sorted(directory.glob("wal-*.log"))
    data = bytearray(path.read_bytes())
    data[len(data.rstrip(b"\0")) // 2] ^= 0xFF
    path.write_bytes(data)


def test_a_damaged_node_is_refused_checked_repaired_and_taken_in_again(start_cluster):
    cluster = start_cluster(3)
    with cluster.client() as client:
        for number in range(50):
            client.put(b"key%d" % number, b"value")
        name = cluster.followers()[0]
        directory = cluster.directory / name
        in_use = run_node("check", str(directory))
        assert (in_use.returncode, "locked by another process" in in_use.stderr) == (2, True)
        assert run_node("repair", str(directory)).returncode == 2
        cluster.wait_until_equal()
        before = cluster.status(name)["incarnation"]
        cluster.kill(name)
        assert run_node("check", str(directory)).returncode == 0
        damage_log(directory)
        refused = run_node("--config", str(cluster.directory / f"{name}.yaml"))
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        assert "expected a sound record, found a damaged one" in line
        checked = run_node("check", RAFT_DATA_DIR=str(directory))
        assert checked.returncode == 1
        assert "would come back as a new server" in checked.stdout
        repaired = run_node("repair", str(directory))
        assert repaired.returncode == 0, repaired
        assert run_node("check", str(directory)).returncode == 0
        cluster.start(name)
        cluster.wait_for_voters(*cluster.names)
        client.put(b"key", b"after")
        cluster.wait_until_equal()
        assert cluster.status(name)["incarnation"] != before
    cluster.judge()
