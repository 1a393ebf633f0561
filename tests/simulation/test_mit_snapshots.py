"""Scenarios of the MIT 6.5840 labs, part 3D: log compaction (§7). The names are theirs."""

import pytest

from tests.simulation.mit import Cluster

INTERVAL = 10  # applied entries between two snapshots
LOG_ENTRIES_MAX = 3 * INTERVAL  # in any log after that many were agreed on; the next snapshot may be under way
ITERATIONS = 30


def snapshotting(servers: int = 3, seed: int = 0) -> Cluster:
    """A cluster that snapshots every ten entries and keeps nothing below a snapshot."""
    return Cluster(servers, seed=seed, snapshot_entries=INTERVAL, snapshot_s=0.005, trailing_entries=0)


def entries_held(cluster: Cluster) -> int:
    """The length of the longest log on any disk."""
    return max(len(server.disk.log.entries) for server in cluster.world.servers.values())


def agree_on_a_few(cluster: Cluster, servers: int) -> None:
    """Between a half and one and a half snapshots' worth of entries."""
    cluster.some(INTERVAL // 2 + cluster.rng.randrange(INTERVAL), servers)


def install(disconnect: bool = False, crash: bool = False, unreliable: bool = False) -> Cluster:
    """The common part of the labs' snapshot tests: a server misses enough to need a snapshot when it is back."""
    cluster = snapshotting()
    if unreliable:
        cluster.unreliable()
    cluster.one(3)
    for turn in range(ITERATIONS):
        leader = cluster.leader()
        other = cluster.others(leader)[0]
        victim = leader if turn % 3 == 1 else other
        if disconnect:
            cluster.disconnect(victim)
        if crash:
            cluster.crash(victim)
        majority = 2 if disconnect or crash else 3
        cluster.one(majority)
        agree_on_a_few(cluster, majority)
        if not (disconnect or crash):
            assert entries_held(cluster) <= LOG_ENTRIES_MAX
        if disconnect or crash:
            cluster.restart(victim)
            cluster.one(3)
    assert cluster.world.counts["snapshot_written"] >= ITERATIONS
    if disconnect or crash:
        assert cluster.world.counts["snapshot_installed"] >= ITERATIONS // 4
    return cluster


def test_snapshot_basic():
    """SnapshotBasic: logs stay short while entries are agreed on."""
    install()


def test_snapshot_install():
    """SnapshotInstall: a server that was cut off gets what it missed as a snapshot."""
    install(disconnect=True)


def test_snapshot_install_unreliable():
    """SnapshotInstallUnreliable: also over a network that loses and delays chunks."""
    install(disconnect=True, unreliable=True)


def test_snapshot_install_crash():
    """SnapshotInstallCrash: so does a server that was killed."""
    install(crash=True)


def test_snapshot_install_un_crash():
    """SnapshotInstallUnCrash: also over a network that loses and delays chunks."""
    install(crash=True, unreliable=True)


@pytest.mark.parametrize("seed", range(2))
def test_snapshot_all_crash(seed):
    """SnapshotAllCrash: all servers are killed at once and go on where they were, from snapshot and log."""
    cluster = snapshotting(seed=seed)
    cluster.one(3)
    for _ in range(5):
        agree_on_a_few(cluster, 3)
        before = cluster.one(3)
        cluster.crash(*cluster.names)
        cluster.restart(*cluster.names)
        assert cluster.one(3) > before
    assert cluster.world.counts["snapshot_written"] >= 3


def test_snapshot_init():
    """SnapshotInit: a server started from a snapshot keeps it through further restarts."""
    cluster = snapshotting()
    cluster.one(3)
    cluster.some(INTERVAL + 1, 3)
    cluster.wait()
    for _ in range(2):
        cluster.crash(*cluster.names)
        cluster.restart(*cluster.names)
        assert all(server.disk.snapshot is not None for server in cluster.world.servers.values())
        cluster.one(3)  # the first write after the restart
    assert len({server.replica.digest for server in cluster.world.servers.values()}) == 1
