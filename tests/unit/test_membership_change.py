"""Cluster membership changes by joint consensus (§6, thesis 4), with learners."""

import pytest

from raft_zmq.core import inputs
from raft_zmq.core import membership as memberships
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import Entry, EntryKind, HardState
from raft_zmq.core.progress import ProgressState
from raft_zmq.core.state import Role
from raft_zmq.core.stored import Stored
from tests.unit.raft_group import Group
from tests.unit.raft_server import ELECTION_TIMEOUT_S, Server, append, ask_vote, incarnation, log, members, vote

TICKET = 3


def change(server: Server, voters: tuple[Member, ...], learners: tuple[Member, ...] = ()) -> None:
    server.step(inputs.ChangeMembership(TICKET, voters, learners))


def leader(*, learners: tuple[str, ...] = (), term: int = 0, entries: tuple[Entry, ...] = ()) -> Server:
    """A leader of n1, n2, n3 whose followers and (patient) learners hold its whole log."""
    first = Membership(voters=members("n1", "n2", "n3"), learners=patient(*learners))
    server = Server(stored=Stored(hard_state=HardState(term), base_membership=first, entries=entries))
    server.become_leader()
    for follower in ("n2", "n3", *learners):
        server.acknowledge(follower)
    server.take_sent()
    return server


def patient(*node_ids: str) -> tuple[Member, ...]:
    """Learners that stay learners until someone promotes them."""
    return tuple(Member(node_id, incarnation=incarnation(node_id), auto_promote=False) for node_id in node_ids)


def reasons(server: Server) -> list[str]:
    return [refused.reason for refused in server.refused]


def configuration(index: int, term: int, membership: Membership) -> Entry:
    return Entry(index, term, EntryKind.CONFIGURATION, memberships.encode(membership))


def names(membership: Membership) -> tuple[str, str, str]:
    """Voters, outgoing voters and learners, as "n1 n2"."""
    groups = (membership.voters, membership.outgoing, membership.learners)
    voters, outgoing, learners = (" ".join(member.node_id for member in group) for group in groups)
    return voters, outgoing, learners


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


def test_a_leader_uses_a_new_configuration_from_when_it_appends_it():
    """rule 13 (§6): entries and the change itself need both majorities at once"""
    server = leader(learners=("n4", "n5"))
    change(server, members("n1", "n4", "n5"))
    assert names(server.raft.state.membership) == ("n1 n4 n5", "n1 n2 n3", "")
    server.acknowledge("n2")
    server.acknowledge("n3")
    assert server.commit_index == 1, "the old majority alone"
    server.acknowledge("n4")
    assert server.commit_index == 2, "with the new majority"


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


# learners


def test_a_learner_gets_the_log_and_has_no_say():
    """thesis 4.2.1"""
    server = Server(learners=("n4",))
    server.become_leader()
    server.acknowledge("n4")
    assert server.commit_index == 0
    learner = Server("n4", learners=("n4",))
    learner.wait(5 * ELECTION_TIMEOUT_S[1])
    assert (learner.role, learner.term, learner.sent) == (Role.FOLLOWER, 0, [])


def test_a_learners_vote_does_not_count():
    """thesis 4.2.1"""
    server = Server(learners=("n4",))
    server.campaign()
    server.receive("n4", vote(1))
    assert server.role is Role.CANDIDATE


def test_a_learner_is_promoted_once_it_has_caught_up():
    """thesis 4.2.1: on its own"""
    server = leader()
    server.propose(b"x")
    change(server, members("n1", "n2", "n3"), members("n4"))
    server.acknowledge("n2")
    assert names(server.raft.state.membership) == ("n1 n2 n3", "", "n4")
    server.acknowledge("n4")
    assert names(server.raft.state.membership) == ("n1 n2 n3 n4", "n1 n2 n3", "")


def test_a_learner_that_lags_is_not_promoted():
    """a learner's promotion while it lags: refused, and it does not happen on its own either"""
    server = leader(entries=log(1, 1, 1), term=1)
    change(server, members("n1", "n2", "n3"), patient("n4"))
    server.acknowledge("n2")
    server.acknowledge("n4", 3)
    change(server, members("n1", "n2", "n3", "n4"))
    assert reasons(server) == ["not_ready"]
    assert names(server.raft.state.membership) == ("n1 n2 n3", "", "n4")
    server.acknowledge("n4")
    change(server, members("n1", "n2", "n3", "n4"))
    assert server.raft.state.membership.joint


def test_a_lagging_learner_is_promoted_when_it_has_caught_up():
    """a learner's promotion while it lags: from a log far behind, while writes go on"""
    group = Group("n1", "n2", "n3", append_bytes_max=10)
    group.elect("n1")
    group.start("n4")
    group.propose(*(b"%d" % number for number in range(50)))
    group.step("n1", inputs.ChangeMembership(TICKET, members("n1", "n2", "n3"), members("n4")))
    group.run(0.015)
    group.propose(b"one more")
    group.run(0.015)
    assert names(group["n1"].raft.state.membership) == ("n1 n2 n3", "", "n4")
    group.run_until(lambda: names(group["n1"].raft.state.membership) == ("n1 n2 n3 n4", "", ""))
    group.await_agreement()


def test_a_learner_at_the_end_of_a_slow_link_is_promoted_under_load():
    """thesis 4.2.1: it need not hold what was committed just now; it is always one message behind"""
    group = Group("n1", "n2", "n3")
    group.elect("n1")
    group.start("n4")
    group.far = {"n4"}
    group.step("n1", inputs.ChangeMembership(TICKET, members("n1", "n2", "n3"), members("n4")))
    for number in range(400):
        group.propose(b"%d" % number)
        group.run(0.005)
    assert names(group["n1"].raft.state.membership) == ("n1 n2 n3 n4", "", "")


def test_a_silent_learner_is_not_promoted():
    """thesis 4.2.1: as a voter it would hold up the others"""
    group = Group("n1", "n2", "n3")
    group.elect("n1")
    group.step("n1", inputs.ChangeMembership(TICKET, members("n1", "n2", "n3"), members("n4")))
    group.run(5.0)
    assert names(group["n1"].raft.state.membership) == ("n1 n2 n3", "", "n4")


def test_a_patient_learner_waits_for_its_promotion():
    group = Group("n1", "n2", "n3", learners=())
    group.elect("n1")
    group.start("n4")
    group.step("n1", inputs.ChangeMembership(TICKET, members("n1", "n2", "n3"), patient("n4")))
    group.run(5.0)
    assert names(group["n1"].raft.state.membership) == ("n1 n2 n3", "", "n4")
    assert group["n1"].raft.state.progress["n4"].state is ProgressState.REPLICATE


def test_a_voter_becomes_a_learner():
    """§6: several additions, removals, promotions and demotions are one change"""
    group = Group("n1", "n2", "n3", "n4")
    group.elect("n1")
    group.start("n5")
    group.step("n1", inputs.ChangeMembership(TICKET, members("n1", "n2"), patient("n3", "n5")))
    group.run_until(lambda: names(group["n1"].raft.state.membership) == ("n1 n2", "", "n3 n5"))
    group.await_agreement("n1", "n2", "n3", "n5")
    group.stop("n2")
    group.propose(b"x")
    group.run(1.0)
    assert group["n1"].commands() == [], "n3 has no say any more"


# everybody, and the leader


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


# removed servers


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
