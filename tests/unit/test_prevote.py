"""Pre-vote (thesis 9.6): a server finds out whether it could win before it begins a new term."""

import pytest

from raft_zmq.core import inputs
from raft_zmq.core.messages import AppendReply, TimeoutNow, VoteReply, VoteRequest
from raft_zmq.core.state import Role
from tests.unit.raft_group import Group
from tests.unit.raft_server import ELECTION_TIMEOUT_S, Server, append, append_reply, ask_vote, log, vote


def make(**options: object) -> Server:
    return Server(**{"term": 3, "voted_for": "n3", "pre_vote": True, **options})


def test_asking_for_pre_votes_changes_neither_term_nor_vote():
    """rule 9: in the one who asks"""
    server = make()
    server.campaign()
    assert (server.role, server.term, server.raft.state.voted_for) == (Role.PRE_CANDIDATE, 3, "n3")
    request = ask_vote(4, pre_vote=True)
    assert server.take_sent() == [("n2", request), ("n3", request)]
    assert server.raft.state.written_hard_state == server.raft.state.hard_state()


@pytest.mark.parametrize("term", [4, 9])
def test_granting_a_pre_vote_changes_neither_term_nor_vote(term):
    """rule 9: in the one who is asked; its election timer runs on, too"""
    server = make()
    deadline_s = server.raft.state.election_deadline_s
    server.receive("n2", ask_vote(term, pre_vote=True))
    assert server.take_sent() == [("n2", vote(term, pre_vote=True))]
    assert (server.term, server.raft.state.voted_for) == (3, "n3")
    assert server.raft.state.election_deadline_s == deadline_s


def test_a_pre_vote_may_be_granted_to_several():
    """rule 9: it promises nothing"""
    server = make()
    for candidate in ("n2", "n3"):
        server.receive(candidate, ask_vote(4, pre_vote=True))
    assert [reply.granted for _, reply in server.take_sent()] == [True, True]


@pytest.mark.parametrize(
    ("term", "last", "granted"),
    [(4, (2, 3), True), (4, (1, 3), False), (4, (9, 2), False), (3, (9, 9), False), (2, (9, 9), False)],
)
def test_a_pre_vote_goes_to_a_newer_term_with_a_log_as_good(term, last, granted):
    """thesis 9.6, rule 7"""
    server = make(entries=log(1, 3))
    server.receive("n2", ask_vote(term, last=last, pre_vote=True))
    ((_, reply),) = server.take_sent()
    assert isinstance(reply, VoteReply)
    assert (reply.granted, reply.pre_vote, reply.term) == (granted, True, 4 if granted else 3)


def test_a_majority_of_pre_votes_begins_the_election():
    """thesis 9.6"""
    server = make()
    server.campaign()
    server.take_sent()
    server.receive("n2", vote(4, pre_vote=True))
    assert (server.role, server.term, server.raft.state.voted_for) == (Role.CANDIDATE, 4, "n1")
    assert server.take_sent() == [("n2", ask_vote(4)), ("n3", ask_vote(4))]


def test_a_pre_vote_is_no_vote():
    """rule 9: a late grant of the pre-vote does not count in the election"""
    server = make(voters=("n1", "n2", "n3", "n4", "n5"))
    server.campaign()
    server.receive("n2", vote(4, pre_vote=True))
    server.receive("n3", vote(4, pre_vote=True))
    assert server.role is Role.CANDIDATE
    for voter in ("n2", "n3", "n4", "n5"):
        server.receive(voter, vote(4, pre_vote=True))
    assert (server.role, server.term) == (Role.CANDIDATE, 4)


def test_a_majority_of_refused_pre_votes_ends_the_attempt():
    """thesis 9.6"""
    server = make()
    server.campaign()
    for voter in ("n2", "n3"):
        server.receive(voter, vote(3, granted=False, pre_vote=True))
    assert (server.role, server.term) == (Role.FOLLOWER, 3)


def test_a_refused_pre_vote_tells_of_a_newer_term():
    """§5.1: the one who asked lags behind"""
    server = make()
    server.campaign()
    server.receive("n2", vote(8, granted=False, pre_vote=True))
    assert (server.role, server.term) == (Role.FOLLOWER, 8)


def test_a_pre_candidate_falls_back_to_its_leader():
    """candidate falls back (§5.2, thesis 9.6)"""
    server = make()
    server.campaign()
    server.receive("n2", append(3))
    assert (server.role, server.term, server.leader_id) == (Role.FOLLOWER, 3, "n2")
    server.receive("n2", vote(4, pre_vote=True))
    assert server.role is Role.FOLLOWER, "a late pre-vote elects nobody"


