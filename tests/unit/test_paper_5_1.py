"""Raft basics (§5.1) and Rules for Servers, All Servers (Figure 2): terms."""

import pytest

from raft_zmq.core.state import Role
from tests.unit.raft_server import Server, append, append_reply, ask_vote, vote


def make(role: Role) -> Server:
    server = Server(term=1)
    if role is not Role.FOLLOWER:
        server.campaign()
    if role is Role.LEADER:
        server.receive("n2", vote(2))
    assert server.role is role
    server.take_sent()
    return server


ROLES = [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER]


@pytest.mark.parametrize("role", ROLES)
def test_every_role_updates_its_term_from_a_message_and_follows(role):
    """update term from message (§5.1)"""
    server = make(role)
    server.receive("n2", append(term=7))
    assert (server.role, server.term, server.leader_id) == (Role.FOLLOWER, 7, "n2")


@pytest.mark.parametrize("role", [Role.CANDIDATE, Role.LEADER])
def test_a_newer_term_in_a_reply_makes_it_follow_too(role):
    """update term from message (§5.1)"""
    server = make(role)
    server.receive("n2", append_reply(9, 0) if role is Role.LEADER else vote(9, granted=False))
    assert (server.role, server.term) == (Role.FOLLOWER, 9)


@pytest.mark.parametrize("role", ROLES)
def test_every_role_rejects_an_append_of_a_stale_term_and_tells_its_own(role):
    """reject stale term (§5.1; rule 10)"""
    server = make(role)
    term, leader = server.term, server.leader_id
    server.receive("n3", append(term=0))
    assert (server.term, server.leader_id, server.role) == (term, leader, role)
    ((to, reply),) = server.take_sent()
    assert (to, reply.term, reply.ok) == ("n3", term, False)


def test_a_stale_vote_request_is_refused_with_the_newer_term():
    """reject stale term (§5.1)"""
    server = Server(term=5)
    server.receive("n2", ask_vote(term=4))
    ((_, reply),) = server.take_sent()
    assert (reply.term, reply.granted) == (5, False)


def test_a_server_starts_as_follower_even_when_it_led_before():
    """start as follower (§5.2)"""
    assert Server(term=3, voted_for="n1").role is Role.FOLLOWER


def test_a_newer_term_forgets_the_vote_and_the_same_term_does_not():
    """Figure 2: votedFor is of the current term."""
    server = Server(term=2, voted_for="n3")
    server.receive("n2", ask_vote(term=2))
    assert server.take_sent()[0][1].granted is False
    server.receive("n2", ask_vote(term=3))
    assert server.take_sent()[0][1].granted is True
