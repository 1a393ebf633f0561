"""Linearizable reads without a log entry: ReadIndex (§8, thesis 6.4)."""

import pytest

from raft_zmq.core import inputs
from raft_zmq.core.messages import AppendEntries
from raft_zmq.core.ready import ReadGranted
from raft_zmq.core.state import Role
from tests.unit.raft_group import Group
from tests.unit.raft_server import HEARTBEAT_INTERVAL_S, Server, append, append_reply, log, members

FIVE = ("n1", "n2", "n3", "n4", "n5")


def leader(voters=("n1", "n2", "n3"), **stored: object) -> Server:
    """A leader that has committed the first entry of its term, with nothing on the way."""
    server = Server(voters=voters, **stored)
    server.become_leader(votes=voters[1 : len(voters) // 2 + 1])
    for follower in voters[1:]:
        server.acknowledge(follower)
    server.take_sent()
    return server


def test_a_read_waits_until_a_majority_confirms_the_leader():
    """§8: before the answer, heartbeats are exchanged with a majority"""
    server = leader()
    server.read(ticket=4)
    assert server.reads == []
    assert server.take_sent() == [
        ("n2", append(1, prev=(1, 1), commit=1, read_token=1)),
        ("n3", append(1, prev=(1, 1), commit=1, read_token=1)),
    ]
    server.acknowledge("n2", read_token=1)
    assert server.reads == [ReadGranted(4, 1)]


def test_read_index_for_a_new_leader_waits_for_the_first_commit_of_its_term():
    """ReadIndex for a new leader (§8; rule 16): neither dropped nor answered before"""
    server = Server(term=1, entries=log(1, 1), commit_index=1)
    server.become_leader()
    server.read(ticket=4)
    server.acknowledge("n2", match_index=0)
    server.acknowledge("n3", match_index=0)
    assert (server.reads, server.refused) == ([], [])
    server.acknowledge("n2")
    assert server.commit_index == 3
    assert server.reads == [], "leadership is confirmed after the read index is fixed (rule 18)"
    server.acknowledge("n2", read_token=server.raft.state.read_token)
    assert server.reads == [ReadGranted(4, 3)]


def test_read_index_in_a_cluster_of_one():
    """ReadIndex in a cluster of one: it is its own majority"""
    server = Server(voters=("n1",))
    server.campaign()
    server.propose(b"x")
    server.read(ticket=4)
    assert server.reads == [ReadGranted(4, 2)]


def test_read_index_in_a_cluster_of_one_waits_for_the_first_commit_too():
    """rule 16"""
    server = Server(voters=("n1",), term=1, entries=log(1))
    server.now_s = server.raft.wake_at_s()
    server.raft.step(server.now_s, inputs.Tick())
    server.raft.step(server.now_s, inputs.Read(4))
    assert server.role is Role.LEADER
    assert server.raft.ready().reads == []
    server.raft.advance()
    assert server.raft.ready().reads == [ReadGranted(4, 2)]


def test_read_index_with_a_batch():
    """ReadIndex with a batch: reads that come in together share one round"""
    server = leader()
    for ticket in (1, 2, 3):
        server.raft.step(server.now_s, inputs.Read(ticket))
    server.work()
    assert len(server.sent_to("n2", AppendEntries)) == 1
    server.acknowledge("n2", read_token=1)
    assert [read.ticket for read in server.reads] == [1, 2, 3]


def test_reads_that_come_while_rounds_are_under_way_share_the_next():
    """thesis 6.4: the cost of a round is spread over all that wait for it"""
    server = leader()
    for ticket in range(1, 21):
        server.read(ticket)
    assert len(server.sent_to("n2", AppendEntries)) == 2
    server.acknowledge("n2", read_token=2)
    assert [read.ticket for read in server.reads] == [1, 2]
    server.acknowledge("n2", read_token=3)
    assert [read.ticket for read in server.reads] == list(range(1, 21))


def test_read_index_across_a_leader_change():
    """ReadIndex across a leader change (rule 24): the old leader refuses what waits, the new one answers afresh"""
    group = Group("n1", "n2", "n3")
    group.elect("n1")
    group.isolate("n1")
    group.step("n1", inputs.Read(4))
    group.await_leader("n2", "n3")
    group.propose(b"newer")
    group.run(5.0)
    old = group["n1"]
    assert (old.reads, [(refused.ticket, refused.reason) for refused in old.refused]) == ([], [(4, "not_leader")])
    new = group.await_leader("n2", "n3")
    group.step(new.node_id, inputs.Read(5))
    group.run_until(lambda: bool(new.reads))
    assert new.reads[0].read_index >= new.applied[-1].index


def test_a_read_refused_by_a_deposed_leader_is_not_answered_later():
    """ReadIndex across a leader change: a late confirmation of the old term counts for nothing"""
    server = leader()
    server.read(ticket=4)
    server.receive("n3", append(2, prev=(1, 1)))
    assert [(refused.ticket, refused.reason) for refused in server.refused] == [(4, "not_leader")]
    server.receive("n2", append_reply(1, 1, read_token=1))
    assert server.reads == []


def test_duplicated_acknowledgements_of_one_follower_are_no_majority():
    """ReadIndex with duplicated acknowledgements (rule 17)"""
    server = leader(FIVE)
    server.read()
    for _ in range(4):
        server.acknowledge("n2", read_token=1)
    assert server.reads == []
    server.acknowledge("n3", read_token=1)
    assert [read.ticket for read in server.reads] == [1]


def test_a_late_acknowledgement_does_not_confirm_a_later_read():
    """ReadIndex with duplicated acknowledgements (rule 17): the token of the first round says nothing of the second"""
    server = leader(FIVE)
    server.read(ticket=1)
    for follower in ("n2", "n3"):
        server.acknowledge(follower, read_token=1)
    server.read(ticket=2)
    for follower in FIVE[1:]:
        server.acknowledge(follower, read_token=1)
    assert [read.ticket for read in server.reads] == [1]
    for follower in ("n4", "n5"):
        server.acknowledge(follower, read_token=2)
    assert [read.ticket for read in server.reads] == [1, 2]


def test_an_answer_to_what_was_sent_before_the_read_does_not_confirm_it():
    """rule 18: leadership is confirmed after the read index is fixed, not before"""
    server = leader()
    server.propose(b"x")
    server.read(ticket=4)
    server.acknowledge("n2", read_token=0)
    server.acknowledge("n3", read_token=0)
    assert server.reads == []


def test_a_read_sees_every_write_acknowledged_before_it():
    """§8: the read index is at least the commit index when the read came in, also for one that waits its turn"""
    server = leader()
    server.read(ticket=1)
    server.propose(b"x")
    server.acknowledge("n2", read_token=0)
    server.read(ticket=2)
    server.acknowledge("n2", read_token=2)
    assert server.reads == [ReadGranted(1, 1), ReadGranted(2, 2)]


def test_a_later_confirmation_serves_the_earlier_reads_too():
    """rule 17: tokens are monotonic"""
    server = leader()
    server.read(ticket=1)
    server.read(ticket=2)
    server.acknowledge("n3", read_token=2)
    assert [read.ticket for read in server.reads] == [1, 2]


def test_a_refused_append_confirms_the_leader_all_the_same():
    """§8: the follower's log differs, its word on who leads does not"""
    server = leader()
    server.read(ticket=4)
    refusal = append_reply(1, 0, read_token=1)
    server.receive("n2", type(refusal)(**{**{f: getattr(refusal, f) for f in refusal.__struct_fields__}, "ok": False}))
    assert [read.ticket for read in server.reads] == [4]


@pytest.mark.parametrize(("sender", "disk"), [("n4", None), ("n2", "another disk"), ("n9", None)])
def test_only_voters_confirm(sender, disk):
    """§8, rule 15: not a learner, a voter that lost its disk, or a stranger"""
    server = Server(learners=("n4",))
    server.become_leader()
    server.acknowledge("n2")
    server.read()
    server.receive(sender, append_reply(1, 1, read_token=1), disk=disk)
    assert server.reads == []


def test_in_a_joint_configuration_both_majorities_confirm():
    """§6"""
    server = leader(("n1", "n2", "n3", "n4", "n5"))
    server.step(inputs.ChangeMembership(1, members("n1", "n4", "n5"), ()))
    assert server.raft.state.membership.joint
    server.read(ticket=4)
    for follower in ("n2", "n3"):  # a majority of the old five, with n1
        server.acknowledge(follower, match_index=0, read_token=1)
    assert server.reads == []
    server.acknowledge("n4", match_index=0, read_token=1)  # and of the new three
    assert [read.ticket for read in server.reads] == [4]


def test_a_lost_confirmation_is_asked_for_again():
    """§8: a read is not stuck when a message is lost"""
    server = leader()
    server.read()
    server.take_sent()
    server.wait(HEARTBEAT_INTERVAL_S)
    assert [message.read_token for message in server.sent_to("n2", AppendEntries)] == [1]


def test_a_follower_refuses_and_names_the_leader():
    server = Server(term=1)
    server.receive("n2", append(1))
    server.read(ticket=4)
    assert [(refused.ticket, refused.reason, refused.leader_id) for refused in server.refused] == [
        (4, "not_leader", "n2")
    ]


def test_a_follower_repeats_the_token_it_was_sent():
    """rule 17: tokens are made by the leader"""
    server = Server(term=1, entries=log(1))
    server.receive("n2", append(1, prev=(1, 1), read_token=42))
    server.receive("n2", append(1, prev=(9, 1), read_token=43))
    assert [reply.read_token for _, reply in server.take_sent()] == [42, 43]
