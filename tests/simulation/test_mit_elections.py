"""Scenarios of the MIT 6.5840 labs, part 3A: leader election (§5.2). The names are theirs."""

from tests.simulation.mit import ELECTION_S, Cluster

FIRST_ELECTION_MESSAGES_MAX = 30


def test_initial_election():
    """InitialElection: one leader, all in its term, and neither changes while nothing fails."""
    cluster = Cluster(3)
    leader = cluster.leader()
    cluster.wait(0.05)
    (term,) = cluster.terms()
    assert term >= 1
    cluster.wait(2 * ELECTION_S)
    assert cluster.terms() == {term}
    assert cluster.leader() == leader


def test_initial_election_of_empty_disks_within_its_budget():
    """InitialElection: from empty disks, with Hellos, pre-votes and votes, questions and answers counted."""
    for seed in range(20):
        cluster = Cluster(3, seed=seed, established=False)
        cluster.leader()
        assert 1 <= cluster.messages() <= FIRST_ELECTION_MESSAGES_MAX


def test_re_election():
    """ReElection: a new leader after the old one is cut off, none without a majority, one again with it."""
    cluster = Cluster(3)
    first = cluster.leader()
    cluster.disconnect(first)
    second = cluster.leader()
    assert second != first

    cluster.connect(first)
    cluster.wait()
    assert cluster.leader() == second, "the old leader came back and disturbed the new one"

    (other, *_) = cluster.others(second)
    cluster.disconnect(second, other)
    cluster.wait(2 * ELECTION_S)
    assert cluster.leaders() == []

    cluster.connect(other)
    third = cluster.leader()
    cluster.connect(second)
    cluster.wait()
    assert cluster.leader() == third


def test_many_elections():
    """ManyElections: of seven servers three are cut off, again and again; the other four have a leader each time."""
    cluster = Cluster(7)
    cluster.leader()
    for _ in range(10):
        away = cluster.rng.sample(cluster.names, 3)
        cluster.disconnect(*away)
        assert cluster.leader() not in away
        cluster.connect()
    cluster.leader()
    assert len(cluster.leaders()) == 1
