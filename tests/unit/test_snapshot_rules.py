"""Log compaction and InstallSnapshot (§7, Figure 13), seen from both ends."""

import pytest

from raft_zmq.core import inputs
from raft_zmq.core import membership as memberships
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import AppendEntries, AppendReply, DiskState, InstallSnapshot, SnapshotReply
from raft_zmq.core.progress import ProgressState
from raft_zmq.core.state import Role
from tests.unit.raft_group import Group
from tests.unit.raft_server import (
    ELECTION_TIMEOUT_S,
    HEARTBEAT_INTERVAL_S,
    Server,
    append,
    incarnation,
    log,
    members,
    refusal,
)

MEMBERS = Membership(voters=members("n1", "n2", "n3"))


def chunk(offset: int = 0, data: bytes = b"", *, last=(5, 2), term: int = 3, done: bool = False) -> InstallSnapshot:
    """A chunk of the snapshot that ends at `last` = (index, term)."""
    return InstallSnapshot(
        term=term,
        last_index=last[0],
        last_term=last[1],
        membership=memberships.encode(MEMBERS),
        offset=offset,
        total_bytes=12,
        data=data,
        done=done,
    )


def wants(offset: int, *, last=(5, 2), term: int = 3, installed: bool = False) -> SnapshotReply:
    return SnapshotReply(term=term, last_index=last[0], last_term=last[1], next_offset=offset, installed=installed)


# the follower's end


def test_a_snapshot_drops_a_log_that_differs():
    """rule 20: otherwise the whole log goes (Figure 13, InstallSnapshot RPC, 7)"""
    server = Server(term=3, entries=log(1, 1, 1, 1, 1, 1, 3), commit_index=1)
    server.receive("n2", chunk(0, b"all", done=True))
    assert server.log_resets == [(5, 2)]
    assert server.log_terms() == []
    state = server.raft.state
    assert (state.commit_index, state.last_applied, state.log.last_index, state.log.last_term) == (5, 5, 5, 2)
    assert server.take_sent() == [("n2", wants(0, installed=True))]
    server.receive("n2", append(3, prev=(5, 2), entries=log(1, 1, 2, 2, 2, 3)[5:]))
    assert server.log_terms() == [3]


def test_a_snapshot_keeps_what_follows_it_when_the_log_matches():
    """rule 20: the suffix stays, for it may have been acknowledged (Figure 13, InstallSnapshot RPC, 6)"""
    server = Server(term=3, entries=log(1, 1, 2, 2, 2, 3, 3), commit_index=1)
    server.receive("n2", chunk(0, b"all", done=True))
    assert (server.snapshot_chunks, server.log_resets) == ([], [])
    assert server.log_terms() == [1, 1, 2, 2, 2, 3, 3]
    assert server.commit_index == 5
    assert server.take_sent() == [("n2", wants(0, installed=True))]


def test_a_snapshot_of_what_is_committed_changes_nothing():
    """rule 20: a late one"""
    server = Server(term=3, entries=log(1, 1, 2, 2, 2, 3, 3), commit_index=6)
    server.receive("n2", chunk(0, b"all", last=(2, 1), done=True))
    assert (server.snapshot_chunks, server.commit_index) == ([], 6)
    assert server.take_sent() == [("n2", wants(0, last=(2, 1), installed=True))]


def test_chunks_are_taken_in_order_and_once():
    """Figure 13: data at the given offset; the answer names the next byte that is wanted"""
    server = Server(term=3)
    for offset, data in [(0, b"abcd"), (8, b"ijkl"), (0, b"abcd"), (4, b"efgh")]:
        server.receive("n2", chunk(offset, data))
    assert [taken.offset for taken in server.snapshot_chunks] == [0, 4]
    assert [reply.next_offset for _, reply in server.take_sent()] == [4, 4, 4, 8]
    server.receive("n2", chunk(8, b"ijkl", done=True))
    assert b"".join(taken.data for taken in server.snapshot_chunks) == b"abcdefghijkl"
    assert server.commit_index == 5


