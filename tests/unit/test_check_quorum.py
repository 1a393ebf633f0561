"""A leader needs its majority (thesis 6.2), and servers that hear their leader stick to it (thesis 4.2.3)."""

import pytest

from raft_zmq.core.events import SteppedDown
from raft_zmq.core.messages import AppendReply, InstallSnapshot, VoteRequest
from raft_zmq.core.state import Role
from tests.unit.raft_group import Group
from tests.unit.raft_server import ELECTION_TIMEOUT_S, HEARTBEAT_INTERVAL_S, Server, append, ask_vote, log, vote


def make(**options: object) -> Server:
    return Server(**{"check_quorum": True, **options})


@pytest.mark.parametrize("pre_vote", [False, True])
def test_votes_are_refused_while_a_leader_is_heard(pre_vote):
    """rule 11 (thesis 4.2.3): neither the vote nor the term moves; after the minimum election timeout both do"""
    server = make(term=1, uniform=lambda low, high: high)
    server.receive("n2", append(1))
    server.take_sent()
    server.wait(ELECTION_TIMEOUT_S[0] - 0.01)
    server.receive("n3", ask_vote(2, pre_vote=pre_vote))
    assert (server.take_sent(), server.term) == ([], 1)
    server.wait(0.02)
    server.receive("n3", ask_vote(2, pre_vote=pre_vote))
    assert server.take_sent() == [("n3", vote(2, pre_vote=pre_vote))]


def test_a_snapshot_is_word_of_the_leader_too():
    """rule 11"""
    server = make(term=1)
    chunk = InstallSnapshot(term=1, last_index=9, last_term=1, membership=b"", offset=0, data=b"x", total_bytes=9)
    server.receive("n2", chunk)
    server.take_sent()
    server.receive("n3", ask_vote(2, last=(9, 1)))
    assert (server.take_sent(), server.term) == ([], 1)


def test_a_leader_protects_itself():
    """rule 11"""
    server = make()
    server.become_leader()
    server.receive("n3", ask_vote(9, last=(99, 9)))
    assert (server.role, server.term, server.take_sent()) == (Role.LEADER, 1, [])


def test_a_transfer_passes_the_protection():
    """rule 11: a leadership transfer passes all the same (thesis 4.2.3)"""
    server = make(term=1)
    server.receive("n2", append(1))
    server.take_sent()
    server.receive("n3", ask_vote(2, transfer=True))
    assert server.take_sent() == [("n3", vote(2))]


def test_a_vote_given_is_no_word_of_a_leader():
    """rule 11: a candidate that fails does not keep the next one from being elected"""
    server = make()
    server.receive("n2", ask_vote(1))
    server.receive("n3", ask_vote(2))
    assert server.take_sent() == [("n2", vote(1)), ("n3", vote(2))]


def test_without_check_quorum_nobody_is_protected():
    """thesis 4.2.3 belongs with check-quorum: else a leader without a majority would be kept for ever"""
    server = Server(term=1)
    server.receive("n2", append(1))
    server.take_sent()
    server.receive("n3", ask_vote(2))
    assert server.take_sent() == [("n3", vote(2))]


def test_a_leader_without_a_majority_steps_down_and_answers_its_readers():
    """rule 24 (thesis 6.2): reads are told to try elsewhere; a proposal stays unknown, it is not refused"""
    server = make()
    server.become_leader()
    server.acknowledge("n2")
    server.propose(b"x", ticket=7)
    server.read(ticket=8)
    begun_s = server.now_s
    while server.role is Role.LEADER:
        server.wait(HEARTBEAT_INTERVAL_S)
    limit_s = ELECTION_TIMEOUT_S[1]
    assert limit_s <= server.now_s - begun_s <= 1.5 * limit_s + 2 * HEARTBEAT_INTERVAL_S
    assert [(refused.ticket, refused.reason) for refused in server.refused] == [(8, "not_leader")]
    assert [event.reason for event in server.events if isinstance(event, SteppedDown)] == ["no_quorum"]
    assert server.log_terms() == [1, 1], "the entry may still be committed by the next leader"


@pytest.mark.parametrize(("alive", "leads"), [(("n2",), False), (("n2", "n3"), True), (("n6",), False)])
def test_a_leader_goes_on_while_a_majority_answers(alive, leads):
    """rule 24: learners do not count"""
    server = make(voters=("n1", "n2", "n3", "n4", "n5"), learners=("n6",))
    server.become_leader(votes=("n2", "n3"))
    for _ in range(40):
        for follower in alive:
            server.acknowledge(follower)
        server.wait(HEARTBEAT_INTERVAL_S)
    assert (server.role is Role.LEADER) is leads


def test_without_check_quorum_a_leader_goes_on_alone():
    server = Server()
    server.become_leader()
    server.wait(10 * ELECTION_TIMEOUT_S[1])
    assert server.role is Role.LEADER


def test_a_disruptive_follower():
    """disruptive follower (thesis 4.2.3; rule 10): its vote requests move nobody, its answers free it"""
    group = Group("n1", "n2", "n3", pre_vote=False)
    term = group.elect("n1").term
    group.isolate("n3")
    group.run(3 * ELECTION_TIMEOUT_S[1])
    higher = group["n3"].term
    assert higher > term
    group.heal()
    group.lost = lambda sender, to, message: sender == "n3" and isinstance(message, AppendReply)
    group.run(3 * ELECTION_TIMEOUT_S[1])
    asked = [message for sender, _, message in group.delivered if sender == "n3" and isinstance(message, VoteRequest)]
    assert asked
    assert (group["n1"].role, group["n1"].term, group["n2"].term) == (Role.LEADER, term, term)
    group.heal()
    group.run(2 * ELECTION_TIMEOUT_S[1])
    leader = group.await_leader()
    assert leader.term > higher
    group.await_agreement()


def test_a_candidate_with_an_old_log_cannot_stop_the_election():
    """rule 11: after a split, whoever can win does"""
    logs = {"n1": log(1), "n2": log(1, 1), "n3": log(1, 1)}
    group = Group("n1", "n2", "n3", logs=logs, term=1)
    group["n1"].raft.state.election_deadline_s = 0.0
    leader = group.await_leader()
    assert leader.node_id != "n1"
    group.await_agreement()
