"""Servers that leave the cluster (§6, thesis 4.2.2 and 4.2.3; rule 27), the leader among them."""

import pytest

from raft_zmq.core import inputs
from raft_zmq.core.messages import AppendEntries
from raft_zmq.core.state import Role
from tests.unit.raft_changes import TICKET, change, leader, names
from tests.unit.raft_group import Group
from tests.unit.raft_server import (
    ELECTION_TIMEOUT_S,
    Server,
    ask_vote,
    members,
    vote,
)


def test_removing_the_leader():
    """removing the leader (§6, thesis 4.2.2; rule 27): it leads until the change commits, without counting itself"""
    server = leader()
    change(server, members("n2", "n3"))
    server.acknowledge("n2")
    assert server.commit_index == 1, "n1 and n2 are a majority of the old, n2 alone is none of the new"
    server.acknowledge("n3")
    assert names(server.raft.state.membership) == ("n2 n3", "", "")
    server.acknowledge("n2")
    assert (server.role, server.commit_index) == (Role.LEADER, 2), "itself and n2 are no majority of the new"
    server.acknowledge("n3")
    assert (server.role, server.commit_index) == (Role.FOLLOWER, 3)
    server.take_sent()
    server.wait(10 * ELECTION_TIMEOUT_S[1])
    assert (server.role, server.sent) == (Role.FOLLOWER, []), "it knows that it is out"


def test_the_others_go_on_when_the_leader_was_removed():
    """removing the leader (rule 27)"""
    group = Group("n1", "n2", "n3")
    group.elect("n1")
    group.propose(b"before")
    group.step("n1", inputs.ChangeMembership(TICKET, members("n2", "n3"), ()))
    group.run_until(lambda: group["n1"].role is not Role.LEADER)
    group.await_leader("n2", "n3")
    group.propose(b"after")
    group.await_agreement("n2", "n3")
    assert group["n2"].commands() == [b"before", b"after"]


def test_a_removed_follower_learns_of_it_and_falls_silent():
    """rule 27: it does not believe that it is in the cluster"""
    group = Group("n1", "n2", "n3")
    term = group.elect("n1").term
    group.step("n1", inputs.ChangeMembership(TICKET, members("n1", "n2"), ()))
    group.run_until(lambda: "n3" not in group["n1"].raft.state.progress)
    assert names(group["n3"].raft.state.membership) == ("n1 n2", "", "")
    group.run(5 * ELECTION_TIMEOUT_S[1])
    assert (group["n3"].role, group["n3"].term, group["n3"].leader_id) == (Role.FOLLOWER, term, "")
    assert group["n1"].role is Role.LEADER


def test_a_leader_goes_on_with_a_removed_server_until_it_knows():
    """rule 27: that is, until it holds the committed entry of its removal; then it gets the commit index and no more"""
    server = leader()
    change(server, members("n1", "n2"))
    for _ in range(2):
        server.acknowledge("n2")
    assert (server.raft.state.membership_index, server.commit_index) == (3, 3)
    assert "n3" in server.raft.state.progress
    server.take_sent()
    server.acknowledge("n3")
    assert [(message.prev_log_index, message.leader_commit) for message in server.sent_to("n3", AppendEntries)] == [
        (3, 3)
    ]
    assert "n3" not in server.raft.state.progress


@pytest.mark.parametrize("pre_vote", [False, True])
def test_a_removed_server_that_does_not_know_disrupts_nobody(pre_vote):
    """rule 27 (thesis 4.2.3): it was away when it was removed, and asks for votes when it returns"""
    group = Group("n1", "n2", "n3", "n4", pre_vote=pre_vote)
    term = group.elect("n1").term
    group.isolate("n4")
    group.step("n1", inputs.ChangeMembership(TICKET, members("n1", "n2", "n3"), ()))
    group.run(3 * ELECTION_TIMEOUT_S[1])
    assert "n4" not in group["n1"].raft.state.progress, "the leader has given up on telling it"
    group.heal()
    group.run(10 * ELECTION_TIMEOUT_S[1])
    assert any(sender == "n4" for sender, _, _ in group.delivered)
    assert [(group[name].leader_id, group[name].term) for name in ("n1", "n2", "n3")] == [("n1", term)] * 3


def test_a_learner_votes_when_asked_as_it_may_be_a_voter_by_now():
    """thesis 4.2.2: its configuration may be old, and without its vote nobody might be elected"""
    server = Server("n4", learners=("n4",))
    server.receive("n1", ask_vote(1))
    assert server.take_sent() == [("n1", vote(1))]
