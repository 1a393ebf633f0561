"""A leader with a full disk, a follower with one, and a slow disk: what the servers tell each other of their disks."""

import msgspec

from raft_zmq.core import handover, inputs
from raft_zmq.core.messages import AppendEntries, AppendReply, DiskState
from raft_zmq.core.state import Role
from tests.unit.raft_group import Group
from tests.unit.raft_server import Server, append, append_reply, log


def leader() -> Server:
    """A leader of three whose followers hold its whole log."""
    server = Server()
    server.become_leader()
    for follower in ("n2", "n3"):
        server.acknowledge(follower)
    server.take_sent()
    return server


def hears(server: Server, follower: str, disk: DiskState) -> None:
    """That follower holds everything, and says how its disk is."""
    reply = append_reply(server.term, server.raft.state.log.last_index)
    server.receive(follower, msgspec.structs.replace(reply, disk=disk))


def test_a_leader_with_a_full_disk_refuses_commands_and_grants_reads():
    """a leader with a full disk"""
    for disk in (DiskState.FILLING, DiskState.FULL):
        server = leader()
        server.step(inputs.DiskChanged(disk))
        before = server.raft.state.log.last_index
        server.propose(b"x", ticket=7)
        (refused,) = server.refused
        assert (refused.ticket, refused.reason) == (7, "disk_full")
        assert "n1" in refused.detail
        assert server.raft.state.log.last_index == before
        server.read(ticket=8)
        token = server.sent_to("n2", AppendEntries)[-1].read_token
        server.acknowledge("n2", read_token=token)
        assert [granted.ticket for granted in server.reads] == [8]
        server.step(inputs.DiskChanged(DiskState.GOOD))
        server.propose(b"x", ticket=9)
        assert [accepted.ticket for accepted in server.accepted] == [9]


def test_a_slow_disk_takes_commands():
    server = leader()
    server.step(inputs.DiskChanged(DiskState.SLOW))
    server.propose(b"x")
    assert server.refused == []


def test_no_majority_with_room_means_no_commands():
    """Nothing is put into the log that nobody can commit."""
    server = leader()
    hears(server, "n2", DiskState.FULL)
    server.propose(b"x")
    assert server.refused == []
    hears(server, "n3", DiskState.FULL)
    server.propose(b"x")
    assert [refused.reason for refused in server.refused] == ["disk_full"]
    assert "n2, n3" in server.refused[0].detail
    hears(server, "n3", DiskState.FILLING)
    server.propose(b"x")
    assert len(server.refused) == 1


def test_a_follower_without_room_takes_no_entries_and_says_so():
    server = Server(term=1, entries=log(1, 1))
    server.step(inputs.DiskChanged(DiskState.FULL))
    server.take_sent()
    server.receive("n2", append(1, prev=(2, 1), entries=log(1, 1, 1)[2:], commit=3))
    (reply,) = server.sent_to("n2", AppendReply)
    assert (reply.ok, reply.match_index, reply.disk) == (True, 2, DiskState.FULL)
    assert server.log_terms() == [1, 1]
    assert server.commit_index == 2, "no further than this request has verified (rule 4)"
    server.receive("n2", append(1, prev=(3, 1)))
    assert server.sent_to("n2", AppendReply)[-1].disk is DiskState.FULL, "a refusal says it too"


def test_a_follower_whose_disk_is_filling_still_takes_entries():
    server = Server(term=1, entries=log(1, 1))
    server.step(inputs.DiskChanged(DiskState.FILLING))
    server.receive("n2", append(1, prev=(2, 1), entries=log(1, 1, 1)[2:]))
    assert server.log_terms() == [1, 1, 1]


def test_a_leader_sends_no_entries_to_a_full_disk_and_goes_on_where_there_is_room_again():
    group = Group("n1", "n2", "n3")
    group.elect("n1")
    group.step("n3", inputs.DiskChanged(DiskState.FULL))
    group.run(1.0)
    before = group["n3"].raft.state.log.last_index
    group.delivered.clear()
    for number in range(20):
        group.step("n1", inputs.Propose(number, [b"x" * 100]))
        group.run(0.1)
    assert group["n1"].commit_index == before + 20
    assert group["n3"].raft.state.log.last_index == before
    sent = [m for _, to, m in group.delivered if to == "n3" and isinstance(m, AppendEntries)]
    assert sent, "heartbeats go on"
    assert all(message.entries == () for message in sent)
    assert group["n3"].role is Role.FOLLOWER
    group.step("n3", inputs.DiskChanged(DiskState.GOOD))
    group.run_until(lambda: group["n3"].commit_index == before + 20)


def test_a_follower_without_room_still_votes():
    group = Group("n1", "n2", "n3")
    group.elect("n1")
    group.step("n3", inputs.DiskChanged(DiskState.FULL))
    group.stop("n1")
    group.run_until(lambda: any(group[name].role is Role.LEADER for name in ("n2", "n3")))


def test_whom_a_leader_with_a_bad_disk_hands_over_to():
    """Only to a server that is better off: where all disks are alike, leadership stays where it is."""
    server = leader()
    state = server.raft.state
    assert handover.with_better_disk(state) == ""
    server.step(inputs.DiskChanged(DiskState.SLOW))
    assert handover.with_better_disk(state) == "n3"
    hears(server, "n3", DiskState.SLOW)
    assert handover.with_better_disk(state) == "n2"
    hears(server, "n2", DiskState.SLOW)
    assert handover.with_better_disk(state) == ""
    server.step(inputs.DiskChanged(DiskState.FILLING))
    hears(server, "n3", DiskState.FULL)
    assert handover.with_better_disk(state) == "n2", "slow is better than full"


def test_a_transfer_to_anyone_prefers_a_good_disk():
    server = leader()
    server.propose(b"x")
    server.acknowledge("n3")
    hears(server, "n3", DiskState.SLOW)
    server.step(inputs.TransferLeadership(1, ""))
    assert server.raft.state.transfer is not None
    assert server.raft.state.transfer.target == "n2"
