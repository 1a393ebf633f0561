"""Leadership transfer (thesis 3.10)."""

import pytest

from raft_zmq.core import inputs
from raft_zmq.core.events import SteppedDown
from raft_zmq.core.messages import InstallSnapshot, TimeoutNow
from raft_zmq.core.ready import TransferDone
from raft_zmq.core.state import Role
from tests.unit.raft_group import Group, Machine
from tests.unit.raft_server import ELECTION_TIMEOUT_S, Server, append, ask_vote, members

TICKET = 5


def transfer(server: Server, target: str, ticket: int = TICKET) -> None:
    server.step(inputs.TransferLeadership(ticket, target))


def leader(**options: object) -> Server:
    """A leader of three whose followers hold its whole log."""
    server = Server(**options)
    server.become_leader()
    for follower in ("n2", "n3"):
        server.acknowledge(follower)
    server.take_sent()
    return server


def led_group(**options: object) -> tuple[Group, Machine]:
    group = Group("n1", "n2", "n3", **options)
    return group, group.elect("n1")


def test_transfer_to_an_up_to_date_server():
    """transfer to an up-to-date node: told at once, elected in spite of the others' leader (rule 11)"""
    group, old = led_group()
    begun_s = group.now_s
    group.step("n1", inputs.TransferLeadership(TICKET, "n2"))
    group.run_until(lambda: group["n2"].role is Role.LEADER)
    assert group.now_s - begun_s < ELECTION_TIMEOUT_S[0], "no election timeout is waited for"
    group.await_agreement()
    assert old.transfers == [TransferDone(TICKET, "n2")]
    assert old.role is Role.FOLLOWER


def test_a_leader_that_handed_over_says_so():
    """thesis 3.10: the reason why it stepped down"""
    group, old = led_group()
    group.step("n1", inputs.TransferLeadership(TICKET, "n2"))
    group.await_leader("n2")
    assert [event.reason for event in old.events if isinstance(event, SteppedDown)] == ["transferred"]


def test_transfer_to_a_slow_server_waits_until_it_has_caught_up():
    """transfer to a slow node: told once its log equals the leader's"""
    server = leader()
    server.propose(b"x", b"y")
    transfer(server, "n2")
    assert server.sent_to("n2", TimeoutNow) == []
    server.acknowledge("n2", 2)
    assert server.sent_to("n2", TimeoutNow) == []
    server.acknowledge("n2", 3)
    server.acknowledge("n2", 3)
    assert server.sent_to("n2", TimeoutNow) == [TimeoutNow(term=1)], "told once"


def test_transfer_to_a_snapshotting_server():
    """transfer to a snapshotting node: it leads once it has the snapshot and the entries after it"""
    group, leader_ = led_group(trailing_entries=0)
    group.isolate("n3")
    group.propose(*(b"%d" % number for number in range(30)))
    group.await_agreement("n1", "n2")
    leader_.take_snapshot()
    group.propose(b"after the snapshot")
    group.await_agreement("n1", "n2")
    group.heal()
    group.run_until(lambda: any(isinstance(message, InstallSnapshot) for _, _, message in group.delivered))
    group.step("n1", inputs.TransferLeadership(TICKET, "n3"))
    assert group["n3"].role is not Role.LEADER
    group.run_until(lambda: group["n3"].role is Role.LEADER, limit_s=ELECTION_TIMEOUT_S[1])
    group.await_agreement()
    assert leader_.transfers == [TransferDone(TICKET, "n3")]
    assert len(group["n3"].commands()) == 31


@pytest.mark.parametrize("target", ["n4", "n9"])
def test_transfer_to_a_server_that_has_no_vote(target):
    """thesis 3.10: a learner or a stranger cannot lead"""
    server = leader(learners=("n4",))
    transfer(server, target)
    assert [(refused.ticket, refused.reason) for refused in server.refused] == [(TICKET, "invalid")]
    assert target in server.refused[0].detail
    server.propose(b"x")
    assert server.accepted, "it goes on leading"


def test_transfer_to_a_removed_server():
    """transfer to a removed node: refused"""
    group, leader_ = led_group()
    group.step("n1", inputs.ChangeMembership(1, members("n1", "n2"), ()))
    group.run_until(lambda: "n3" not in leader_.raft.state.membership.node_ids())
    group.step("n1", inputs.TransferLeadership(TICKET, "n3"))
    assert [(refused.ticket, refused.reason) for refused in leader_.refused] == [(TICKET, "invalid")]
    assert leader_.role is Role.LEADER