def test_a_broken_transfer_goes_on_where_it_was():
    """Figure 13: the same leader, leading again in a newer term, starts at 0 and is told where to go on"""
    server = Server(term=3)
    server.receive("n2", chunk(0, b"abcd"))
    server.take_sent()
    server.receive("n2", chunk(0, b"abcd", term=4))
    assert server.take_sent() == [("n2", wants(4, term=4))]


@pytest.mark.parametrize(("sender", "last"), [("n3", (5, 2)), ("n2", (6, 2))])
def test_another_snapshot_starts_from_its_own_beginning(sender, last):
    """Figure 13: another leader's file, or a newer one, may differ in its bytes"""
    server = Server(term=3)
    server.receive("n2", chunk(0, b"abcd"))
    server.take_sent()
    server.receive(sender, chunk(4, b"efgh", last=last, term=4))
    assert server.take_sent() == [(sender, wants(0, last=last, term=4))]
    assert len(server.snapshot_chunks) == 1


def test_a_snapshot_of_an_older_term_is_refused():
    """reject stale term (§5.1; rule 10)"""
    server = Server(term=9)
    server.receive("n2", chunk(0, b"abcd"))
    ((_, reply),) = server.take_sent()
    assert isinstance(reply, AppendReply)
    assert (reply.ok, reply.term, server.snapshot_chunks) == (False, 9, [])


def test_an_unsound_snapshot_is_asked_for_from_its_start():
    """rule 28: it is checked before it takes the place of anything"""
    server = Server(term=3, entries=log(1))
    server.raft.step(0.0, inputs.Received("n2", incarnation("n2"), chunk(0, b"abcd", done=True)))
    server.raft.ready()
    server.raft.advance()
    server.step(inputs.SnapshotFailed(5))
    assert (server.log_terms(), server.commit_index) == ([1], 0)
    server.receive("n2", chunk(4, b"efgh"))
    assert server.take_sent() == [("n2", wants(0))]


def test_a_log_about_to_give_way_takes_in_nothing():
    """rule 20: what came in between the last chunk and its installation would go with the old log, acknowledged"""
    server = Server(term=3)
    server.raft.step(0.0, inputs.Received("n2", incarnation("n2"), chunk(0, b"all", done=True)))
    server.raft.step(0.0, inputs.Received("n2", incarnation("n2"), append(3, entries=log(1, 1))))
    ready = server.raft.ready()
    assert (ready.entries, ready.messages_after_sync) == ([], [])


# the leader's end


def leader(*, entries: int = 10, snapshot_index: int = 8, **options: object) -> Server:
    """A leader of term 2 that has compacted its log up to a snapshot; n2 holds all of it, n3 has not answered yet."""
    server = Server(**{"term": 1, "entries": log(*[1] * entries), "trailing_entries": 0, **options})
    server.become_leader()
    server.acknowledge("n2")
    server.step(inputs.SnapshotWritten(snapshot_index, 1, 1_000, 0))
    server.take_sent()
    return server


def behind(server: Server) -> None:
    """n3 turns out to hold nothing."""
    probed_at = server.raft.state.progress["n3"].next_index - 1
    server.receive("n3", refusal(2, prev_log_index=probed_at, hint=(0, 0)))


def test_a_follower_behind_the_start_of_the_log_gets_the_snapshot():
    """§7: with the configuration and the term of its last entry"""
    server = leader()
    assert server.raft.state.log.first_index == 9
    behind(server)
    (message,) = server.sent_to("n3", InstallSnapshot)
    assert (message.last_index, message.last_term, message.offset) == (8, 1, 0)
    assert memberships.decode(message.membership) == MEMBERS
    assert server.raft.state.progress["n3"].state is ProgressState.SNAPSHOT


