"""Learners (thesis 4.2.1): servers that get the log and have no vote, and their promotion."""

from raft_zmq.core import inputs
from raft_zmq.core.progress import ProgressState
from raft_zmq.core.state import Role
from tests.unit.raft_changes import TICKET, change, leader, names, patient, reasons
from tests.unit.raft_group import Group
from tests.unit.raft_server import (
    ELECTION_TIMEOUT_S,
    HEARTBEAT_INTERVAL_S,
    Server,
    append_reply,
    log,
    members,
    vote,
)


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


def test_a_learner_that_fell_behind_is_not_promoted():
    """a learner's promotion while it lags: it had caught up once, and streams, and does not follow"""
    server = leader(learners=("n4",))
    for _ in range(4):
        server.propose(b"x")
        server.acknowledge("n2")
        server.wait(HEARTBEAT_INTERVAL_S)
    server.acknowledge("n4", 2)
    assert server.raft.state.progress["n4"].state is ProgressState.REPLICATE
    change(server, members("n1", "n2", "n3", "n4"))
    assert reasons(server) == ["not_ready"]


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


def test_a_learner_that_came_back_with_another_disk_is_promoted_under_that_one():
    """what has caught up is the new data directory; under the old one it could never confirm anything"""
    server = leader()
    voters = server.raft.state.membership.voters

    def acknowledge_all(disk: str) -> None:
        last_index = server.raft.state.log.last_index
        for _ in range(2):  # the first answer after a change of disks only shows where the logs agree
            server.receive("n4", append_reply(server.term, last_index), disk=disk)
            server.acknowledge("n2")
            server.wait(HEARTBEAT_INTERVAL_S)

    change(server, voters, patient("n4"))
    acknowledge_all("old")
    change(server, voters, (*server.raft.state.membership.learners, *patient("n5")))  # writes down where n4 is
    acknowledge_all("old")
    assert server.raft.state.membership.member("n4").incarnation == "old"
    acknowledge_all("new")
    n4, n5 = server.raft.state.membership.learners
    change(server, (*voters, n4), (n5,))
    assert server.raft.state.membership.joint
    assert server.raft.state.membership.member("n4").incarnation == "new"


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
