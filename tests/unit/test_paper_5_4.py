"""Safety (§5.4): who may be elected, and what may be committed."""

import pytest

from raft_zmq.core.messages import VoteRequest
from tests.unit.raft_server import HEARTBEAT_INTERVAL_S, Server, append, ask_vote, log


@pytest.mark.parametrize(("terms", "term"), [((1,), 1), ((1, 2), 2)])
def test_a_candidate_tells_how_its_log_ends(terms, term):
    """vote request (§5.4.1)"""
    server = Server(term=term, entries=log(*terms))
    server.campaign()
    request = ask_vote(term + 1, last=(len(terms), terms[-1]))
    assert sorted(server.take_sent(), key=lambda sent: sent[0]) == [("n2", request), ("n3", request)]


@pytest.mark.parametrize(
    ("terms", "last", "granted"),
    [
        ((1,), (1, 1), True),
        ((1,), (2, 1), True),
        ((1, 1), (1, 1), False),
        ((1,), (1, 2), True),
        ((1,), (2, 2), True),
        ((1, 1), (1, 2), True),  # shorter, and yet newer: rule 7
        ((2,), (1, 1), False),
        ((2,), (2, 1), False),
        ((2,), (9, 1), False),  # longer, and yet older: rule 7
        ((1, 2), (1, 1), False),
        ((), (0, 0), True),
        ((1,), (0, 0), False),
    ],
)
def test_a_voter_refuses_a_candidate_with_an_older_log(terms, last, granted):
    """voter checks (§5.4.1; rule 7: by last term, then by last index)"""
    server = Server(term=2, entries=log(*terms))
    server.receive("n2", ask_vote(3, last=last))
    ((_, reply),) = server.take_sent()
    assert reply.granted is granted
    assert server.raft.state.hard_state().voted_for == ("n2" if granted else "")


@pytest.mark.parametrize(("match_index", "commit_index"), [(1, 0), (2, 0), (3, 3)])
def test_a_leader_commits_by_counting_only_entries_of_its_own_term(match_index, commit_index):
    """leader commits only its own term by counting (§5.4.2; rule 1)"""
    server = Server(term=2, entries=log(1, 2))
    server.become_leader()
    server.acknowledge("n2", match_index)
    assert server.commit_index == commit_index


def test_figure_8_an_old_entry_on_a_majority_can_still_be_overwritten():
    """Figure 8 (c) and (d), rule 1: n1 leads again and spreads its entry of term 2, then n5 overwrites it"""
    five = ("n1", "n2", "n3", "n4", "n5")
    s1 = Server("n1", five, term=3, entries=log(1, 2))
    s1.become_leader(votes=("n2", "n3"))
    s1.acknowledge("n2", 2)
    s1.acknowledge("n3", 2)
    assert s1.commit_index == 0, "on a majority, and not committed"
    s3 = Server("n3", five, term=4, entries=log(1, 2))
    s3.receive("n5", ask_vote(5, last=(2, 3)))
    assert s3.take_sent()[0][1].granted, "n5, whose last entry is of term 3, can win"
    s3.receive("n5", append(5, prev=(1, 1), entries=log(1, 3)[1:]))
    assert s3.log_terms() == [1, 3]


def test_figure_8_an_entry_of_the_own_term_makes_the_old_ones_safe():
    """Figure 8 (e), rule 1: with n1's entry of term 4 on a majority, n5 cannot be elected"""
    five = ("n1", "n2", "n3", "n4", "n5")
    s1 = Server("n1", five, term=3, entries=log(1, 2))
    s1.become_leader(votes=("n2", "n3"))
    s1.acknowledge("n2", 3)
    s1.acknowledge("n3", 3)
    assert [entry.term for entry in s1.applied] == [1, 2, 4]
    s3 = Server("n3", five, term=4, entries=log(1, 2, 4))
    s3.receive("n5", ask_vote(5, last=(2, 3)))
    assert not s3.take_sent()[0][1].granted


def test_a_new_leader_begins_with_an_empty_entry():
    """§8: it cannot know what is committed before it commits an entry of its own term"""
    server = Server(term=1, entries=log(1, 1))
    server.become_leader()
    assert server.log_terms() == [1, 1, 2]
    server.wait(HEARTBEAT_INTERVAL_S)
    assert server.commit_index == 0
    server.acknowledge("n2")
    assert server.commit_index == 3


def test_only_a_candidate_asks_for_votes():
    """§5.2: a follower that hears its leader stays silent"""
    server = Server(term=1)
    for _ in range(20):
        server.receive("n2", append(1))
        server.wait(HEARTBEAT_INTERVAL_S)
    assert not any(isinstance(message, VoteRequest) for _, message in server.take_sent())
