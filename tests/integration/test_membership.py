"""The membership changes while clients work (§6, thesis 4): nodes come, are promoted, go, and the leader with them."""

import pytest

from raft_zmq import local
from raft_zmq.client.errors import NotDoneError
from tests.integration.waiting import wait_until


def test_from_three_to_five_and_back_without_the_leader(start_cluster):
    """Membership 3 → 5 → 3: two are added in one step and promoted, then the leader and a follower are removed."""
    cluster = start_cluster(3)
    with cluster.workload():
        cluster.change_members("add", *cluster.start_outside("n4", "n5"))
        cluster.wait_for_voters("n1", "n2", "n3", "n4", "n5")
        leader = cluster.leader()
        follower = next(name for name in ("n1", "n2", "n3") if name != leader)
        cluster.change_members("remove", leader, follower)
        staying = [name for name in cluster.names if name not in (leader, follower)]
        cluster.wait_for_voters(*staying)
        assert cluster.wait_for_leader_among(staying) != leader
    assert cluster.events(leader, "stepped_down")[-1]["reason"] == "removed"
    cluster.wait_until_equal(*staying)
    cluster.judge()


def test_every_member_is_replaced_in_one_step(start_cluster):
    """Three old members → three new ones (thesis 4.3): nobody who was there at first is there at the end."""
    cluster = start_cluster(3)
    with cluster.workload() as workload:
        cluster.change_members("add", *cluster.start_outside("n4", "n5", "n6"), "--learner")
        wait_until(lambda: cluster.status(cluster.leader())["learners"] == ["n4", "n5", "n6"], "three learners")
        changes = [part for name in ("n4", "n5", "n6") for part in ("--promote", name)]
        changes += [part for name in ("n1", "n2", "n3") for part in ("--remove", name)]
        cluster.change_members("change", *changes)
        cluster.wait_for_voters("n4", "n5", "n6")
        cluster.wait_for_leader_among(["n4", "n5", "n6"])
        workload.wait_for_answers()  # the clients have found the new leader
        cluster.kill("n1", "n2", "n3")
        workload.wait_for_answers()
    cluster.wait_until_equal("n4", "n5", "n6")
    cluster.judge()


def test_a_removed_node_neither_disturbs_nor_answers(start_cluster):
    """Rule 27: the others keep their leader and term, and the removed one sends clients away."""
    cluster = start_cluster(4, election_timeout_s_min=1.0, election_timeout_s_max=2.0)
    leader = cluster.wait_for_leader_among(cluster.names)
    removed = cluster.followers()[0]
    cluster.change_members("remove", removed)
    staying = [name for name in cluster.names if name != removed]
    cluster.wait_for_voters(*staying)
    wait_until(lambda: removed not in cluster.status(removed)["voters"], f"{removed} to know that it is out")
    term = cluster.status(leader)["term"]
    cluster.kill(removed)
    cluster.start(removed)
    wait_until(lambda: cluster.status(removed).get("leader_id") == "", f"{removed} to be up")
    with cluster.client() as client:
        for number in range(50):
            client.put(b"key", b"%d" % number)
    assert {cluster.status(name)["term"] for name in staying} == {term}
    assert not cluster.events(removed, "became_pre_candidate", "became_candidate")
    cluster.judge()


def test_a_restarted_node_goes_by_the_membership_on_its_disk(start_cluster):
    """The settings' members count once, for the first membership (§6): after that what the log says counts."""
    cluster = start_cluster(3)
    cluster.change_members("add", *cluster.start_outside("n4"))
    cluster.wait_for_voters("n1", "n2", "n3", "n4")
    cluster.change_members("remove", "n1")
    cluster.wait_for_voters("n2", "n3", "n4")
    local.down(cluster.directory)
    local.up(cluster.directory, cluster.names)  # n1 as well, which is no member any more and has no leader to wait for
    cluster.wait_for_leader_among(["n2", "n3", "n4"])
    cluster.wait_for_voters("n2", "n3", "n4")
    assert cluster.events("n4", "node_started")[-1]["members"] == ["n2", "n3", "n4"]
    cluster.judge()


def test_a_removed_node_can_be_added_again_with_its_old_disk(start_cluster):
    """Thesis 4.1: a server that left may come back; its old log is a prefix, or is made one."""
    cluster = start_cluster(3)
    removed = cluster.followers()[0]
    node = next(report for report in local.status(cluster.directory) if report.node_id == removed)
    settings = (cluster.directory / f"{removed}.yaml").read_text()
    peer_port = settings.partition("peer_port: ")[2].split()[0]
    cluster.change_members("remove", removed)
    cluster.wait_for_voters(*(name for name in cluster.names if name != removed))
    with cluster.client() as client:
        client.put(b"key", b"without it")
    cluster.change_members("add", f"{removed}={local.HOST}:{peer_port}:{node.client_address.rpartition(':')[2]}")
    cluster.wait_for_voters(*cluster.names)
    cluster.wait_until_equal()
    cluster.judge()