def test_a_transfer_asks_for_no_pre_votes():
    """thesis 3.10: the old leader wants this election"""
    server = make()
    server.receive("n2", TimeoutNow(term=3))
    assert (server.role, server.term) == (Role.CANDIDATE, 4)
    assert server.take_sent()[0] == ("n2", ask_vote(4, transfer=True))


def test_after_a_transfer_that_came_to_nothing_the_next_attempt_is_an_ordinary_one():
    """rule 11: only the election that the old leader wanted passes by the protection of a leader"""
    server = make()
    server.receive("n2", TimeoutNow(term=3))
    server.take_sent()
    server.campaign()
    assert server.role is Role.PRE_CANDIDATE
    assert {message.transfer for _, message in server.take_sent() if isinstance(message, VoteRequest)} == {False}


def test_a_server_stuck_in_a_higher_term_is_freed():
    """rule 10: it answers the leader of a lower term, which then follows into the higher one"""
    server = make(term=7, entries=log(1))
    server.receive("n2", append(3, prev=(1, 1)))
    ((to, reply),) = server.take_sent()
    assert isinstance(reply, AppendReply)
    assert (to, reply.ok, reply.term) == ("n2", False, 7)
    leader = make()
    leader.campaign()
    leader.receive("n2", vote(4, pre_vote=True))
    leader.receive("n2", vote(4))
    leader.receive("n3", append_reply(7, 0))
    assert (leader.role, leader.term) == (Role.FOLLOWER, 7)


@pytest.mark.parametrize("check_quorum", [False, True])
@pytest.mark.parametrize("pre_vote", [False, True])
def test_a_partitioned_follower_returns(pre_vote, check_quorum):
    """pre-vote × check-quorum in all four settings with a partitioned and returning node (thesis 9.6, 4.2.3)"""  # noqa: RUF002
    group = Group("n1", "n2", "n3", pre_vote=pre_vote, check_quorum=check_quorum)
    term = group.elect("n1").term
    group.isolate("n3")
    group.run(5 * ELECTION_TIMEOUT_S[1])
    assert (group["n3"].term > term) is not pre_vote, "without pre-vote it goes from term to term"
    group.propose(b"while it was away")
    group.run(1.0)
    group.heal()
    group.run(3 * ELECTION_TIMEOUT_S[1])
    leader = group.await_leader()
    group.propose(b"after")
    group.await_agreement()
    assert leader.commands() == [b"while it was away", b"after"]
    if pre_vote:
        assert (leader.node_id, leader.term) == ("n1", term), "it disturbs nobody"


@pytest.mark.parametrize("check_quorum", [False, True])
@pytest.mark.parametrize("pre_vote", [False, True])
def test_a_partitioned_leader_returns(pre_vote, check_quorum):
    """pre-vote × check-quorum in all four settings with a partitioned and returning node: the old leader"""  # noqa: RUF002
    group = Group("n1", "n2", "n3", pre_vote=pre_vote, check_quorum=check_quorum)
    term = group.elect("n1").term
    group.isolate("n1")
    group.propose(b"lost")
    group.run_until(lambda: Role.LEADER in (group["n2"].role, group["n3"].role))
    group.run(2 * ELECTION_TIMEOUT_S[1])
    assert (group["n1"].role is Role.LEADER) is not check_quorum, "without check-quorum it leads nobody for ever"
    group.await_leader("n2", "n3")
    group.propose(b"kept")
    group.await_agreement("n2", "n3")
    group.heal()
    leader = group.await_leader()
    group.await_agreement()
    assert leader.term > term
    assert [server.commands() for server in group.servers.values()] == [[b"kept"]] * 3


@pytest.mark.parametrize("check_quorum", [False, True])
def test_pre_vote_alone_finds_a_leader_after_a_restart_of_all(check_quorum):
    """thesis 9.6: no server is stuck as pre-candidate when terms and logs differ"""
    logs = {"n1": log(1, 1), "n2": log(1, 1, 2), "n3": log(1)}
    group = Group("n1", "n2", "n3", logs=logs, term=2, check_quorum=check_quorum)
    group.step("n1", inputs.Received("n2", "disk-of-n2", ask_vote(6, last=(3, 2))))  # n1 alone knows of term 6
    group.await_leader()
    group.await_agreement()
    assert group["n1"].log_terms()[:3] == [1, 1, 2]