def test_a_snapshot_goes_with_the_configuration_of_its_index():
    """§7: a newer one, in the entries after it, may yet be rolled back"""
    server = leader()
    server.step(inputs.ChangeMembership(1, members("n1", "n2"), ()))
    assert server.raft.state.membership.joint
    behind(server)
    (message,) = server.sent_to("n3", InstallSnapshot)
    assert memberships.decode(message.membership) == MEMBERS


def test_chunks_follow_one_another_as_they_are_asked_for():
    """Figure 13"""
    server = leader()
    behind(server)
    for offset in (300, 600, 0, 300):
        server.take_sent()
        server.receive("n3", wants(offset, last=(8, 1), term=2))
        assert [message.offset for message in server.sent_to("n3", InstallSnapshot)] == [offset]


def test_a_repeated_answer_does_not_double_the_stream():
    """Figure 13: or every chunk from there on would go out twice"""
    server = leader()
    behind(server)
    server.take_sent()
    for _ in range(3):
        server.receive("n3", wants(300, last=(8, 1), term=2))
    assert [message.offset for message in server.sent_to("n3", InstallSnapshot)] == [300]


def test_a_lost_chunk_is_sent_again():
    """Figure 13"""
    server = leader()
    behind(server)
    server.take_sent()
    server.wait(ELECTION_TIMEOUT_S[1] + 2 * HEARTBEAT_INTERVAL_S)
    assert [message.offset for message in server.sent_to("n3", InstallSnapshot)] == [0]


def test_while_a_snapshot_is_on_its_way_the_follower_hears_heartbeats_and_gets_no_entries():
    """§5.2, §7"""
    server = leader()
    behind(server)
    server.take_sent()
    server.propose(b"x")
    server.wait(HEARTBEAT_INTERVAL_S)
    to_follower = server.sent_to("n3", AppendEntries)
    assert [(message.prev_log_index, message.entries) for message in to_follower] == [(0, ())]


def test_after_the_snapshot_come_the_entries():
    """§7"""
    server = leader()
    behind(server)
    server.take_sent()
    server.receive("n3", wants(0, last=(8, 1), term=2, installed=True))
    assert server.raft.state.progress["n3"].state is ProgressState.REPLICATE
    (message,) = server.sent_to("n3", AppendEntries)
    assert (message.prev_log_index, [entry.index for entry in message.entries]) == (8, [9, 10, 11])


def test_entries_a_receiver_will_want_are_kept():
    """§7: or it would need the next snapshot right after this one"""
    server = leader(entries=20)
    behind(server)
    server.receive("n3", wants(300, last=(8, 1), term=2))
    server.step(inputs.SnapshotWritten(20, 1, 2_000, 0))
    assert server.raft.state.log.first_index == 9
    server.take_sent()
    server.receive("n3", wants(600, last=(8, 1), term=2))
    assert [message.last_index for message in server.sent_to("n3", InstallSnapshot)] == [8], "it goes on with the old"


def test_what_leaves_the_log_is_handed_out():
    """§7; freeing many entries takes long, so the caller does it"""
    server = Server(term=2, entries=log(1, 1, 2), commit_index=3, trailing_entries=0)
    server.raft.step(server.now_s, inputs.SnapshotWritten(2, 1, 100, 0))
    ready = server.raft.ready()
    assert [[entry.index for entry in entries] for entries in ready.compacted] == [[1, 2]]
    server.raft.advance()
    assert not server.raft.has_ready()


def test_a_snapshot_of_which_nothing_has_arrived_gives_way_to_a_newer_one():
    """§7"""
    server = leader(entries=20)
    behind(server)
    server.take_sent()
    server.step(inputs.SnapshotWritten(20, 1, 2_000, 0))
    server.wait(HEARTBEAT_INTERVAL_S)
    assert [message.last_index for message in server.sent_to("n3", InstallSnapshot)] == [20]


