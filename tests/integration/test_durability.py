"""Acknowledged means synced by a majority (Figure 2; rule 2): real nodes whose disks a test can hold back."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from raft_zmq.client import config
from raft_zmq.client.client import RaftClient
from raft_zmq.core.errors import OutcomeUnknownError
from raft_zmq.node import Node
from raft_zmq.settings import load
from raft_zmq.storage.disk import Disk


class HeldDisk(Disk):
    """A disk whose syncs wait while it is held."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.waiting = threading.Event()

    def fdatasync(self, descriptor: int) -> None:
        if not self.free.is_set():
            self.waiting.set()
            assert self.free.wait(30), "the test left the disk held"
        super().fdatasync(descriptor)


class ThreadedCluster:
    """Nodes in threads of this process, each on a HeldDisk."""

    def __init__(self, directory: Path, *names: str) -> None:
        ports = iter(_free_ports(3 * len(names)))
        addresses = {name: (next(ports), next(ports), next(ports)) for name in names}
        members = ",".join(f"{name}=127.0.0.1:{peer}:{client}" for name, (client, peer, _) in addresses.items())
        self.disks = {name: HeldDisk() for name in names}
        self.nodes: dict[str, Node] = {}
        for name, (client, peer, http) in addresses.items():
            flags = {
                "node_id": name,
                "members": members,
                "data_dir": str(directory / name),
                "bind_host": "127.0.0.1",
                "client_port": client,
                "peer_port": peer,
                "http_port": http,
                "auth": "none",
                "log_level": "error",
                # The held syncs must not look like dead nodes: this test is about acknowledgements, not elections.
                "election_timeout_s_min": 5.0 if name != "n1" else 0.3,
                "election_timeout_s_max": 10.0 if name != "n1" else 0.4,
                "check_quorum": False,
            }
            self.nodes[name] = Node(load(flags, {}), disk=self.disks[name])
        endpoints = [f"{name}=127.0.0.1:{client}" for name, (client, _, _) in addresses.items()]
        config_file = directory / "client.yaml"
        config_file.write_text(yaml.safe_dump({"cluster_id": "raft", "endpoints": endpoints, "auth": "none"}))
        self.config = config.load(config_file)
        self._threads = [threading.Thread(target=node.run, name=name) for name, node in self.nodes.items()]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        for disk in self.disks.values():
            disk.free.set()
        for node in self.nodes.values():
            node.stop("end of the test")
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


def _free_ports(number: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ThreadedCluster]:
    cluster = ThreadedCluster(tmp_path, "n1", "n2", "n3")
    yield cluster
    cluster.close()


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[ThreadedCluster]:
    cluster = ThreadedCluster(tmp_path, "n1")
    yield cluster
    cluster.close()


def test_no_acknowledgement_before_a_majority_has_synced(cluster):
    with RaftClient(cluster.config, timeout_s=15) as client:
        client.put(b"key", b"before")  # n1 leads: only its timeout is short
        held = [cluster.disks["n2"], cluster.disks["n3"]]
        for disk in held:
            disk.free.clear()
        with pytest.raises(OutcomeUnknownError):
            client.put(b"key", b"after", timeout_s=1.0)
        for disk in held:
            assert disk.waiting.wait(5), "the entry reached the followers, which must be waiting for their disks"
            disk.free.set()
        client.put(b"other", b"later in the log, so its acknowledgement is the other's too")
        assert client.get(b"key") == b"after"


def test_one_slow_disk_holds_up_nobody(cluster):
    with RaftClient(cluster.config, timeout_s=15) as client:
        client.put(b"key", b"before")
        cluster.disks["n3"].free.clear()
        client.put(b"key", b"after", timeout_s=5.0)
        assert client.get(b"key", timeout_s=5.0) == b"after"


def test_a_leader_alone_does_not_answer_before_its_own_sync(lone):
    """Its disk is all of the majority; beside others a leader may answer without it (thesis 10.2.1)."""
    disk = lone.disks["n1"]
    with RaftClient(lone.config, timeout_s=15) as client:
        client.put(b"key", b"before")
        disk.free.clear()
        with pytest.raises(OutcomeUnknownError):
            client.put(b"key", b"after", timeout_s=1.0)
        assert disk.waiting.is_set(), "the entry was on its way to the disk"
        disk.free.set()
        assert client.get(b"key") == b"after"
