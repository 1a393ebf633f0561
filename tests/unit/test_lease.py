"""Reads on a lease (thesis 6.4.1; rule 19): the option that trusts clocks."""

import pytest

from raft_zmq.core import inputs, reads
from raft_zmq.core.messages import AppendEntries, VoteReply
from raft_zmq.core.ready import ReadGranted
from raft_zmq.core.state import Role
from tests.unit.raft_group import Group
from tests.unit.raft_server import (
    ELECTION_TIMEOUT_S,
    HEARTBEAT_INTERVAL_S,
    Server,
    append,
    append_reply,
    ask_vote,
    log,
    vote,
)

DRIFT = 0.1
LEASE_S = ELECTION_TIMEOUT_S[0] * (1 - DRIFT)


def make(**options: object) -> Server:
    return Server(**{"lease_reads": True, "check_quorum": True, "clock_drift_max": DRIFT, **options})


def leader(**options: object) -> Server:
    """A leader that has committed the first entry of its term, and has no lease yet."""
    server = make(**options)
    server.become_leader()
    for follower in ("n2", "n3"):
        server.acknowledge(follower)
    server.take_sent()
    return server


def confirm(server: Server, follower: str = "n2") -> None:
    """That follower answers the newest round."""
    server.acknowledge(follower, read_token=server.raft.state.read_token)


def wait_silently(server: Server, seconds: float) -> None:
    """Let time pass in small steps, as a node's loop does; nobody answers what is sent meanwhile."""
    for _ in range(round(seconds / HEARTBEAT_INTERVAL_S)):
        server.wait(HEARTBEAT_INTERVAL_S)


def test_a_confirmed_round_gives_a_lease_and_reads_ask_nobody():
    """thesis 6.4.1"""
    server = leader()
    server.read(ticket=1)
    confirm(server)
    server.take_sent()
    server.read(ticket=2)
    assert server.reads == [ReadGranted(1, 1), ReadGranted(2, 1)]
    assert server.take_sent() == []


def test_without_the_option_every_read_asks():
    server = leader(lease_reads=False)
    server.read(ticket=1)
    confirm(server)
    server.read(ticket=2)
    assert [read.ticket for read in server.reads] == [1]


def test_a_lease_ends_before_another_leader_can_be_elected():
    """rule 19: a bound on drift shortens it"""
    server = leader()
    server.read(ticket=1)
    confirm(server)
    begun_s = server.now_s
    wait_silently(server, LEASE_S - HEARTBEAT_INTERVAL_S)
    server.read(ticket=2)
    assert [read.ticket for read in server.reads] == [1, 2]
    wait_silently(server, HEARTBEAT_INTERVAL_S)
    assert server.now_s - begun_s < ELECTION_TIMEOUT_S[0]
    server.read(ticket=3)
    assert [read.ticket for read in server.reads] == [1, 2]
    confirm(server)  # the rounds of the heartbeats
    confirm(server)
    assert [read.ticket for read in server.reads] == [1, 2, 3], "it then goes the way of ReadIndex"


def test_a_lease_counts_from_the_sending_of_the_round():
    """rule 19: the follower may have heard the leader at any time since then"""
    server = leader()
    server.read(ticket=1)
    token = server.raft.state.read_token
    wait_silently(server, 0.5)
    server.acknowledge("n2", read_token=token)
    wait_silently(server, LEASE_S - 0.5)
    server.read(ticket=2)
    assert [read.ticket for read in server.reads] == [1]


def test_heartbeats_extend_the_lease():
    """thesis 6.4.1"""
    server = leader()
    for _ in range(40):
        server.wait(HEARTBEAT_INTERVAL_S)
        confirm(server)
    server.take_sent()
    server.read(ticket=1)
    assert [read.ticket for read in server.reads] == [1]
    assert server.take_sent() == []


