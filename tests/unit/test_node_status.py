"""When a node counts as ready: its pod gets requests, and the next pod may be replaced."""

import pytest

from raft_zmq.core.raft import COMMITTED_ENTRIES_MAX
from raft_zmq.node.status import is_ready
from tests.unit.raft_server import Server, append, log


def test_a_leader_is_ready_once_it_has_committed_and_applied_an_entry_of_its_own():
    server = Server()
    assert not is_ready(server.raft.state)
    server.become_leader()
    assert not is_ready(server.raft.state)
    server.acknowledge("n2")
    assert is_ready(server.raft.state)


@pytest.mark.parametrize(("behind", "ready"), [(0, True), (1, True), (COMMITTED_ENTRIES_MAX, True), (10_000, False)])
def test_what_is_applied_in_one_go_does_not_count(behind, ready):
    """a node under load is always asked between a commit and its application"""
    server = Server()
    server.become_leader()
    server.acknowledge("n2")
    state = server.raft.state
    state.commit_index = state.last_applied + behind
    assert is_ready(state) == ready


def test_a_follower_that_lacks_most_of_what_the_leader_has_committed_is_not_ready():
    """the next pod of an upgrade would take the majority away from it"""
    server = Server(term=1, entries=log(1, 1))
    server.receive("n2", append(1, (2, 1), commit=50_000))
    state = server.raft.state
    assert (state.commit_index, state.leader_commit_index) == (2, 50_000)
    assert not is_ready(state)
    server.receive("n2", append(1, (2, 1), commit=3))
    assert is_ready(state)


def test_a_follower_with_an_empty_disk_is_not_ready_however_little_it_lacks():
    """few entries may hold much, and its snapshot may be on the way"""
    server = Server()
    server.receive("n2", append(1, commit=3))
    assert not is_ready(server.raft.state)
    server.receive("n2", append(1, entries=log(1, 1), commit=3))
    assert is_ready(server.raft.state)
