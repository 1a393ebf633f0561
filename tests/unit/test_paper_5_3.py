"""Log replication (§5.3) and Figure 2, AppendEntries RPC and Leaders."""

import pytest

from raft_zmq.core import inputs
from raft_zmq.core.messages import AppendEntries, AppendReply, Entry, EntryKind
from raft_zmq.core.state import Role
from tests.unit.raft_server import HEARTBEAT_INTERVAL_S, Server, append, append_reply, log, refusal

FIVE = ("n1", "n2", "n3", "n4", "n5")


def leader(voters=("n1", "n2", "n3"), **stored: object) -> Server:
    """A leader whose followers all hold its whole log."""
    server = Server(voters=voters, **stored)
    server.become_leader(votes=voters[1 : len(voters) // 2 + 1])
    for follower in voters[1:]:
        server.acknowledge(follower)
    server.take_sent()
    return server


def test_a_leader_starts_replication():
    """leader starts replication (§5.3): append to the own log, and AppendEntries to all others in parallel"""
    server = leader()
    server.propose(b"x")
    entry = Entry(2, 1, EntryKind.COMMAND, b"x")
    assert server.log_terms() == [1, 1]
    assert server.sent == [
        ("n2", append(1, prev=(1, 1), entries=[entry], commit=1)),
        ("n3", append(1, prev=(1, 1), entries=[entry], commit=1)),
    ]
    assert server.accepted[-1].first_index == 2
    assert server.commit_index == 1, "it is committed only once a majority holds it"


@pytest.mark.parametrize(
    ("voters", "holders", "commits"),
    [
        (FIVE[:1], (), True),
        (FIVE[:3], (), False),
        (FIVE[:3], ("n2",), True),
        (FIVE[:3], ("n2", "n3"), True),
        (FIVE[:4], ("n2",), False),
        (FIVE[:4], ("n2", "n3"), True),
        (FIVE, ("n2",), False),
        (FIVE, ("n2", "n2", "n2"), False),  # one server says it three times
        (FIVE, ("n2", "n3"), True),
        (FIVE, FIVE[1:], True),
    ],
)
def test_a_leader_commits_what_a_majority_holds(voters, holders, commits):
    """leader commits, leader acknowledges commit (§5.3)"""
    server = leader(voters)
    server.propose(b"x")
    for follower in holders:
        server.acknowledge(follower)
    assert [entry.data for entry in server.applied] == ([b"", b"x"] if commits else [b""])
    assert server.commit_index == (2 if commits else 1)


def test_a_leader_tells_the_followers_what_is_committed():
    """leader commits (§5.3): the highest index known to be committed goes with future AppendEntries"""
    server = leader()
    server.propose(b"x")
    server.acknowledge("n2")
    server.take_sent()
    server.wait(HEARTBEAT_INTERVAL_S)
    assert {message.leader_commit for _, message in server.take_sent()} == {2}


@pytest.mark.parametrize("terms", [(), (2,), (1, 2), (1,)])
def test_a_leader_commits_all_preceding_entries_with_its_own(terms):
    """leader commits preceding entries (§5.3)"""
    server = Server(term=2, entries=log(*terms))
    server.become_leader()
    server.propose(b"x")
    assert server.applied == []
    server.acknowledge("n2")
    assert [entry.index for entry in server.applied] == list(range(1, len(terms) + 3))
    assert [entry.term for entry in server.applied] == [*terms, 3, 3]


@pytest.mark.parametrize(("leader_commit", "applied"), [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3])])
def test_a_follower_commits_and_applies_in_order(leader_commit, applied):
    """follower commits (§5.3)"""
    server = Server(term=1)
    server.receive("n2", append(1, entries=log(1, 1, 1), commit=leader_commit))
    assert [entry.index for entry in server.applied] == applied


def test_a_follower_commits_no_further_than_this_request_verifies():
    """rule 4: entry 2 may differ from the leader's, although it is there"""
    server = Server(term=2, entries=log(1, 1))
    server.receive("n2", append(2, prev=(1, 1), commit=2))
    assert server.commit_index == 1
    server.receive("n2", append(2, prev=(1, 1), entries=log(1, 2)[1:], commit=2))
    assert (server.commit_index, server.log_terms()) == (2, [1, 2])


def test_the_commit_index_never_goes_back():
    """Figure 2, AppendEntries RPC, 5: only if leaderCommit > commitIndex"""
    server = Server(term=1)
    server.receive("n2", append(1, entries=log(1, 1), commit=2))
    server.receive("n2", append(1, prev=(2, 1), commit=1))
    assert server.commit_index == 2