def test_a_snapshot_that_is_gone_gives_way_to_the_newer_one():
    """§7: its file could not be read any more"""
    server = leader(entries=20)
    behind(server)
    server.receive("n3", wants(300, last=(8, 1), term=2))
    server.step(inputs.SnapshotWritten(20, 1, 2_000, 0))
    server.take_sent()
    server.step(inputs.SnapshotGone("n3"))
    (message,) = server.sent_to("n3", InstallSnapshot)
    assert (message.last_index, message.offset) == (20, 0)


def receiving(**options: object) -> Server:
    """A leader that has sent n3 a part of the snapshot up to entry 8, and has 3,000 bytes to keep for it."""
    server = leader(entries=20, snapshot_log_bytes=1_000, **options)
    behind(server)
    server.receive("n3", wants(300, last=(8, 1), term=2))
    server.take_sent()
    return server


def write_and_compact(server: Server, log_bytes: int) -> int:
    """n2 acknowledges one more entry, and a snapshot covers it; returns its index."""
    server.propose(b"x")
    server.acknowledge("n2")
    index = server.commit_index
    server.step(inputs.SnapshotWritten(index, 2, 2_000, log_bytes))
    return index


def test_a_snapshot_that_cannot_be_installed_gives_way_to_a_newer_one():
    """§7: what spoilt it, be it a damaged file or a want of room, would spoil it again"""
    server = receiving()
    for _ in range(20):
        index = write_and_compact(server, log_bytes=100)
        server.take_sent()
        sent_index = server.raft.state.progress["n3"].snapshot_index
        server.receive("n3", wants(0, last=(sent_index, server.raft.state.progress["n3"].snapshot_term), term=2))
        assert [(sent.last_index, sent.offset) for sent in server.sent_to("n3", InstallSnapshot)] == [(index, 0)]
        server.receive("n3", wants(300, last=(index, 2), term=2))
        assert server.raft.state.log.last_index - server.raft.state.log.first_index < 20


def test_the_newest_snapshot_is_sent_again_when_it_could_not_be_installed():
    """§7: while there is no newer one"""
    server = receiving()
    server.receive("n3", wants(0, last=(8, 1), term=2))
    assert [(sent.last_index, sent.offset) for sent in server.sent_to("n3", InstallSnapshot)] == [(8, 0)]


def test_what_is_kept_for_a_receiver_is_bounded():
    """§7: beyond that its snapshot leads nowhere, and the newest is begun; one it has nothing of yet keeps nothing"""
    server = receiving()
    write_and_compact(server, log_bytes=3_000)
    assert server.raft.state.log.first_index == 9
    assert server.sent_to("n3", InstallSnapshot) == []
    index = write_and_compact(server, log_bytes=3_001)
    assert server.raft.state.log.first_index == index + 1
    assert [(sent.last_index, sent.offset) for sent in server.sent_to("n3", InstallSnapshot)] == [(index, 0)]
    index = write_and_compact(server, log_bytes=100)
    assert server.raft.state.log.first_index == index + 1, "n3 may be gone for good"


def test_a_leader_without_room_keeps_nothing_for_a_receiver():
    """§7: it takes no commands as long as its disk is full"""
    server = receiving()
    server.propose(b"x")
    server.acknowledge("n2")
    server.step(inputs.DiskChanged(DiskState.FILLING))
    server.step(inputs.SnapshotWritten(server.commit_index, 2, 2_000, 100))
    assert server.raft.state.log.first_index == server.commit_index + 1


def test_a_receiver_that_is_silent_while_it_installs_goes_on_with_entries():
    """§7: to check a snapshot and restore the state takes a while, and a snapshot of the leader's own may end in it"""
    server = receiving()
    server.wait(2 * ELECTION_TIMEOUT_S[1])
    index = write_and_compact(server, log_bytes=100)
    server.take_sent()
    server.receive("n3", wants(0, last=(8, 1), term=2, installed=True))
    assert server.sent_to("n3", InstallSnapshot) == []
    (message,) = server.sent_to("n3", AppendEntries)
    assert (message.prev_log_index, message.entries[-1].index) == (8, index)