def test_transfer_to_an_unreachable_server_is_given_up():
    """transfer to an unreachable node: after an election timeout the leader takes proposals again"""
    group, leader_ = led_group()
    group.isolate("n3")
    group.propose(b"x")
    group.step("n1", inputs.TransferLeadership(TICKET, "n3"))
    group.run(ELECTION_TIMEOUT_S[1] - 0.01)
    assert leader_.transfers == []
    group.run(0.02)
    assert leader_.transfers == [TransferDone(TICKET, "")]
    group.propose(b"y")
    group.await_agreement("n1", "n2")
    assert leader_.role is Role.LEADER
    assert leader_.commands() == [b"x", b"y"]


def test_a_transfer_whose_word_is_lost_is_given_up():
    """transfer to an unreachable node: it had caught up, and TimeoutNow did not reach it"""
    group, leader_ = led_group()
    group.lost = lambda sender, to, message: isinstance(message, TimeoutNow)
    group.step("n1", inputs.TransferLeadership(TICKET, "n2"))
    group.run(ELECTION_TIMEOUT_S[1])
    assert leader_.transfers == [TransferDone(TICKET, "")]
    assert leader_.role is Role.LEADER


def test_transfer_with_proposals_in_flight():
    """transfer with proposals in flight: those before it are kept, new ones are refused without a trace"""
    group, old = led_group()
    group.propose(b"in flight 1", b"in flight 2")
    group.step("n1", inputs.TransferLeadership(TICKET, "n2"))
    group.step("n1", inputs.Propose(7, [b"too late"]))
    assert [(refused.ticket, refused.reason) for refused in old.refused] == [(7, "transferring")]
    group.await_leader("n2")
    group.await_agreement()
    assert [server.commands() for server in group.servers.values()] == [[b"in flight 1", b"in flight 2"]] * 3


def test_a_second_transfer_during_the_first():
    """a second transfer during the first: refused, and the first goes on"""
    group, old = led_group()
    group.isolate("n3")
    group.propose(b"x")
    group.step("n1", inputs.TransferLeadership(TICKET, "n3"))
    group.step("n1", inputs.TransferLeadership(TICKET + 1, "n2"))
    assert [(refused.ticket, refused.reason) for refused in old.refused] == [(TICKET + 1, "transferring")]
    group.heal()
    group.run_until(lambda: bool(old.transfers))
    assert old.transfers == [TransferDone(TICKET, "n3")]


def test_no_membership_change_begins_during_a_transfer():
    """rule 12 and thesis 3.10: no new entries while leadership is handed over"""
    server = leader()
    server.propose(b"x")
    transfer(server, "n2")
    server.step(inputs.ChangeMembership(6, members("n1", "n2"), ()))
    assert [(refused.ticket, refused.reason) for refused in server.refused] == [(6, "transferring")]


def test_transfer_to_oneself_is_done_at_once():
    server = leader()
    transfer(server, "n1")
    assert server.transfers == [TransferDone(TICKET, "n1")]
    server.propose(b"x")
    assert server.accepted


def test_transfer_to_anyone_goes_to_the_most_up_to_date_voter():
    """thesis 3.10"""
    server = leader(learners=("n4",))
    server.propose(b"x")
    server.acknowledge("n4")
    server.acknowledge("n3")
    transfer(server, "")
    assert server.sent_to("n3", TimeoutNow)


def test_transfer_to_anyone_without_anyone():
    server = Server(voters=("n1",))
    server.campaign()
    transfer(server, "")
    assert [(refused.ticket, refused.reason) for refused in server.refused] == [(TICKET, "invalid")]


def test_only_the_leader_can_hand_over():
    server = Server(term=1)
    server.receive("n2", append(1))
    transfer(server, "n3")
    assert [(refused.ticket, refused.reason, refused.leader_id) for refused in server.refused] == [
        (TICKET, "not_leader", "n2")
    ]


def test_a_server_without_a_vote_does_not_take_over():
    """thesis 3.10: a learner that is told so starts no election"""
    server = Server("n4", learners=("n4",), term=1)
    server.receive("n1", TimeoutNow(term=1))
    assert (server.role, server.term) == (Role.FOLLOWER, 1)


def test_a_late_word_of_an_older_term_starts_nothing():
    """rule 8 for TimeoutNow: the leader that said so is no more"""
    server = Server(term=4)
    server.receive("n2", TimeoutNow(term=3))
    assert (server.role, server.term) == (Role.FOLLOWER, 4)


def test_the_outcome_is_told_when_the_new_leader_is_known():
    """thesis 3.10: stepping down says only that somebody else tries"""
    server = leader()
    transfer(server, "n2")
    server.receive("n2", ask_vote(2, last=(1, 1), transfer=True))
    assert (server.role, server.transfers) == (Role.FOLLOWER, [])
    server.receive("n3", append(3))
    assert server.transfers == [TransferDone(TICKET, "n3")], "it was another, and that is what is told"
