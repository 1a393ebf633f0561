"""Pipelined replication with a window for each follower (thesis 10.2.1): probe, replicate, snapshot."""

import itertools

import pytest

from raft_zmq.core import inputs
from raft_zmq.core.log import ENTRY_BYTES
from raft_zmq.core.messages import AppendEntries, PeerMessage
from raft_zmq.core.progress import ProgressState
from raft_zmq.core.state import Role
from tests.unit.raft_group import Group
from tests.unit.raft_server import HEARTBEAT_INTERVAL_S, Server, log, refusal, vote

PROBE, REPLICATE, SNAPSHOT = ProgressState.PROBE, ProgressState.REPLICATE, ProgressState.SNAPSHOT


def leader(**options: object) -> Server:
    """A leader of term 1 to whom only n2 has answered."""
    server = Server(**options)
    server.become_leader()
    server.acknowledge("n2")
    server.take_sent()
    return server


def carrying(server: Server, to: str) -> list[list[int]]:
    """The indexes in each append with entries to that follower since the last look."""
    return [
        [entry.index for entry in message.entries] for message in server.sent_to(to, AppendEntries) if message.entries
    ]


def state(server: Server, follower: str) -> ProgressState:
    return server.raft.state.progress[follower].state


def test_a_dead_follower_gets_one_message_at_a_time():
    """flow control with a dead follower: a probe a heartbeat interval, however much there is to send"""
    server = leader()
    for _ in range(50):
        server.propose(b"x")
    assert carrying(server, "n3") == [], "the probe from the election is still unanswered"
    assert state(server, "n3") is PROBE
    server.take_sent()
    server.wait(10 * HEARTBEAT_INTERVAL_S)
    assert len(carrying(server, "n3")) <= 10
    assert len(server.sent_to("n3", AppendEntries)) <= 20
    assert server.role is Role.LEADER


def test_a_dead_follower_holds_up_nobody():
    """flow control with a dead follower"""
    server = leader()
    for number in range(100):
        server.propose(b"%d" % number)
        server.acknowledge("n2")
    assert server.commit_index == 101
    assert len(server.applied) == 101


def test_a_follower_that_answers_is_streamed_to():
    """thesis 10.2.1: entries leave before the earlier ones are answered"""
    server = leader()
    for _ in range(3):
        server.propose(b"x")
    assert carrying(server, "n2") == [[2], [3], [4]]


@pytest.mark.parametrize(
    ("window", "sent"),
    [
        ({"inflight_messages_max": 3}, [[2], [3], [4]]),
        ({"inflight_bytes_max": 25}, [[2], [3], [4]]),
        ({"inflight_bytes_max": 10}, [[2]]),
    ],
)
def test_a_slow_follower_has_no_more_on_the_way_than_its_window(window, sent):
    """flow control with a slow follower: a window in messages and one in bytes; an answer opens it"""
    server = leader(**window)
    for _ in range(6):
        server.propose(b"x" * 10)
    assert carrying(server, "n2") == sent
    server.take_sent()
    server.acknowledge("n2", 2)
    newest = sent[-1][-1]
    assert carrying(server, "n2") == [list(range(newest + 1, 8))], "what waited goes in one message"


def test_a_full_window_still_lets_heartbeats_through():
    """flow control with a slow follower (§5.2): or it would begin an election"""
    server = leader(inflight_messages_max=1)
    for _ in range(3):
        server.propose(b"x")
    server.take_sent()
    server.wait(HEARTBEAT_INTERVAL_S)
    assert [message.entries for message in server.sent_to("n2", AppendEntries)] == [()]


def test_entries_larger_than_the_batch_limit_go_alone():
    """entries larger than the batch limit"""
    server = leader(append_bytes_max=100 + 2 * ENTRY_BYTES)
    server.propose(b"x" * 60, b"x" * 40, b"x" * 500, b"x" * 500, b"x", b"y")
    assert carrying(server, "n2") == [[2, 3], [4], [5], [6, 7]]
    server.acknowledge("n2")
    assert server.commit_index == 7