def test_a_follower_that_catches_up_after_a_snapshot_is_not_overtaken():
    """§7: what it lacks is kept until it has been as far as the others"""
    server = receiving()
    server.wait(3 * HEARTBEAT_INTERVAL_S)
    server.receive("n3", wants(0, last=(8, 1), term=2, installed=True))
    server.acknowledge("n3", 10)
    write_and_compact(server, log_bytes=100)
    assert server.raft.state.log.first_index == 11
    server.step(inputs.ReportUnreachable("n3"))
    write_and_compact(server, log_bytes=100)
    assert server.raft.state.log.first_index == 11
    server.acknowledge("n3")
    index = write_and_compact(server, log_bytes=100)
    assert server.raft.state.log.first_index == index + 1


def test_a_follower_that_does_not_catch_up_after_a_snapshot_is_given_up():
    """§7: and keeps nothing from then on, whatever it does"""
    server = receiving()
    server.receive("n3", wants(0, last=(8, 1), term=2, installed=True))
    server.wait(3 * HEARTBEAT_INTERVAL_S)
    write_and_compact(server, log_bytes=3_001)
    index = write_and_compact(server, log_bytes=100)
    assert server.raft.state.log.first_index == index + 1


def test_a_snapshot_that_was_installed_after_all_is_enough_where_the_log_goes_on_behind_it():
    """§7: a newer one had been begun, for nothing had been heard of this one"""
    server = leader(trailing_entries=4)
    behind(server)
    write_and_compact(server, log_bytes=100)
    assert server.raft.state.log.first_index == 9
    server.take_sent()
    server.receive("n3", wants(0, last=(8, 1), term=2, installed=True))
    assert server.raft.state.progress["n3"].state is ProgressState.REPLICATE
    assert [message.prev_log_index for message in server.sent_to("n3", AppendEntries)] == [8]


def test_an_answer_about_another_snapshot_moves_nothing():
    """Figure 13: a late one"""
    server = leader()
    behind(server)
    server.take_sent()
    server.receive("n3", wants(300, last=(4, 1), term=2))
    assert server.sent_to("n3", InstallSnapshot) == []


def test_trailing_entries_spare_a_follower_that_is_nearly_up_to_date_the_snapshot():
    """§7"""
    server = leader(trailing_entries=3)
    assert server.raft.state.log.first_index == 6
    server.receive("n3", refusal(2, prev_log_index=10, hint=(5, 1)))
    assert [message.prev_log_index for message in server.sent_to("n3", AppendEntries)] == [5]


def test_a_server_starts_from_its_snapshot():
    """§7: what it holds is applied, committed, and what the log's checks begin with"""
    group = Group("n1", "n2", "n3", trailing_entries=0)
    group.elect("n1")
    group.propose(b"x", b"y")
    group.await_agreement()
    group["n2"].take_snapshot()
    group.propose(b"z")
    group.await_agreement()
    group.restart("n2")
    state = group["n2"].raft.state
    assert (state.log.first_index, state.log.last_index, state.last_applied) == (4, 4, 3)
    group.propose(b"!")
    group.await_agreement()
    assert group["n2"].commands() == [b"x", b"y", b"z", b"!"]


def test_a_slow_receiver_of_a_snapshot_holds_up_nobody():
    """§7: the others commit meanwhile, and it catches up in the end, whatever was compacted meanwhile"""
    group = Group("n1", "n2", "n3", trailing_entries=0)
    leader_ = group.elect("n1")
    group.isolate("n3")
    group.propose(*(b"%d" % number for number in range(100)))
    group.await_agreement("n1", "n2")
    leader_.take_snapshot()
    group.heal()
    group.far = {"n3"}
    for number in range(20):
        group.propose(b"meanwhile %d" % number)
        begun_s = group.now_s
        group.await_agreement("n1", "n2")
        assert group.now_s - begun_s <= 0.2
        leader_.take_snapshot()
    group.await_agreement()
    assert leader_.role is Role.LEADER
    assert len(group["n3"].commands()) == 120
