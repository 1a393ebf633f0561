"""A data directory is who a server is: an empty disk never comes back under its old identity (rule 15)."""

import msgspec
import pytest

from raft_zmq.core import bootstrap, inputs
from raft_zmq.core import membership as memberships
from raft_zmq.core.events import PeerReincarnated
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import Entry, EntryKind, HardState, Hello
from raft_zmq.core.state import Role
from raft_zmq.core.stored import Stored
from tests.unit.raft_group import Group
from tests.unit.raft_server import (
    ELECTION_TIMEOUT_S,
    Server,
    append,
    append_reply,
    ask_vote,
    incarnation,
    log,
    members,
    refusal,
    vote,
)

THREE = ("n1", "n2", "n3")
EMPTY_DISK = Stored(base_membership=Membership(voters=tuple(Member(node_id) for node_id in THREE)))


def hello(*, established: bool = False, recorded: str = "", reply: bool = True) -> Hello:
    return Hello(term=0, established=established, recorded=recorded, reply=reply)


def fresh_group(*node_ids: str) -> Group:
    group = Group()
    for node_id in node_ids:
        group.start(node_id, EMPTY_DISK)
    return group


# the first election


def test_an_empty_disk_asks_the_others_before_it_votes():
    """rule 15: it may be a lost one"""
    server = Server(stored=EMPTY_DISK)
    server.wait(5 * ELECTION_TIMEOUT_S[1])
    assert (server.role, server.term) == (Role.FOLLOWER, 0)
    assert {type(message) for _, message in server.take_sent()} == {Hello}
    server.receive("n2", ask_vote(1))
    assert server.take_sent() == [("n2", vote(1, granted=False))]


def test_confirmed_by_all_it_becomes_a_voter():
    """rule 15: from then on exactly these data directories are the members, and that is on disk first"""
    server = Server(stored=EMPTY_DISK)
    server.receive("n2", hello())
    assert not server.raft.state.may_vote()
    server.raft.step(0.0, inputs.Received("n3", incarnation("n3"), hello(reply=False)))
    ready = server.raft.ready()
    assert ready.base_membership == Membership(voters=members(*THREE))
    assert ready.messages == []
    server.raft.advance()
    server.receive("n2", ask_vote(1))
    assert server.take_sent() == [("n2", vote(1))]


@pytest.mark.parametrize(("recorded", "may_vote"), [("disk-of-n1", True), ("disk that is lost", False), ("", False)])
def test_a_server_that_others_knew_before_does_not_vote(recorded, may_vote):
    """rule 15: its votes and entries of that time are lost, and were counted"""
    server = Server(stored=EMPTY_DISK)
    server.receive("n2", hello())
    server.receive("n3", hello(established=True, recorded=recorded))
    assert server.raft.state.may_vote() is may_vote
    server.wait(5 * ELECTION_TIMEOUT_S[1])
    assert (server.term > 0) is may_vote


def test_an_established_server_answers_what_it_has_recorded():
    server = Server()
    server.receive("n2", hello(reply=False), disk="another disk")
    assert server.take_sent() == [("n2", hello(established=True, recorded="disk-of-n2"))]


def test_a_fresh_cluster_elects_a_leader():
    """rule 15: with all first members there, none of them known before"""
    group = fresh_group(*THREE)
    group.await_leader()
    group.propose(b"x")
    group.await_agreement()


def test_a_fresh_cluster_waits_for_all_its_first_members():
    """rule 15"""
    group = fresh_group("n1", "n2")
    group.run(20.0)
    assert group.leader() is None
    group.start("n3", EMPTY_DISK)
    group.await_leader()


# a restart before the first members are known


def restarted(stored: Stored) -> Server:
    """n1 after a start from that disk, on which no first configuration is written down."""
    return Server(stored=bootstrap.with_first_members(stored, EMPTY_DISK.base_membership.voters))


