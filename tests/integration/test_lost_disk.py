"""A node that lost its disk is no voter until it has caught up and been promoted again (rule 15)."""

import shutil

from tests.integration.waiting import wait_until


def incarnation(cluster, name):
    return cluster.status(name)["incarnation"]


def test_a_wiped_follower_comes_back_as_a_learner_and_is_promoted(start_cluster):
    """Rule 15: new incarnation, no vote at first, everything caught up, then a voter again."""
    cluster = start_cluster(3)
    victim = cluster.followers()[0]
    before = incarnation(cluster, victim)
    with cluster.workload() as workload:
        cluster.kill(victim)
        cluster.wipe(victim)
        cluster.start(victim)
        reborn = lambda: [event["peer"] for event in cluster.events(cluster.leader(), "peer_reincarnated")]  # noqa: E731
        wait_until(lambda: victim in reborn(), "the leader to notice that the disk is another one")
        learned = lambda: [e for e in cluster.events(victim, "membership_changed") if victim in e["learners"]]  # noqa: E731
        wait_until(lambda: bool(learned()), f"{victim} to be a learner")
        cluster.wait_for_voters(*cluster.names)
        assert incarnation(cluster, victim) != before
    assert workload.counts
    assert not [event for event in cluster.events(victim, "vote_granted") if event["term"] < learned()[0]["term"]]
    cluster.wait_until_equal()
    cluster.judge()


def test_a_wiped_leader_comes_back(start_cluster):
    """Rule 15, for the one that led: the others elect a leader, which takes it back as a learner."""
    cluster = start_cluster(3)
    with cluster.workload():
        leader = cluster.leader()
        cluster.kill(leader)
        cluster.wipe(leader)
        cluster.start(leader)
        cluster.wait_for_voters(*cluster.names)
    cluster.wait_until_equal()
    cluster.judge()


def test_every_disk_can_be_lost_one_after_another(start_cluster):
    """Rule 15: as long as each has been promoted again before the next goes, nothing acknowledged is lost."""
    cluster = start_cluster(3)
    with cluster.client(timeout_s=20) as client:
        for number, name in enumerate(cluster.names):
            client.append(b"list", b"%d" % number)
            cluster.kill(name)
            cluster.wipe(name)
            cluster.start(name)
            cluster.wait_for_voters(*cluster.names)
        assert client.get(b"list") == b"012"
    cluster.wait_until_equal()
    cluster.judge()


def test_a_majority_of_empty_disks_elects_nobody(start_cluster):
    """Rule 15: what the two promised is lost with their disks, so no leader may come of their votes."""
    cluster = start_cluster(3)
    with cluster.client(timeout_s=20) as client:
        client.put(b"key", b"acknowledged")
    first, second, left = cluster.names
    cluster.kill(*cluster.names)
    kept = cluster.directory / "kept"
    shutil.copytree(cluster.directory / second, kept)
    cluster.wipe(first)
    cluster.wipe(second)
    cluster.start(*cluster.names)
    refused = cluster.raftctl("--timeout", "3", "put", "key", "other")
    assert refused.returncode == 3, refused
    assert all(said["role"] != "leader" for said in cluster.statuses().values())
    # The disk turns up again: two of three know everything, and the third is taken back.
    cluster.kill(second)
    cluster.wipe(second)
    shutil.copytree(kept, cluster.directory / second)
    cluster.start(second)
    with cluster.client(timeout_s=20) as client:
        assert client.get(b"key") == b"acknowledged"
    cluster.wait_for_voters(first, second, left)
    cluster.wait_until_equal()


def test_a_wiped_founder_is_found_by_a_leader_that_it_never_heard_of(start_cluster):
    """Rule 15: the settings of a founder name the founders, but the leader is a server that was added later."""
    cluster = start_cluster(3)
    (server,) = cluster.start_outside("n4")
    cluster.change_members("add", server)
    cluster.wait_for_voters(*cluster.names)
    cluster.transfer("n4")
    cluster.kill("n1")
    cluster.wipe("n1")
    cluster.start("n1")
    cluster.wait_for_voters(*cluster.names)
    assert cluster.leader() == "n4"
    cluster.wait_until_equal()
    cluster.judge()
