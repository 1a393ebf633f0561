"""Heartbeats that need no answer: a leader with nothing to do does not have its followers say so each time."""

import pytest

from raft_zmq.core import inputs
from raft_zmq.core.messages import AppendEntries, AppendReply, DiskState
from tests.unit.raft_server import ELECTION_TIMEOUT_S, HEARTBEAT_INTERVAL_S, Server, append, log

ASKED_AFTER_S = ELECTION_TIMEOUT_S[1] / 3


def leader(**options: object) -> Server:
    """A leader whose followers have just said that they have everything."""
    server = Server(**options)
    server.become_leader()
    server.acknowledge("n2")
    server.acknowledge("n3")
    server.take_sent()
    return server


def heartbeat_to(server: Server, follower: str) -> AppendEntries:
    """The next one."""
    server.take_sent()
    server.wait(HEARTBEAT_INTERVAL_S)
    (message,) = server.sent_to(follower, AppendEntries)
    return message


def test_who_has_everything_is_asked_nothing_until_it_has_been_silent_for_long():
    server = leader()
    asked = 0.0
    silent_s = 0.0
    while not asked:
        quiet = heartbeat_to(server, "n2").quiet
        silent_s += HEARTBEAT_INTERVAL_S
        assert quiet == (silent_s < ASKED_AFTER_S - 1e-9)
        asked = 0.0 if quiet else silent_s
    assert not heartbeat_to(server, "n2").quiet, "and then in each, for an answer may be lost"
    server.acknowledge("n2")
    assert heartbeat_to(server, "n2").quiet


@pytest.mark.parametrize("trouble", ["connection", "disk"])
def test_who_is_in_trouble_is_asked(trouble):
    server = leader()
    if trouble == "connection":
        server.step(inputs.ReportUnreachable("n2"))
    else:
        server.raft.state.progress["n2"].disk = DiskState.FULL
    assert not heartbeat_to(server, "n2").quiet
    assert heartbeat_to(server, "n3").quiet


def test_who_lacks_an_entry_is_asked():
    server = leader()
    server.propose(b"one")
    server.acknowledge("n2")
    assert heartbeat_to(server, "n2").quiet
    assert not heartbeat_to(server, "n3").quiet


def test_a_read_asks_everyone():
    """thesis 6.4"""
    server = leader()
    server.read(ticket=4)
    assert [message.quiet for to in ("n2", "n3") for message in server.sent_to(to, AppendEntries)] == [False, False]
    assert not heartbeat_to(server, "n2").quiet


def test_a_lease_is_extended_by_answers_to_every_heartbeat():
    """thesis 6.4.1"""
    server = leader(lease_reads=True, check_quorum=True)
    assert not heartbeat_to(server, "n2").quiet


def follower(**options: object) -> Server:
    return Server(term=1, entries=log(1, 1), **options)


def quiet(**fields: int) -> AppendEntries:
    return append(**{"term": 1, "prev": (2, 1), **fields}, quiet=True)


def test_a_quiet_heartbeat_is_heard_and_not_answered():
    """§5.2: it keeps the follower from an election all the same"""
    server = follower()
    server.wait(0.9 * ELECTION_TIMEOUT_S[0])
    server.receive("n2", quiet(commit=2))
    assert server.commit_index == 2
    assert server.leader_id == "n2"
    assert server.sent_to("n2", AppendReply) == []
    server.wait(0.9 * ELECTION_TIMEOUT_S[0])
    assert server.term == 1


@pytest.mark.parametrize(
    "fields",
    [{"prev": (3, 1)}, {"prev": (2, 2), "term": 2}, {"term": 0}],
    ids=["entries are missing", "an entry differs", "the leader is of an older term"],
)
def test_who_has_something_to_say_against_it_answers(fields):
    """§5.1, §5.3"""
    server = follower(check_quorum=True)
    server.receive("n2", quiet(**fields))
    (reply,) = server.sent_to("n2", AppendReply)
    assert not reply.ok


def test_who_has_trouble_with_its_disk_answers():
    server = follower()
    server.step(inputs.DiskChanged(DiskState.FILLING))
    server.receive("n2", quiet())
    (reply,) = server.sent_to("n2", AppendReply)
    assert (reply.ok, reply.disk) == (True, DiskState.FILLING)