@pytest.mark.parametrize(
    ("prev", "match_index"),
    [((0, 0), 1), ((1, 1), 1), ((2, 2), 2), ((1, 2), None), ((2, 1), None), ((2, 3), None), ((3, 3), None)],
)
def test_a_follower_checks_that_the_logs_agree_just_before(prev, match_index):
    """follower checks append (§5.3): ok only with an entry of prevLogTerm at prevLogIndex"""
    server = Server(term=3, entries=log(1, 2), commit_index=1)
    server.receive("n2", append(3, prev=prev))
    ((to, reply),) = server.take_sent()
    assert isinstance(reply, AppendReply)
    assert (to, reply.ok, reply.prev_log_index) == ("n2", match_index is not None, prev[0])
    assert reply.match_index == (match_index or 0)
    assert server.log_terms() == [1, 2], "a check removes nothing"


@pytest.mark.parametrize(
    ("prev", "sent_terms", "log_after", "written"),
    [
        ((2, 2), (3,), [1, 2, 3], [3]),
        ((1, 1), (3, 4), [1, 3, 4], [2, 3]),  # a conflict at 2 removes all that follows
        ((0, 0), (1,), [1, 2], []),
        ((0, 0), (3,), [3], [1]),
        ((0, 0), (1, 2), [1, 2], []),
        ((0, 0), (1, 2, 4), [1, 2, 4], [3]),
        ((1, 1), (2,), [1, 2], []),
    ],
)
def test_a_follower_appends_what_is_new(prev, sent_terms, log_after, written):
    """follower appends (§5.3; Figure 2, AppendEntries RPC, 3 and 4)"""
    server = Server(term=4, entries=log(1, 2))
    sent = tuple(Entry(prev[0] + n, term, EntryKind.COMMAND, b"new") for n, term in enumerate(sent_terms, start=1))
    server.raft.step(0.0, inputs.Received("n2", "disk-of-n2", append(4, prev=prev, entries=sent)))
    ready = server.raft.ready()
    assert [entry.index for entry in ready.entries] == written
    assert server.log_terms() == log_after
    ((_, reply),) = ready.messages_after_sync
    assert (reply.ok, reply.match_index) == (True, prev[0] + len(sent))


def test_a_late_shorter_append_removes_nothing():
    """rule 3: only a real conflict removes entries"""
    server = Server(term=1)
    server.receive("n2", append(1, entries=log(1, 1, 1)))
    server.take_sent()
    server.receive("n2", append(1, entries=log(1)))
    assert server.log_terms() == [1, 1, 1]
    server.receive("n2", append(1, prev=(2, 1)))
    assert server.log_terms() == [1, 1, 1]
    assert [reply.match_index for _, reply in server.take_sent()] == [1, 2]


def test_a_leader_never_changes_its_own_log():
    """Leader Append-Only (Figure 3): an append of its own term, which nobody else can send, changes nothing"""
    server = leader()
    server.propose(b"x")
    server.receive("n2", append(1, prev=(1, 1), entries=[Entry(2, 1, EntryKind.COMMAND, b"y")]))
    assert [entry.data for entry in server.raft.state.log.entries(1, 2)] == [b"", b"x"]
    assert server.role is Role.LEADER


def test_a_leader_steps_back_until_the_logs_agree():
    """§5.3: after a refusal nextIndex goes back, a whole term at a time"""
    server = Server(term=5, entries=log(1, 1, 2, 2, 3, 3, 4, 4))
    server.become_leader()
    server.receive("n2", refusal(6, prev_log_index=8, hint=(5, 1)))
    ((to, probe),) = server.take_sent()
    assert (to, probe.prev_log_index, probe.prev_log_term) == ("n2", 2, 1)
    server.receive("n2", append_reply(6, 9))
    assert server.raft.state.progress["n2"].match_index == 9


def test_match_index_never_moves_back():
    """rule 8: an older answer that comes late changes nothing"""
    server = leader()
    server.propose(b"x", b"y")
    server.acknowledge("n2", 3)
    server.acknowledge("n2", 2)
    server.receive("n2", refusal(1, prev_log_index=1, hint=(0, 0)))
    progress = server.raft.state.progress["n2"]
    assert (progress.match_index, progress.next_index) == (3, 4)


def test_a_reply_of_an_older_term_is_dropped():
    """rule 8: it answers a request that another log stood behind"""
    server = Server(term=4, entries=log(1, 1))
    server.become_leader()
    server.receive("n2", append_reply(4, 3))
    assert server.raft.state.progress["n2"].match_index == 0
    assert server.commit_index == 0


def test_match_index_comes_from_the_request_that_is_answered():
    """rule 8: a follower vouches for what this request verified, not for all it holds"""
    server = Server(term=2, entries=log(1, 1, 1))
    server.receive("n2", append(2, prev=(1, 1)))
    assert server.take_sent()[0][1].match_index == 1


def test_a_leader_tries_again_until_a_silent_follower_answers():
    """§5.3: AppendEntries are sent indefinitely until all followers store all entries"""
    server = Server()
    server.become_leader()
    server.acknowledge("n2")
    server.propose(b"x")
    for _ in range(5):
        server.take_sent()
        server.wait(2 * HEARTBEAT_INTERVAL_S)
        assert any(message.entries for message in server.sent_to("n3", AppendEntries)), "tried again with the entries"
    server.acknowledge("n3")
    assert server.raft.state.progress["n3"].match_index == 2
