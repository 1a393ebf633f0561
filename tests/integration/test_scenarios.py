"""Scenarios of the MIT 6.5840 labs with real processes: elections, agreement, and what a restart must not lose."""

import pytest

from raft_zmq.client.errors import NotDoneError
from raft_zmq.core.errors import OutcomeUnknownError
from tests.integration.waiting import wait_until


def test_one_leader_is_elected_and_stays(start_cluster):
    """InitialElection: one leader, the same term everywhere, and no new term while nothing fails."""
    cluster = start_cluster(3, election_timeout_s_min=2.0, election_timeout_s_max=3.0)  # a busy machine is no failure
    leader = cluster.wait_for_leader_among(cluster.names)
    term = cluster.status(leader)["term"]
    with cluster.client() as client:
        for number in range(100):
            client.put(b"key", b"%d" % number)
    assert [said["term"] for said in cluster.statuses().values()] == [term] * 3
    assert cluster.wait_for_leader_among(cluster.names) == leader
    cluster.judge()


def test_a_new_leader_is_elected_and_an_old_one_does_not_unseat_it(start_cluster):
    """ReElection: a new leader without the old one; the old one joins it; none without a majority; one again with."""
    cluster = start_cluster(3)
    first = cluster.wait_for_leader_among(cluster.names)
    first_term = cluster.status(first)["term"]
    others = cluster.followers()
    cluster.kill(first)
    second = cluster.wait_for_leader_among(others)
    second_term = cluster.status(second)["term"]
    assert second_term > first_term
    cluster.start(first)
    assert cluster.wait_for_leader_among(cluster.names) == second
    assert cluster.status(second)["term"] == second_term
    (left,) = (name for name in others if name != second)
    cluster.kill(first, second)
    wait_until(lambda: cluster.status(left).get("leader_id") == "", f"{left} to know of no leader")
    assert cluster.status(left)["role"] != "leader"
    cluster.start(first)
    cluster.wait_for_leader_among([first, left])
    cluster.start(second)
    cluster.wait_for_leader_among(cluster.names)
    cluster.judge()


def test_agreement_goes_on_with_a_follower_down(start_cluster):
    """FailAgree: the others agree without the follower, which catches up when it is back."""
    cluster = start_cluster(3)
    victim = cluster.followers()[0]
    with cluster.client() as client:
        client.put(b"key", b"with all")
        cluster.kill(victim)
        for number in range(50):
            client.append(b"list", b"%d," % number)
        cluster.start(victim)
        client.put(b"key", b"with all again")
        assert client.get(b"list") == b"".join(b"%d," % number for number in range(50))
    cluster.wait_until_equal()
    cluster.judge()


def test_no_agreement_without_a_majority(start_cluster):
    """FailNoAgree: with three of five down nothing is acknowledged; when they are back there is agreement again."""
    cluster = start_cluster(5)
    victims = cluster.followers()[:3]
    with cluster.client(timeout_s=1.0) as client:
        client.put(b"key", b"before", timeout_s=20)
        cluster.kill(*victims)
        with pytest.raises((OutcomeUnknownError, NotDoneError)):
            client.put(b"key", b"alone")
        with pytest.raises(NotDoneError):
            client.get(b"key")
        cluster.start(*victims)
        client.put(b"other", b"after", timeout_s=20)
        assert client.get(b"key", timeout_s=20) in (b"before", b"alone")
    cluster.wait_until_equal()
    cluster.judge()


def test_nothing_is_lost_when_each_node_is_killed_and_started_in_turn(start_cluster):
    """Persist1: all killed at once, then the leader, then a follower; each time all that was acknowledged is there."""
    cluster = start_cluster(3)
    with cluster.client(timeout_s=20) as client:
        client.append(b"list", b"a")
        cluster.kill(*cluster.names)
        cluster.start(*cluster.names)
        client.append(b"list", b"b")
        leader = cluster.leader()
        cluster.kill(leader)
        cluster.start(leader)
        client.append(b"list", b"c")
        follower = cluster.followers()[0]
        cluster.kill(follower)
        client.append(b"list", b"d")
        cluster.start(follower)
        client.append(b"list", b"e")
        assert client.get(b"list") == b"abcde"
    cluster.wait_until_equal()
    cluster.judge()


def test_nothing_is_lost_when_majorities_alternate(start_cluster):
    """Persist2: two of five are always down, each time others, so that no node sees everything while it happens."""
    cluster = start_cluster(5)
    down: list[str] = []
    expected = b""
    with cluster.client(timeout_s=20) as client:
        for number in range(5):
            cluster.start(*down)
            down = [cluster.names[number], cluster.names[(number + 1) % 5]]
            client.append(b"list", b"%d" % number)  # the new majority has what the old one acknowledged
            cluster.kill(*down)
            client.append(b"list", b"-")
            expected += b"%d-" % number
        cluster.start(*down)
        assert client.get(b"list") == expected
    cluster.wait_until_equal()
    cluster.judge()


def test_a_pair_that_changes_keeps_what_each_pair_acknowledged(start_cluster):
    """Persist3: two of three agree and are killed; one of them and the third, which missed it, go on."""
    cluster = start_cluster(3)
    with cluster.client(timeout_s=20) as client:
        client.append(b"list", b"a")
        leader = cluster.leader()
        witness, absent = cluster.followers()
        cluster.kill(absent)
        client.append(b"list", b"b")
        cluster.kill(leader, witness)
        cluster.start(absent, leader)
        client.append(b"list", b"c")
        cluster.start(witness)
        client.append(b"list", b"d")
        assert client.get(b"list") == b"abcd"
    cluster.wait_until_equal()
    cluster.judge()
