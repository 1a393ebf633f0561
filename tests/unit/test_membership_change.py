"""Cluster membership changes by joint consensus (§6, thesis 4), with learners."""

import pytest

from raft_zmq.core import inputs
from raft_zmq.core import membership as memberships
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Entry, EntryKind
from raft_zmq.core.state import Role
from raft_zmq.core.stored import Stored
from tests.unit.raft_changes import TICKET, change, leader, names, patient, reasons
from tests.unit.raft_group import Group
from tests.unit.raft_server import (
    Server,
    append,
    log,
    members,
    vote,
)


def configuration(index: int, term: int, membership: Membership) -> Entry:
    return Entry(index, term, EntryKind.CONFIGURATION, memberships.encode(membership))


# one change at a time, and none before the first commit of the term


def test_no_change_before_an_entry_of_the_own_term_is_committed():
    """rule 12"""
    server = Server()
    server.become_leader()
    change(server, members("n1", "n2"))
    assert reasons(server) == ["not_ready"]
    server.acknowledge("n2")
    change(server, members("n1", "n2"))
    assert [accepted.first_index for accepted in server.accepted] == [2]


def test_one_change_at_a_time():
    """rule 12: not while the joint configuration, or the one after it, is uncommitted"""
    server = leader()
    change(server, members("n1", "n2"))
    for _ in range(2):
        change(server, members("n1", "n3"))
        server.acknowledge("n2")
    assert reasons(server) == ["change_in_progress"] * 2
    assert names(server.raft.state.membership) == ("n1 n2", "", "")
    change(server, members("n1"))
    assert [accepted.first_index for accepted in server.accepted] == [2, 4]


def test_a_change_of_learners_alone_needs_no_joint_configuration():
    """rule 12, thesis 4.2.1: the voters stay the same, and still it is one change at a time"""
    server = leader()
    change(server, members("n1", "n2", "n3"), patient("n4"))
    assert names(server.raft.state.membership) == ("n1 n2 n3", "", "n4")
    change(server, members("n1", "n2", "n3"), ())
    assert reasons(server) == ["change_in_progress"]


@pytest.mark.parametrize(
    ("voters", "learners", "reason"),
    [
        ((), (), "invalid"),
        (("n1", "n1"), (), "invalid"),
        (("n1", "n2"), ("n2",), "invalid"),
        (("n1", "n2", "n3", "n9"), (), "not_ready"),  # a server nobody has seen
    ],
)
def test_a_change_that_makes_no_sense_leaves_no_trace(voters, learners, reason):
    server = leader()
    change(server, tuple(member for name in voters for member in members(name)), members(*learners))
    assert (reasons(server), server.accepted) == ([reason], [])
    assert server.log_terms() == [1]


# a configuration counts from when it is appended


@pytest.mark.parametrize(("half", "rest"), [(("n2", "n3"), "n4"), (("n4", "n5"), "n2")])
def test_a_leader_uses_a_new_configuration_from_when_it_appends_it(half, rest):
    """rule 13 (§6): the change itself needs both majorities at once"""
    server = leader(learners=("n4", "n5"))
    change(server, members("n1", "n4", "n5"))
    assert names(server.raft.state.membership) == ("n1 n4 n5", "n1 n2 n3", "")
    for follower in half:
        server.acknowledge(follower)
    assert server.commit_index == 1, "one half alone"
    server.acknowledge(rest)
    assert server.commit_index == 2, "both"


def test_a_follower_uses_a_configuration_before_it_is_committed():
    """rule 13 (§6): the latest in its log"""
    server = Server(term=1)
    joint = Membership(members("n1", "n4", "n5"), members("n1", "n2", "n3"))
    server.receive("n2", append(1, entries=[configuration(1, 1, joint)]))
    assert (server.raft.state.membership, server.commit_index) == (joint, 0)


@pytest.mark.parametrize("kept", [0, 1])
def test_a_configuration_is_rolled_back_with_its_entry(kept):
    """rule 13: when that is truncated, and the one before it when that goes too"""
    server = Server(term=1)
    first = server.raft.state.membership
    joint = Membership(members("n1", "n4", "n5"), members("n1", "n2", "n3"))
    final = Membership(members("n1", "n4", "n5"))
    server.receive("n2", append(1, entries=[configuration(1, 1, joint), configuration(2, 1, final)]))
    assert server.raft.state.membership == final
    server.receive("n3", append(2, prev=(kept, kept), entries=[Entry(kept + 1, 2, EntryKind.NOOP, b"")]))
    assert server.raft.state.membership == (joint if kept else first)
    server.take_sent()
    server.campaign()
    asked = {to for to, _ in server.take_sent()}
    assert asked == ({"n2", "n3", "n4", "n5"} if kept else {"n2", "n3"}), "and so who is asked for votes"


def test_a_restarted_server_finds_its_configuration_in_its_log():
    """rule 13"""
    joint = Membership(members("n1", "n4", "n5"), members("n1", "n2", "n3"))
    server = Server(term=1, entries=[*log(1), configuration(2, 1, joint)])
    assert server.raft.state.membership == joint


@pytest.mark.parametrize(
    ("votes", "role"),
    [(("n2", "n3"), Role.CANDIDATE), (("n4", "n5"), Role.CANDIDATE), (("n2", "n4"), Role.LEADER)],
)
def test_a_joint_election_needs_both_majorities(votes, role):
    """§6"""
    joint = Membership(members("n1", "n4", "n5"), members("n1", "n2", "n3"))
    server = Server(term=1, entries=[configuration(1, 1, joint)])
    server.campaign()
    for voter in votes:
        server.receive(voter, vote(2))
    assert server.role is role


