"""Clients work while nodes are killed, paused, cut off and made leader by turns: every history is linearizable (§8)."""

import itertools

import pytest

from tests.integration.waiting import wait_until

BUSY_ELECTION_S = 5  # an election takes half a second at most on an idle machine; this is for a busy one


def test_kills_of_leaders_and_followers_under_load(start_cluster):
    """ReliableChurn with SIGKILL: three leaders and a follower die in turn; nothing acknowledged is lost."""
    cluster = start_cluster(3)
    with cluster.workload() as workload:
        for _ in range(3):
            leader = cluster.leader()
            cluster.kill(leader)
            workload.wait_for_answers()
            cluster.start(leader)
            cluster.wait_for_leader_among(cluster.names)
        follower = cluster.followers()[0]
        cluster.kill(follower)
        workload.wait_for_answers()
        cluster.start(follower)
    cluster.wait_until_equal()
    cluster.judge()


@pytest.mark.parametrize("lease_reads", [False, True])
def test_a_leader_that_is_paused_serves_no_stale_read_when_it_goes_on(start_cluster, lease_reads):
    """Rule 19: SIGSTOP of the leader until another leads, then SIGCONT; also where it serves reads on its lease."""
    cluster = start_cluster(3, lease_reads=lease_reads)
    with cluster.workload() as workload:
        for _ in range(2):
            paused = cluster.leader()
            cluster.pause(paused)
            others = [name for name in cluster.names if name != paused]
            cluster.wait_for_leader_among(others)
            workload.wait_for_answers()
            cluster.resume(paused)
            workload.wait_for_answers()
    cluster.wait_until_equal()
    cluster.judge()


def test_transfers_under_load(start_cluster):
    """Leadership transfer (thesis 3.10) ten times: no write is held up for longer than an election."""
    cluster = start_cluster(3)
    with cluster.workload() as workload:
        for target in itertools.islice(itertools.cycle(cluster.names), 10):
            cluster.transfer(target)
            workload.wait_for_answers(20)
    cluster.wait_until_equal()
    cluster.judge()
    silence_s = workload.longest_silence_s()
    print(f"longest time without an acknowledged write: {silence_s:.3f} s")
    assert silence_s < BUSY_ELECTION_S


def test_partitions_under_load(start_cluster):
    """Each node is cut off in turn, then the leader; both sides have clients that keep asking."""
    cluster = start_cluster(3, fault_injection=True)
    with cluster.workload() as workload:
        for cut_off in [*cluster.names, cluster.leader()]:
            others = [name for name in cluster.names if name != cut_off]
            cluster.partition([cut_off], others)
            cluster.wait_for_leader_among(others)
            workload.wait_for_answers()
            cluster.heal()
            cluster.wait_for_leader_among(cluster.names)
    cluster.wait_until_equal()
    cluster.judge()


def test_a_slow_disk_and_a_slow_network_under_load(start_cluster):
    """A follower's disk takes 50 ms a sync, and what the leader sends the other comes late and out of order."""
    cluster = start_cluster(3, fault_injection=True)
    slow, late = cluster.followers()
    with cluster.workload() as workload, cluster.client() as client:
        client.fault(cluster.address(slow), "slow_disk", seconds=0.05)
        client.fault(cluster.address(cluster.leader()), "delay", [late], share=0.5, seconds=0.02)
        workload.wait_for_answers(200)
        cluster.heal()
    cluster.wait_until_equal()
    cluster.judge()


@pytest.mark.slow
def test_everything_at_once(start_cluster):
    """Two nodes are added and promoted, the leader is removed, leadership moves ten times, a disk is lost."""
    cluster = start_cluster(3)
    with cluster.workload() as workload:
        cluster.change_members("add", *cluster.start_outside("n4", "n5"), "--learner")
        cluster.change_members("promote", "n4", "n5")
        cluster.wait_for_voters("n1", "n2", "n3", "n4", "n5")
        removed = cluster.leader()
        cluster.change_members("remove", removed)
        members = [name for name in cluster.names if name != removed]
        cluster.wait_for_voters(*members)
        for target in itertools.islice(itertools.cycle(members), 10):
            cluster.transfer(target)
            workload.wait_for_answers(20)
        lost = next(name for name in members if name != cluster.leader())
        cluster.kill(lost)
        cluster.wipe(lost)
        cluster.start(lost)
        noticed = lambda: any(cluster.events(name, "peer_reincarnated") for name in members)  # noqa: E731
        wait_until(noticed, "the lost disk to be noticed")
        cluster.wait_for_voters(*members)
        workload.wait_for_answers()
    cluster.wait_until_equal(*members)
    cluster.judge()
    silence_s = workload.longest_silence_s()
    print(f"longest time without an acknowledged write: {silence_s:.3f} s")
    assert silence_s < BUSY_ELECTION_S
