"""Leader election (§5.2)."""

import random

import pytest

from raft_zmq.core.messages import AppendEntries, VoteRequest
from raft_zmq.core.state import Role
from tests.unit.raft_server import HEARTBEAT_INTERVAL_S, Server, append, ask_vote, vote

FIVE = ("n1", "n2", "n3", "n4", "n5")


def test_a_leader_broadcasts_heartbeats():
    """leader broadcasts heartbeats (§5.2)"""
    server = Server()
    server.become_leader()
    for follower in ("n2", "n3"):
        server.acknowledge(follower)
    server.take_sent()
    server.wait(HEARTBEAT_INTERVAL_S)
    heartbeats = [(to, message.entries) for to, message in server.take_sent() if isinstance(message, AppendEntries)]
    assert sorted(heartbeats) == [("n2", ()), ("n3", ())]


@pytest.mark.parametrize("candidate", [False, True])
def test_follower_and_candidate_start_an_election_when_the_timeout_runs_out(candidate):
    """follower and candidate start elections (§5.2)"""
    server = Server(term=1)
    if candidate:
        server.campaign()
        server.take_sent()
    term = server.term
    server.campaign()
    assert (server.role, server.term) == (Role.CANDIDATE, term + 1)
    asked = sorted(to for to, message in server.take_sent() if isinstance(message, VoteRequest))
    assert asked == ["n2", "n3"]
    assert server.raft.state.hard_state().voted_for == "n1"


@pytest.mark.parametrize(
    ("voters", "granted", "refused", "role"),
    [
        (("n1",), (), (), Role.LEADER),
        (("n1", "n2", "n3"), ("n2",), (), Role.LEADER),
        (("n1", "n2", "n3"), ("n2", "n3"), (), Role.LEADER),
        (FIVE, ("n2", "n3"), (), Role.LEADER),
        (FIVE, ("n2", "n3"), ("n4", "n5"), Role.LEADER),
        (FIVE, ("n2",), ("n3", "n4", "n5"), Role.FOLLOWER),
        (("n1", "n2", "n3"), (), ("n2", "n3"), Role.FOLLOWER),
        (FIVE, ("n2",), (), Role.CANDIDATE),
        (FIVE, ("n2",), ("n3",), Role.CANDIDATE),  # the vote may still go either way
        (("n1", "n2", "n3"), (), (), Role.CANDIDATE),
    ],
)
def test_one_leader_in_one_round_and_none_when_the_vote_is_split(voters, granted, refused, role):
    """one leader in one round, vote split included (§5.2)"""
    server = Server(voters=voters)
    server.campaign()
    for voter in granted:
        server.receive(voter, vote(1))
    for voter in refused:
        server.receive(voter, vote(1, granted=False))
    assert (server.role, server.term) == (role, 1)


def test_a_vote_is_counted_by_sender_not_by_message():
    """rule 5"""
    server = Server(voters=FIVE)
    server.campaign()
    for _ in range(4):
        server.receive("n2", vote(1))
    assert server.role is Role.CANDIDATE


@pytest.mark.parametrize(
    ("voted_for", "candidate", "granted"),
    [("", "n2", True), ("", "n3", True), ("n2", "n2", True), ("n3", "n3", True), ("n2", "n3", False)],
)
def test_a_follower_votes_first_come_first_served(voted_for, candidate, granted):
    """follower votes first come first served (§5.2; rule 6)"""
    server = Server(term=1, voted_for=voted_for)
    server.receive(candidate, ask_vote(term=1))
    ((to, reply),) = server.take_sent()
    assert (to, reply.term, reply.granted) == (candidate, 1, granted)


@pytest.mark.parametrize("term", [1, 2])
def test_a_candidate_falls_back_when_another_leads_its_term_or_a_newer_one(term):
    """candidate falls back (§5.2)"""
    server = Server()
    server.campaign()
    server.receive("n2", append(term=term))
    assert (server.role, server.term, server.leader_id) == (Role.FOLLOWER, term, "n2")


@pytest.mark.parametrize("candidate", [False, True])
def test_election_timeouts_are_randomised(candidate):
    """randomized timeouts (§5.2)"""
    rng = random.Random(1)
    server = Server(uniform=rng.uniform)
    if candidate:
        server.campaign()
    seen = set()
    for _ in range(50):
        begun_s = server.now_s
        server.campaign()
        seen.add(round(server.now_s - begun_s, 3))
    assert len(seen) > 40
    assert min(seen) >= 1.0
    assert max(seen) <= 2.0


def test_randomised_timeouts_seldom_conflict():
    """randomized and non-conflicting timeouts (§5.2, §9.3)"""
    rng = random.Random(2)
    servers = [Server(node_id, voters=FIVE, uniform=rng.uniform) for node_id in FIVE]
    conflicts = 0
    rounds = 500
    for _ in range(rounds):
        deadlines_s = sorted(server.raft.state.election_timeout_s for server in servers)
        conflicts += deadlines_s[1] - deadlines_s[0] < 0.010  # within one broadcast time of each other
        for server in servers:
            server.campaign()
    assert conflicts / rounds < 0.3


def test_a_refused_vote_does_not_put_off_the_own_election():
    """§5.2: the timer restarts on a leader's message or a vote given, and on nothing else."""
    server = Server(term=2, voted_for="n3")
    deadline_s = server.raft.state.election_deadline_s
    server.wait(0.5)
    server.receive("n2", ask_vote(term=2))
    assert server.raft.state.election_deadline_s == deadline_s