def test_entries_larger_than_limit_and_window_arrive_all_the_same():
    """entries larger than the batch limit, and than the window too"""
    group = Group("n1", "n2", "n3", append_bytes_max=10, inflight_bytes_max=10)
    group.elect("n1")
    group.propose(b"x" * 1_000, b"y", b"z" * 1_000)
    group.await_agreement()


def test_commands_that_come_in_together_leave_together():
    """thesis 10.2.1: batching"""
    server = leader()
    for ticket in range(5):
        server.raft.step(server.now_s, inputs.Propose(ticket, [b"x"]))
    server.work()
    assert carrying(server, "n2") == [[2, 3, 4, 5, 6]]


def test_a_gap_in_the_stream_is_found_and_filled():
    """flow control: replicate → probe → replicate, when a message of the stream was lost"""
    server = leader()
    server.propose(b"lost")
    server.propose(b"arrives, and does not fit")
    server.take_sent()
    server.receive("n2", refusal(1, prev_log_index=2, hint=(1, 1)))
    assert carrying(server, "n2") == [[2, 3]]
    assert state(server, "n2") is PROBE
    server.acknowledge("n2")
    assert (state(server, "n2"), server.commit_index) == (REPLICATE, 3)


def test_a_lost_end_of_the_stream_is_found_by_a_heartbeat():
    """flow control: nothing comes after what was lost, and still the follower gets it"""
    group = Group("n1", "n2", "n3")
    group.elect("n1")
    group.lost = lambda sender, to, message: bool(getattr(message, "entries", ()))
    group.propose(b"x")
    group.run(0.02)
    group.heal()
    group.run_until(group.agreed, limit_s=4 * HEARTBEAT_INTERVAL_S)


def test_a_lost_connection_leads_back_to_probing():
    """flow control: what was on the way may be lost"""
    server = leader()
    server.propose(b"x")
    server.take_sent()
    server.step(inputs.ReportUnreachable("n2"))
    assert state(server, "n2") is PROBE
    assert carrying(server, "n2") == [[2]]


def test_late_answers_to_an_earlier_probe_move_nothing():
    """flow control: only the probe under way is answered"""
    server = leader(term=1, entries=log(1, 1, 1, 1, 1))
    server.receive("n3", refusal(2, prev_log_index=5, hint=(3, 1)))
    server.take_sent()
    server.receive("n3", refusal(2, prev_log_index=5, hint=(1, 1)))
    assert server.raft.state.progress["n3"].next_index == 4
    assert carrying(server, "n3") == []


def test_a_returning_follower_goes_through_all_states():
    """flow control with a dead, a slow and a returning follower (probe → replicate → snapshot → replicate)"""
    group = Group("n1", "n2", "n3", trailing_entries=0)
    leader_ = group.elect("n1")
    seen: list[ProgressState] = []

    def watch(sender: str, to: str, message: PeerMessage) -> bool:
        seen.append(state(leader_, "n3"))
        return False

    group.lost = watch
    group.run(0.2)
    group.stop("n3")
    group.run(0.05)  # its last answers arrive
    group.propose(*(b"%d" % number for number in range(100)))
    group.step("n1", inputs.ReportUnreachable("n3"))
    group.await_agreement("n1", "n2")
    leader_.take_snapshot()
    group.propose(b"after the snapshot")
    group.run(1.0)
    group.restart("n3")
    group.far = {"n3"}  # and slow, too
    group.await_agreement()
    group.run(0.2)
    assert [key for key, _ in itertools.groupby(seen)] == [REPLICATE, PROBE, SNAPSHOT, REPLICATE]
    assert len(group["n3"].commands()) == 101


def test_a_new_leader_probes_first():
    """flow control: probe → replicate, with the first answer (§5.3: nextIndex is the leader's last index + 1)"""
    server = Server(term=1, entries=log(1, 1))
    server.campaign()
    server.take_sent()
    server.receive("n2", vote(2))
    assert [message.prev_log_index for message in server.sent_to("n3", AppendEntries)] == [2]
    assert (state(server, "n3"), carrying(server, "n3")) == (PROBE, [[3]])
    server.acknowledge("n3")
    assert state(server, "n3") is REPLICATE