# the joint configuration is left


def test_the_leader_leaves_a_committed_joint_configuration():
    """§6: Cnew is appended once Cold,new is committed, and the change is done once Cnew is"""
    server = leader()
    change(server, members("n1", "n2"))
    assert names(server.raft.state.membership) == ("n1 n2", "n1 n2 n3", "")
    server.acknowledge("n2")
    assert names(server.raft.state.membership) == ("n1 n2", "", "")
    assert (server.raft.state.membership_index, server.commit_index) == (3, 2)
    server.acknowledge("n2")
    assert server.commit_index == 3


@pytest.mark.parametrize("committed", [False, True])
def test_a_new_leader_leaves_the_joint_configuration_it_finds(committed):
    """rule 14: whether or not it was committed when the old leader died"""
    joint = Membership(members("n1", "n2"), members("n1", "n2", "n3"))
    server = Server(term=1, entries=[configuration(1, 1, joint)], commit_index=int(committed))
    server.become_leader()
    assert server.raft.state.membership == joint
    server.acknowledge("n2")
    assert names(server.raft.state.membership) == ("n1 n2", "", "")


def test_a_change_outlives_its_leader():
    """rule 14: the leader that began it is gone for good"""
    group = Group("n1", "n2", "n3", "n4", "n5")
    group.elect("n1")
    group.step("n1", inputs.ChangeMembership(TICKET, members("n1", "n2", "n3"), ()))
    group.run(0.015)
    assert group["n2"].raft.state.membership.joint
    group.stop("n1")
    group.await_leader()
    group.run_until(lambda: names(group["n2"].raft.state.membership) == ("n1 n2 n3", "", ""))
    group.propose(b"after")
    group.await_agreement("n2", "n3")


def test_a_proposal_during_a_joint_change():
    """a proposal during a joint change: taken in, and committed by both majorities"""
    server = leader(learners=("n4", "n5"))
    change(server, members("n1", "n4", "n5"))
    server.propose(b"x", ticket=9)
    assert server.accepted[-1].first_index == 3
    for follower in ("n2", "n3"):
        server.acknowledge(follower)
    assert server.commit_index == 1
    server.acknowledge("n5", 2)
    assert server.commit_index == 2
    server.acknowledge("n4", 3)
    assert [entry.data for entry in server.applied if entry.kind is EntryKind.COMMAND] == [b"x"]


# everybody at once


def test_a_change_of_every_member_at_once():
    """a change of every member at once (3 old → 3 new): the leader, too, is not among the new ones"""
    group = Group("n1", "n2", "n3")
    group.elect("n1")
    for node_id in ("n4", "n5", "n6"):
        group.start(node_id)
    group.propose(b"before")
    group.step("n1", inputs.ChangeMembership(1, members("n1", "n2", "n3"), patient("n4", "n5", "n6")))
    group.await_agreement("n1", "n2", "n3", "n4", "n5", "n6")
    group.run(1.0)
    group.step("n1", inputs.ChangeMembership(2, members("n4", "n5", "n6"), ()))
    group.propose(b"meanwhile")
    new = group.await_leader("n4", "n5", "n6")
    for node_id in ("n1", "n2", "n3"):
        group.stop(node_id)
    group.propose(b"after")
    group.await_agreement("n4", "n5", "n6")
    assert names(new.raft.state.membership) == ("n4 n5 n6", "", "")
    assert new.commands() == [b"before", b"meanwhile", b"after"]


# with snapshots


def test_a_snapshot_in_the_middle_of_a_membership_change():
    """a snapshot in the middle of a membership change: it holds the joint configuration, which is left all the same"""
    group = Group("n1", "n2", "n3", trailing_entries=0)
    leader_ = group.elect("n1")
    group.isolate("n3")
    group.propose(b"x" * 100, b"y" * 100)
    group.lost = lambda sender, to, message: getattr(message, "entries", ()) and message.entries[-1].index >= 5
    group.step("n1", inputs.ChangeMembership(TICKET, members("n1", "n2"), members("n3")))
    group.run_until(lambda: leader_.raft.state.last_applied == 4)
    assert names(leader_.raft.membership_at(4)) == ("n1 n2", "n1 n2 n3", "n3")
    leader_.take_snapshot()
    assert leader_.raft.state.log.first_index == 5
    group.restart("n1")
    group.stop("n2")
    assert names(group["n1"].raft.state.membership) == ("n1 n2", "", "n3"), "from the log"
    group.heal()
    group.restart("n2")
    group.await_leader()
    group.run_until(lambda: names(group["n3"].raft.state.membership) == ("n1 n2 n3", "", ""))
    group.await_agreement()


def test_a_follower_restored_from_a_joint_snapshot_is_in_the_joint_configuration():
    """a snapshot in the middle of a membership change: the receiver, and a restart from it"""
    joint = Membership(members("n1", "n4", "n5"), members("n1", "n2", "n3"))
    stored = Stored(snapshot_index=9, snapshot_term=2, snapshot_membership=joint)
    server = Server(stored=stored)
    assert server.raft.state.membership == joint
    server.campaign()
    assert sorted(to for to, _ in server.take_sent()) == ["n2", "n3", "n4", "n5"]


def test_a_snapshot_holds_the_configuration_of_its_index():
    """a snapshot in the middle of a membership change: not the newest one, which may yet be rolled back"""
    server = leader(learners=("n4",))
    change(server, members("n1", "n2", "n3", "n4"))
    assert names(server.raft.membership_at(1)) == ("n1 n2 n3", "", "n4")
    assert names(server.raft.membership_at(2)) == ("n1 n2 n3 n4", "n1 n2 n3", "")