@pytest.mark.parametrize(
    "stored",
    [
        Stored(),
        Stored(hard_state=HardState(1), entries=log(1, 1)),
        Stored(
            hard_state=HardState(1), snapshot_index=2, snapshot_term=1, snapshot_membership=EMPTY_DISK.base_membership
        ),
        Stored(hard_state=HardState(1), snapshot_index=2, snapshot_term=1),
    ],
    ids=["nothing", "entries", "a snapshot", "a snapshot without members"],
)
def test_a_first_member_asks_on_after_a_restart_whatever_it_holds_by_then(stored):
    """rule 15: a leader that knows it may send entries before it is confirmed by all; it must not forget its seat"""
    server = restarted(stored)
    server.wait(5 * ELECTION_TIMEOUT_S[1])
    assert (server.role, {type(message) for _, message in server.take_sent()}) == (Role.FOLLOWER, {Hello})
    for peer in ("n2", "n3"):
        server.receive(peer, hello(established=True, recorded="disk-of-n1"))
    assert server.raft.state.membership == Membership(voters=members(*THREE))
    assert server.raft.state.membership_index == stored.snapshot_index
    server.campaign()
    assert server.role is Role.CANDIDATE


def test_the_first_members_count_where_the_snapshot_is_of_a_time_before_they_were_known():
    """rule 15: they were written down only after it was taken"""
    snapshot = Stored(snapshot_index=2, snapshot_term=1, snapshot_membership=EMPTY_DISK.base_membership)
    server = restarted(msgspec.structs.replace(snapshot, base_membership=Membership(voters=members(*THREE))))
    assert server.raft.state.may_vote()
    server.campaign()
    assert server.role is Role.CANDIDATE


def test_first_members_count_again_when_the_change_that_followed_them_is_truncated():
    """rules 13 and 15: the first configuration is in no log, so no entry can bring it back"""
    learner = memberships.encode(Membership(voters=members(*THREE), learners=members("n4")))
    change = Entry(1, 1, EntryKind.CONFIGURATION, learner)
    server = restarted(Stored(hard_state=HardState(1), entries=(change,)))
    assert server.raft.state.may_vote()
    server.receive("n2", append(2, entries=log(2)))
    assert server.raft.state.membership == EMPTY_DISK.base_membership


def test_members_by_settings_do_not_count_beside_those_that_are_stored():
    """rule 15: settings name a server, and not its data directory"""
    bound = Membership(voters=members(*THREE))
    for stored in (
        Stored(base_membership=bound),
        Stored(snapshot_index=2, snapshot_term=1, snapshot_membership=bound),
        Stored(entries=(Entry(1, 1, EntryKind.CONFIGURATION, memberships.encode(bound)),)),
    ):
        assert restarted(stored).raft.state.membership == bound


@pytest.mark.parametrize("entries", [(), log(1)])
def test_a_seat_that_is_not_bound_yet_has_no_pre_vote_either(entries):
    """rule 15, thesis 9.6: an election that only this server's vote could win would be lost"""
    server = restarted(Stored(entries=entries))
    server.take_sent()
    server.receive("n2", ask_vote(2, last=(9, 1), pre_vote=True))
    assert server.take_sent() == [("n2", vote(0, granted=False, pre_vote=True))]


# a lost disk


def test_a_lost_disk_gives_no_vote_to_a_candidate():
    """rule 15: the one that was given from it may be forgotten; a grant from another disk is not counted"""
    server = Server()
    server.campaign()
    server.receive("n2", vote(1), disk="another disk")
    assert server.role is Role.CANDIDATE
    server.receive("n2", vote(1))
    assert server.role is Role.LEADER


def test_a_candidate_on_another_disk_is_ignored():
    """rule 15: neither vote nor term moves"""
    server = Server()
    server.receive("n2", ask_vote(7, last=(9, 6)), disk="another disk")
    assert (server.take_sent(), server.term) == ([], 0)


