"""Connections that come and go leave nothing behind in a node: no open file, no growing memory."""

from pathlib import Path

from tests.integration.waiting import wait_until

MEMORY_GROWTH_MAX_KB = 8 << 10


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory_kb(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


def come_and_go(cluster, times):
    for _ in range(times):
        with cluster.client() as client:
            client.get(b"key")


def test_clients_that_come_and_go_leave_nothing_behind(start_cluster):
    """A node that has had two hundred clients holds no more files than one that has had ten, and about the memory."""
    cluster = start_cluster(1)
    pid = cluster.pid("n1")
    alone = open_files(pid)
    come_and_go(cluster, 10)
    wait_until(lambda: open_files(pid) <= alone, "the first ten connections to be closed")
    memory_before_kb = memory_kb(pid)
    come_and_go(cluster, 200)
    wait_until(lambda: open_files(pid) <= alone, f"{alone} open files again")
    assert memory_kb(pid) - memory_before_kb < MEMORY_GROWTH_MAX_KB


def test_a_peer_that_restarts_again_and_again_leaves_nothing_behind(start_cluster):
    """A leader whose follower has been killed and started six times holds the files that it held after the first."""
    cluster = start_cluster(3)
    leader = cluster.leader()
    follower = cluster.followers()[0]
    cluster.kill(follower)
    cluster.start(follower)
    cluster.wait_for_leader_among(cluster.names)
    steady = open_files(cluster.pid(leader))
    for _ in range(5):
        cluster.kill(follower)
        cluster.start(follower)
    cluster.wait_until_equal()
    wait_until(lambda: open_files(cluster.pid(leader)) <= steady, f"{steady} open files again")
