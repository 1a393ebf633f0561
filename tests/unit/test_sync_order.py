"""What must be on disk before what is said or counted (Figure 2: "updated on stable storage before responding")."""

import pytest

from raft_zmq.core import inputs
from raft_zmq.core.messages import AppendReply, Entry, EntryKind, VoteReply
from raft_zmq.core.ready import Ready
from raft_zmq.core.state import Role
from tests.unit.raft_group import Group
from tests.unit.raft_server import Server, append, append_reply, ask_vote, incarnation, log


def begin(server: Server, *items: inputs.Input) -> Ready:
    """A round whose disk write is under way: `advance` ends it."""
    for item in items:
        server.raft.step(server.now_s, item)
    return server.raft.ready()


def received(sender: str, message) -> inputs.Received:
    return inputs.Received(sender, incarnation(sender), message)


def test_a_vote_is_synced_before_it_is_told():
    """rule 2: sync before reply"""
    ready = begin(Server(), received("n2", ask_vote(1)))
    assert ready.messages == []
    assert ready.hard_state is not None
    assert (ready.hard_state.current_term, ready.hard_state.voted_for) == (1, "n2")
    assert ready.messages_after_sync == [("n2", VoteReply(term=1, granted=True, pre_vote=False))]


def test_a_candidates_own_vote_is_synced_before_it_asks():
    """rule 2: the request tells the own vote"""
    server = Server()
    server.now_s = server.raft.wake_at_s()
    ready = begin(server, inputs.Tick())
    assert ready.messages == []
    assert ready.hard_state is not None
    assert ready.hard_state.voted_for == "n1"
    assert [to for to, _ in ready.messages_after_sync] == ["n2", "n3"]


def test_a_follower_syncs_entries_before_it_acknowledges_them():
    """rule 2: sync before reply"""
    ready = begin(Server(term=1), received("n2", append(1, entries=log(1, 1))))
    assert [entry.index for entry in ready.entries] == [1, 2]
    assert ready.messages == []
    ((_, reply),) = ready.messages_after_sync
    assert isinstance(reply, AppendReply)
    assert reply.match_index == 2


def test_nothing_is_said_in_a_term_that_is_not_on_disk():
    """rule 2: a leader elected by one round of inputs sends its appends after the sync of its term"""
    server = Server(voters=("n1",), learners=("n2",))
    server.now_s = server.raft.wake_at_s()
    ready = begin(server, inputs.Tick())
    assert server.role is Role.LEADER
    assert ready.hard_state is not None
    assert ready.messages == []
    assert [to for to, _ in ready.messages_after_sync] == ["n2"]


def test_a_leader_sends_entries_while_its_own_write_is_under_way():
    """thesis 10.2.1: writing to the leader's disk in parallel"""
    server = Server()
    server.become_leader()
    for follower in ("n2", "n3"):
        server.acknowledge(follower)
    ready = begin(server, inputs.Propose(1, [b"x"]))
    assert [entry.data for entry in ready.entries] == [b"x"]
    assert [to for to, message in ready.messages if message.entries] == ["n2", "n3"]


@pytest.mark.parametrize(("followers", "committed"), [(("n2",), False), (("n2", "n3"), True)])
def test_a_leader_counts_itself_only_for_what_it_has_synced(followers, committed):
    """rule 2: one follower and an unfinished write of one's own are no majority of three; two followers are"""
    server = Server()
    server.become_leader()
    server.acknowledge("n2")
    server.acknowledge("n3")
    begin(server, inputs.Propose(1, [b"x"]))
    for follower in followers:
        server.raft.step(server.now_s, received(follower, append_reply(1, 2)))
    assert server.commit_index == (2 if committed else 1)
    server.raft.advance()
    assert server.commit_index == 2


def test_a_cluster_of_one_commits_only_what_it_has_synced():
    """rule 2"""
    server = Server(voters=("n1",))
    server.campaign()
    ready = begin(server, inputs.Propose(1, [b"x"]))
    assert (ready.committed, server.commit_index) == ([], 1)
    server.raft.advance()
    assert server.commit_index == 2


def test_a_finished_write_does_not_count_for_entries_that_took_the_place_of_its_own():
    """rule 21: the leader's write is under way when it is deposed, its entry replaced, and it leads again"""
    server = Server(voters=("n1", "n2", "n3", "n4", "n5"), term=1)
    server.become_leader(votes=("n2", "n3"))
    begin(server, inputs.Propose(1, [b"old"]))
    foreign = Entry(2, 3, EntryKind.COMMAND, b"new")
    server.raft.step(server.now_s, received("n4", append(3, prev=(1, 2), entries=[foreign])))
    assert server.log_terms() == [2, 3]
    server.raft.advance()
    assert server.raft.state.log.stable_index == 1, "what was synced at 2 is no longer there"
    ready = server.raft.ready()
    assert [(entry.index, entry.term) for entry in ready.entries] == [(2, 3)]
    server.raft.advance()
    assert server.raft.state.log.stable_index == 2


def test_a_leader_with_a_full_disk_stops_and_the_others_go_on():
    """a leader with a full disk: its entry left for the followers before its own write failed"""
    group = Group("n1", "n2", "n3")
    group.elect("n1")
    group.propose(b"before")
    group.await_agreement()
    disk = group["n1"].stored()
    group.propose(b"x")  # the appends overlap the leader's own write, which fails: the node stops (rule 25)
    group.stop("n1")
    new_leader = group.await_leader("n2", "n3")
    group.propose(b"after")
    group.await_agreement("n2", "n3")
    assert new_leader.commands() == [b"before", b"x", b"after"]
    group.start("n1", disk, **group["n1"].config)
    group.await_agreement()
    assert group["n1"].commands() == [b"before", b"x", b"after"]
