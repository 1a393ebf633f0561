"""A node that lost its disk is no voter until it has caught up and been promoted again (rule 15)."""

import shutil

from tests.integration.waiting import wait_until


def lose_disk(cluster, name):
    """Kill the node, start it on an empty disk, and wait until it is a voter again, having been a learner."""
    cluster.kill(name)
    cluster.wipe(name)
    cluster.start(name)
    wait_until(lambda: bool(as_learner(cluster, name)), f"{name} to be a learner")
    cluster.wait_for_voters(*cluster.names)


def as_learner(cluster, name):
    """The configurations that the node has had since it started last and in which it is a learner."""
    events = cluster.events(name, "node_started", "membership_changed")
    last_start = max(number for number, event in enumerate(events) if event["event"] == "node_started")
    return [event for event in events[last_start + 1 :] if name in event["learners"]]


def test_a_wiped_follower_comes_back_as_a_learner_and_is_promoted(start_cluster):
    """Rule 15: a new incarnation, no vote at first, everything caught up, then a voter again."""
    cluster = start_cluster(3)
    victim = cluster.followers()[0]
    before = cluster.status(victim)["incarnation"]
    with cluster.workload():
        lose_disk(cluster, victim)
    assert cluster.status(victim)["incarnation"] != before
    noticed = [event for name in cluster.names for event in cluster.events(name, "peer_reincarnated")]
    assert {(event["peer"], event["recorded"]) for event in noticed} == {(victim, before)}
    learner_from_term = as_learner(cluster, victim)[0]["term"]
    votes = cluster.events(victim, "vote_granted", "became_candidate")
    restarts = cluster.events(victim, "node_started")
    assert len(restarts) == 2
    assert not [vote for vote in votes if restarts[1]["ts"] < vote["ts"] and vote["term"] < learner_from_term]
    cluster.wait_until_equal()
    cluster.judge()


def test_a_wiped_leader_comes_back(start_cluster):
    """Rule 15, for the one that led: the others elect a leader, which takes it back as a learner."""
    cluster = start_cluster(3)
    with cluster.workload():
        lose_disk(cluster, cluster.leader())
    cluster.wait_until_equal()
    cluster.judge()


def test_every_disk_can_be_lost_one_after_another(start_cluster):
    """Rule 15: as long as each has been promoted again before the next goes, nothing acknowledged is lost."""
    cluster = start_cluster(3)
    with cluster.client(timeout_s=20) as client:
        for number, name in enumerate(cluster.names):
            client.append(b"list", b"%d" % number)
            lose_disk(cluster, name)
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
    refused = cluster.raftctl("--timeout-s", "3", "put", "key", "other")
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
    lose_disk(cluster, "n1")
    assert cluster.leader() == "n4"
    cluster.wait_until_equal()
    cluster.judge()
