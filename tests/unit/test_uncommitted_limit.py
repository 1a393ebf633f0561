"""How much a leader lets wait for a majority: beyond it proposals are refused as busy."""

import pytest

from raft_zmq.core import inputs
from raft_zmq.core.messages import Entry, EntryKind
from tests.unit.raft_server import Server, append, members

LIMIT_BYTES = 100


def leader(**options: object) -> Server:
    server = Server(**{"uncommitted_bytes_max": LIMIT_BYTES, **options})
    server.become_leader()
    return server


def busy(server: Server) -> list[int]:
    return [refused.ticket for refused in server.refused if refused.reason == "busy"]


def test_proposals_beyond_the_limit_are_refused_without_a_trace():
    """uncommitted-size limit"""
    server = leader()
    server.propose(b"x" * 60, ticket=1)
    server.propose(b"x" * 60, ticket=2)  # passes the limit, which the next one then meets
    server.propose(b"x", ticket=3)
    assert busy(server) == [3]
    assert [accepted.ticket for accepted in server.accepted] == [1, 2]
    assert server.raft.state.log.last_index == 3


def test_one_proposal_larger_than_the_limit_passes_alone():
    """uncommitted-size limit"""
    server = leader()
    server.propose(b"x" * 1_000, ticket=1)
    server.propose(b"x", ticket=2)
    assert ([accepted.ticket for accepted in server.accepted], busy(server)) == ([1], [2])


@pytest.mark.parametrize(("match_index", "refused"), [(1, [3]), (2, []), (3, [])])
def test_what_is_committed_makes_room(match_index, refused):
    """uncommitted-size limit"""
    server = leader()
    server.propose(b"x" * 60, ticket=1)
    server.propose(b"x" * 60, ticket=2)
    server.acknowledge("n2", match_index)
    server.propose(b"x", ticket=3)
    assert busy(server) == refused


def test_entries_of_earlier_leaders_make_no_room():
    """uncommitted-size limit: they were not counted when they came, so they are not when they are committed"""
    inherited = [Entry(1, 1, EntryKind.COMMAND, b"x" * 500)]
    server = leader(term=1, entries=inherited)
    server.propose(b"x" * 101, ticket=1)
    server.acknowledge("n2", 2)
    assert server.commit_index == 2
    server.propose(b"x", ticket=2)
    assert busy(server) == [2]


def test_a_membership_change_is_not_held_up():
    """uncommitted-size limit: a change may be what brings back the majority"""
    server = leader()
    server.acknowledge("n2")
    server.propose(b"x" * 1_000, ticket=1)
    server.step(inputs.ChangeMembership(2, members("n1", "n2"), ()))
    assert [accepted.ticket for accepted in server.accepted] == [1, 2]


def test_a_new_term_counts_anew():
    """uncommitted-size limit"""
    server = leader()
    server.propose(b"x" * 1_000, ticket=1)
    server.receive("n3", append(2))
    server.become_leader()
    server.propose(b"x", ticket=2)
    assert busy(server) == []
