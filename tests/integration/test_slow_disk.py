"""A leader whose disk is slow hands over to a node that is better off, and to nobody where all disks are slow."""

from tests.integration.waiting import wait_until

SLOW_DISK_S = 0.03
SYNC_S = 0.05
SETTINGS = {"slow_disk_s": SLOW_DISK_S, "fault_injection": True}


def write(client, count: int) -> None:
    for number in range(count):
        client.put(b"key", b"%d" % number)


def slow_down(cluster, client, *names: str) -> None:
    for name in names:
        client.fault(cluster.address(name), "slow_disk", seconds=SYNC_S)


def test_a_slow_disk_hands_leadership_to_a_healthier_node(start_cluster):
    cluster = start_cluster(3, **SETTINGS)
    with cluster.client() as client:
        write(client, 5)
        old = cluster.leader()
        slow_down(cluster, client, old)
        write(client, 10)
        new = cluster.leader()
        assert new != old
        assert cluster.events(old, "disk_handover")[0]["target"] == new
        write(client, 5)
        wait_until(lambda: cluster.status(old)["disk"] == "slow", "the old leader to count as slow")
        cluster.heal()
        wait_until(lambda: write(client, 1) or cluster.status(old)["disk"] == "good", "its disk to count as good again")
        assert cluster.leader() == new, "a good disk is no reason to take leadership back"
    cluster.judge()


def test_where_all_disks_are_slow_leadership_stays(start_cluster):
    cluster = start_cluster(3, **SETTINGS)
    with cluster.client() as client:
        write(client, 5)
        leader = cluster.leader()
        slow_down(cluster, client, *cluster.followers())
        write(client, 10)
        wait_until(lambda: [s["disk"] for s in cluster.statuses().values()].count("slow") == 2, "two slow followers")
        slow_down(cluster, client, leader)
        write(client, 15)
        assert cluster.status(leader)["disk"] == "slow"
        assert cluster.leader() == leader
        assert not any(cluster.events(name, "disk_handover") for name in cluster.names)