def test_a_node_that_was_away_during_a_change_finds_a_leader_it_never_heard_of(start_cluster):
    """§6: the change was committed without it, and the leader of now is in no membership that it knows."""
    cluster = start_cluster(3)
    away = cluster.followers()[0]
    cluster.kill(away)
    cluster.change_members("add", *cluster.start_outside("n4", "n5"))
    wait_until(lambda: len(cluster.status("n4").get("voters", [])) == 5, "five voters")
    cluster.transfer("n5")
    others = [name for name in ("n1", "n2", "n3") if name != away]
    cluster.start(away)
    cluster.wait_for_voters(*cluster.names)
    assert cluster.leader() == "n5"
    # From now on it counts: with two others down, the majority of five needs it.
    cluster.kill(*others)
    with cluster.client(timeout_s=20) as client:
        client.put(b"key", b"with the one that was away")
    cluster.wait_until_equal(away, "n4", "n5")
    cluster.judge()


def test_clients_are_led_to_a_leader_that_their_configuration_does_not_name(start_cluster):
    """Redirects carry the leader's client address, so that old client.yaml files go on working."""
    cluster = start_cluster(3)
    old_config = cluster.directory / "old.yaml"
    old_config.write_text(cluster.config_file.read_text())
    cluster.change_members("add", *cluster.start_outside("n4"))
    cluster.wait_for_voters(*cluster.names)
    transferred = cluster.raftctl("transfer", "n4")
    assert (transferred.returncode, transferred.stdout.strip()) == (0, "n4 leads"), transferred
    written = cluster.raftctl("--config", str(old_config), "put", "key", "value")
    assert written.returncode == 0, written
    assert cluster.raftctl("--config", str(old_config), "get", "key").stdout.strip() == "value"


def test_a_learner_that_is_to_stay_one_does_not_vote(start_cluster):
    """Thesis 4.2.1: with --learner it gets the log and no vote, until `members promote`; one that lags is refused."""
    cluster = start_cluster(1)
    cluster.change_members("add", *cluster.start_outside("n2"), "--learner")
    with cluster.client() as client:
        client.put(b"key", b"value")
    cluster.wait_until_equal("n1", "n2")
    cluster.kill("n2")
    with cluster.client() as client:
        client.put(b"key", b"without the learner")
        refused = cluster.raftctl("members", "promote", "n2")
        assert refused.returncode == 1
        assert "caught up" in refused.stderr
        cluster.start("n2")
        cluster.change_members("promote", "n2")
        cluster.wait_for_voters("n1", "n2")
        cluster.kill("n2")
        with pytest.raises(NotDoneError):
            client.get(b"key", timeout_s=2.0)


def test_a_node_without_keys_is_not_started(cluster_of_three):
    """`raftctl local add`: only names that have keys, and of those the ones that are free, are offered."""
    refused = cluster_of_three.raftctl("local", "add", "--dir", str(cluster_of_three.directory), "other")
    assert refused.returncode == 2
    (line,) = refused.stderr.strip().splitlines()
    assert "'other'" in line
    assert line.endswith("Choose one of n4, n5, n6, n7.")
    assert "other" not in cluster_of_three.statuses()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "expected"),
    [
        (("add", "n4"), 2, "id=host:peer_port:client_port"),
        (("add", "n4=127.0.0.1:70000:1"), 2, "id=host:peer_port:client_port"),
        (("add", "n2=127.0.0.1:7001:7000"), 2, "each server once"),
        (("remove", "n9"), 2, "n9"),
        (("promote", "n9"), 2, "n9"),
        (("remove", "n1", "n2", "n3"), 2, "at least one voter"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_in_one_line(cluster_of_three, arguments, exit_code, expected):
    """Bad input: what was expected and what was found, exit code 2, nothing changed."""
    cluster = cluster_of_three
    refused = cluster.raftctl("members", *arguments)
    assert (refused.returncode, refused.stdout) == (exit_code, "")
    (line,) = refused.stderr.strip().splitlines()
    assert "expected" in line
    assert expected in line
    assert cluster.status(cluster.leader())["voters"] == ["n1", "n2", "n3"]