def test_what_another_disk_acknowledges_does_not_commit():
    """rule 15: the member counts under the data directory in the configuration"""
    server = Server(voters=("n1", "n2", "n3", "n4", "n5"))
    server.become_leader(votes=("n2", "n3"))
    for follower in ("n2", "n3"):
        server.receive(follower, append_reply(1, 1), disk="another disk")
    assert server.commit_index == 0
    server.acknowledge("n4")
    assert server.commit_index == 0
    server.acknowledge("n5")
    assert server.commit_index == 1


def test_a_server_that_answers_from_another_disk_holds_nothing():
    """rule 15: what it acknowledged before is lost, so it gets the log from the start"""
    server = Server(term=1, entries=log(1, 1))
    server.become_leader()
    server.acknowledge("n2")
    server.take_sent()
    server.receive("n2", refusal(2, prev_log_index=3, hint=(0, 0)), disk="another disk")
    assert server.raft.state.progress["n2"].match_index == 0
    server.receive("n2", refusal(2, prev_log_index=3, hint=(0, 0)), disk="another disk")
    assert [message.prev_log_index for to, message in server.sent if to == "n2"][-1] == 0


def test_a_member_on_another_disk_becomes_a_learner_and_nobody_else_does():
    """rule 15: by a change of the membership like any other"""
    server = Server()
    server.become_leader()
    server.acknowledge("n2")
    server.acknowledge("n3")
    server.receive("n3", append_reply(1, 0), disk="another disk")
    server.wait(0.2)
    (reincarnated,) = [event for event in server.events if isinstance(event, PeerReincarnated)]
    assert (reincarnated.recorded, reincarnated.found) == ("disk-of-n3", "another disk")
    membership = server.raft.state.membership
    assert membership.outgoing == members(*THREE)
    assert membership.voters == members("n1", "n2")
    assert [(learner.node_id, learner.incarnation) for learner in membership.learners] == [("n3", "another disk")]


@pytest.mark.parametrize("wiped", ["n2", "n1"])
def test_a_wiped_server_comes_back_as_learner_and_is_promoted(wiped):
    """rule 15: a follower, and the leader itself; no vote is given from the empty disk meanwhile"""
    group = Group(*THREE)
    group.elect("n1")
    group.propose(b"before")
    group.await_agreement()
    group.stop(wiped)
    group.await_leader(*(set(THREE) - {wiped}))
    group.start(wiped, EMPTY_DISK, incarnation="new disk")
    server = group[wiped]

    def promoted() -> bool:
        return server.raft.state.may_vote() and not server.raft.state.membership.joint

    group.run_until(promoted)
    assert server.raft.state.membership.member(wiped) == Member(wiped, incarnation="new disk")
    group.propose(b"after")
    group.await_agreement()
    assert server.commands() == [b"before", b"after"]
    group.stop(next(iter(set(THREE) - {wiped})))
    group.await_leader()
    group.propose(b"with its vote")
    group.run_until(lambda: server.commands()[-1] == b"with its vote")


def test_a_wiped_majority_elects_nobody():
    """rule 15: the entry that only the third still holds was acknowledged, and must not be forgotten"""
    group = Group(*THREE)
    group.elect("n1")
    group.isolate("n3")
    group.propose(b"acknowledged")
    group.await_agreement("n1", "n2")
    group.stop("n2")
    group.stop("n1")
    group.heal()
    for node_id in ("n1", "n2"):
        group.start(node_id, EMPTY_DISK, incarnation=f"new disk of {node_id}")
    group.run(60.0)
    assert group.leader() is None


def test_a_follower_learns_its_own_membership_from_the_log():
    """rule 15: whether this data directory has a vote is for the configuration to say"""
    server = Server(stored=msgspec.structs.replace(EMPTY_DISK, base_membership=Membership()), incarnation="new disk")
    server.receive("n2", append(1, entries=log(1)))
    assert not server.raft.state.may_vote()
    server.wait(5 * ELECTION_TIMEOUT_S[1])
    assert server.role is Role.FOLLOWER