def test_there_is_no_lease_before_the_first_commit_of_the_term():
    """rule 16"""
    server = make(term=1, entries=log(1), commit_index=1)
    server.become_leader()
    for _ in range(3):
        server.wait(HEARTBEAT_INTERVAL_S)
        server.receive("n2", append_reply(2, 1, read_token=server.raft.state.read_token))
    server.read()
    assert (server.reads, server.refused) == ([], [])


def test_a_transfer_voids_the_lease_at_once_and_for_the_term():
    """rule 19: the target may be elected at any time from then on, even after the transfer was given up"""
    server = leader()
    server.read(ticket=1)
    confirm(server)
    server.step(inputs.TransferLeadership(9, "n2"))
    server.read(ticket=2)
    assert [read.ticket for read in server.reads] == [1]
    for _ in range(30):
        server.wait(HEARTBEAT_INTERVAL_S)
        confirm(server)
    assert [done.leader_id for done in server.transfers] == [""]
    server.take_sent()
    server.read(ticket=3)
    assert [read.ticket for read in server.reads] == [1, 2]
    assert len(server.sent_to("n2", AppendEntries)) == 1


def test_a_pause_of_the_process_voids_the_lease():
    """rule 19: void on any suspicion; the clock may have stood still with the process"""
    server = leader()
    server.read(ticket=1)
    confirm(server)
    server.now_s += 0.6 * ELECTION_TIMEOUT_S[0]
    server.read(ticket=2)
    assert [read.ticket for read in server.reads] == [1]


def test_a_clock_that_goes_back_stands_still():
    """rule 19: monotonic clock"""
    server = leader()
    server.read(ticket=1)
    confirm(server)
    at_s = server.now_s
    server.raft.step(at_s - 100.0, inputs.Tick())
    assert server.raft.state.now_s == at_s
    wait_silently(server, LEASE_S)
    server.read(ticket=2)
    assert [read.ticket for read in server.reads] == [1]


def test_a_deposed_leader_has_no_lease():
    """rule 19"""
    server = leader()
    server.read(ticket=1)
    confirm(server)
    server.receive("n3", append(2))
    server.read(ticket=2)
    assert [(refused.ticket, refused.reason) for refused in server.refused] == [(2, "not_leader")]


@pytest.mark.parametrize(("lease_reads", "granted"), [(True, False), (False, True)])
def test_a_restarted_follower_keeps_the_promise_it_may_have_given(lease_reads, granted):
    """rule 19: it has forgotten when it last heard a leader, so it protects one for a minimum election timeout"""
    server = make(term=1, lease_reads=lease_reads)
    server.receive("n3", ask_vote(2))
    assert server.take_sent() == ([("n3", vote(2))] if granted else [])


def test_a_voter_protects_its_leader_in_a_term_that_it_has_entered_since():
    """thesis 6.4.1: the lease stands on nobody voting for another so soon, whatever raised the voter's term"""
    server = make(term=3, now_s=10.0)
    server.receive("n2", append(3))
    term = 4
    server.receive("n3", vote(term, granted=False))
    assert server.term == term
    server.sent.clear()
    server.receive("n3", ask_vote(term))
    assert not [message for _, message in server.sent if isinstance(message, VoteReply) and message.granted]
    server.now_s += ELECTION_TIMEOUT_S[0]
    server.receive("n3", ask_vote(term))
    assert [message.granted for _, message in server.sent if isinstance(message, VoteReply)] == [True]


def test_a_partitioned_leader_has_lost_its_lease_when_another_is_elected():
    """rule 19 (thesis 6.4.1)"""
    group = Group("n1", "n2", "n3", lease_reads=True)
    old = group.elect("n1")
    group.run(1.0)
    assert reads.lease_holds(old.raft.state)
    group.isolate("n1")
    group.run_until(lambda: Role.LEADER in (group["n2"].role, group["n3"].role))
    group.step("n1", inputs.Read(1))
    assert old.reads == []
