"""Who waits for what on a node, and what it is told: answers hang on the log, on the read index, and on leadership."""

import msgspec
import pytest

from raft_zmq.core import inputs
from raft_zmq.core import membership as memberships
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import Entry, EntryKind
from raft_zmq.core.ready import Accepted, ReadGranted, Refused
from raft_zmq.node import requests, work
from raft_zmq.node.caller import Caller
from raft_zmq.node.requests import (
    QUERIES_BYTES_MAX,
    QUERIES_BYTES_MAX_OF_CLIENT,
    QUERY_BYTES_MAX,
    TURNED_AWAY_S,
    Requests,
)
from raft_zmq.observability.metrics import Metrics
from raft_zmq.settings import FRAME_MARGIN_BYTES, Settings
from raft_zmq.state_machine.replica import SESSION_EXPIRED
from raft_zmq.transport.keys import ANONYMOUS, ClientUser
from raft_zmq.transport.roles import Role
from raft_zmq.wire.client_messages import Busy, ChangeMembers, Done, Read, Redirect, Status, Unknown, Write
from raft_zmq.wire.client_messages import Refused as RefusedAnswer
from raft_zmq.wire.commands import OpenSession
from tests.unit.raft_server import Server

CLIENT = b"routing id"
NOW_S = 7.0
FRAME_BYTES = 64 << 20
COMMAND = msgspec.msgpack.encode(OpenSession(b"nonce"))


class World:
    """The requests of one node; the test is the core and the state machine."""

    def __init__(self, most: int = 10, most_of_client: int = 6) -> None:
        self.stepped: list[inputs.Input] = []
        self.state = Server().raft.state
        self.state.memberships = [(0, Membership(voters=(Member("n2", "host:1", "host:2", "disk"),)))]
        self.asked_here: list[object] = []
        settings = Settings(requests_max=most, client_requests_max=most_of_client, frame_bytes_max=FRAME_BYTES)
        self.requests = Requests(
            settings,
            self.state,
            lambda query: b"found " + query,
            self.stepped.append,
            Metrics(str, dict),
            self._answer_here,
        )

        self.admission = self.requests._admission

    def _answer_here(self, caller, request):
        self.asked_here.append(request)
        self.requests.done(caller, None)

    def ask(self, *requests):
        self.requests.receive([(CLIENT, ANONYMOUS, list(requests))])
        self.requests.go_on()
        return [item.ticket for item in self.stepped[-2:]]

    def answers(self):
        return self.requests.take_answers().get(CLIENT, [])


@pytest.fixture
def world():
    return World()


def test_a_read_waits_until_its_index_is_applied(world):
    """rule 18 (§8, thesis 6.4)"""
    (ticket,) = world.ask(Read(7, b"key"))
    world.requests.read_granted(ReadGranted(ticket, read_index=5), last_applied=3)
    world.requests.applied([Entry(4, 1, EntryKind.NOOP, b"")], [None], last_applied=4, committed_s=NOW_S)
    assert world.answers() == []
    world.requests.applied([Entry(5, 1, EntryKind.NOOP, b"")], [None], last_applied=5, committed_s=NOW_S)
    assert world.answers() == [Done(7, b"found key")]


def test_a_read_of_what_is_applied_is_answered_at_once(world):
    (ticket,) = world.ask(Read(7, b"key"))
    world.requests.read_granted(ReadGranted(ticket, read_index=5), last_applied=5)
    assert world.answers() == [Done(7, b"found key")]


def test_writes_are_answered_once_applied_each_with_its_own_outcome(world):
    """§5.3: respond after the entry is applied to the state machine"""
    (ticket,) = world.ask(Write(1, COMMAND), Write(2, COMMAND), Write(3, COMMAND))
    world.requests.accepted(Accepted(ticket, first_index=8, term=1), NOW_S)
    assert world.answers() == []
    entries = [Entry(index, 1, EntryKind.COMMAND, COMMAND) for index in (8, 9, 10)]
    world.requests.applied(entries, [b"one", SESSION_EXPIRED, b"three"], last_applied=10, committed_s=NOW_S)
    done, expired, third = world.answers()
    assert (done, third) == (Done(1, b"one"), Done(3, b"three"))
    assert isinstance(expired, RefusedAnswer)
    assert (expired.request_id, expired.kind) == (2, "session_expired")


def test_with_leadership_lost_a_write_in_the_log_is_unknown(world):
    """rule 24 (rule 22): it may yet be committed; and what another leader put in its place answers nobody"""
    (ticket,) = world.ask(Write(1, COMMAND))
    world.requests.accepted(Accepted(ticket, first_index=8, term=1), NOW_S)
    world.requests.leadership_lost()
    (answer,) = world.answers()
    assert isinstance(answer, Unknown)
    world.requests.applied([Entry(8, 2, EntryKind.COMMAND, COMMAND)], [b"another's"], last_applied=8, committed_s=NOW_S)
    assert world.answers() == []


def test_what_the_next_leader_committed_at_that_index_answers_nobody(world):
    """rules 22, 24: one message may bring it and end this leadership; it is applied before anyone hears of the end"""
    (write,) = world.ask(Write(1, COMMAND), Write(2, COMMAND), Status(3))
    assert world.admission.admit("anonymous", 1)
    world.requests.change_members(Caller(CLIENT, 4, "anonymous"), ChangeMembers(4))
    change = world.stepped[-1].ticket
    world.requests.accepted(Accepted(write, first_index=8, term=1), NOW_S)
    world.requests.accepted(Accepted(change, first_index=10, term=1), NOW_S)
    assert world.answers() == [Done(3, msgspec.msgpack.encode(None))]
    entries = [
        Entry(8, 1, EntryKind.COMMAND, COMMAND),
        Entry(9, 2, EntryKind.COMMAND, COMMAND),
        Entry(10, 2, EntryKind.CONFIGURATION, memberships.encode(Membership())),
    ]
    world.requests.applied(entries, [b"its own", b"another's", None], last_applied=10, committed_s=NOW_S)
    assert world.answers() == [Done(1, b"its own")]
    world.requests.leadership_lost()
    assert [(type(answer), answer.request_id) for answer in world.answers()] == [(Unknown, 2), (Unknown, 4)]


def test_a_node_that_does_not_lead_names_the_leader(world):
    """thesis 6.2"""
    (write, read) = world.ask(Write(1, COMMAND), Read(2, b"key"))
    world.requests.refused(Refused(write, "not_leader"))
    assert world.answers() == [Redirect(1, "", "")]
    world.state.leader_id = "n2"
    world.requests.refused(Refused(read, "not_leader"))
    assert world.answers() == [Redirect(2, "n2", "host:2")]


def test_a_node_with_too_much_to_do_says_when_to_come_again(world):
    (ticket,) = world.ask(Write(1, COMMAND))
    world.requests.refused(Refused(ticket, "busy"))
    (answer,) = world.answers()
    assert isinstance(answer, Busy)
    assert answer.retry_after_s > 0


def test_all_writes_of_a_turn_are_one_proposal_and_all_reads_one_round(world):
    """thesis 6.4, 10.2.1"""
    world.ask(Write(1, COMMAND), Read(2, b"a"), Write(3, COMMAND), Read(4, b"b"))
    proposal, read = world.stepped
    assert isinstance(proposal, inputs.Propose)
    assert proposal.commands == [COMMAND, COMMAND]
    assert isinstance(read, inputs.Read)


def test_what_is_let_in_in_the_middle_of_a_turn_begins_with_the_next(world):
    """what may take long waits for a turn's own time"""
    world.requests.receive([(CLIENT, ANONYMOUS, [Write(1, COMMAND), Read(2, b"a"), Status(3)])])
    assert (world.stepped, world.asked_here) == ([], [])
    assert world.requests.has_work
    world.requests.go_on()
    assert [type(item) for item in world.stepped] == [inputs.Propose, inputs.Read]
    assert world.asked_here == [Status(3)]
    assert not world.requests.has_work


def test_a_turn_proposes_a_bounded_number_of_writes_and_the_next_goes_on(world, monkeypatch):
    monkeypatch.setattr(requests, "WRITES_IN_TURN", 2)
    world.ask(*(Write(number, COMMAND) for number in range(1, 6)))
    assert world.requests.has_work
    world.requests.go_on()
    world.requests.go_on()
    assert not world.requests.has_work
    assert [len(proposal.commands) for proposal in world.stepped] == [2, 2, 1]


def test_turns_are_shorter_while_some_are_turned_away(world, monkeypatch):
    monkeypatch.setattr(requests, "WRITES_IN_TURN", 4)
    monkeypatch.setattr(requests, "WRITES_IN_OVERLOADED_TURN", 2)
    world.admission.under_way += 4  # of others: there is room for six
    world.ask(*(Write(number, COMMAND) for number in range(1, 8)))  # one too many
    world.requests._overloaded_s -= 2 * requests.OVERLOADED_S  # the last one long ago
    world.requests.go_on()
    assert [len(proposal.commands) for proposal in world.stepped] == [2, 4]


def test_a_node_is_overloaded_when_it_is_full_of_requests_or_of_bytes(world):
    world.admission.under_way += 9  # of others: there is room for one
    world.ask(Write(1, COMMAND))
    assert not world.requests.overloaded()
    world.ask(Write(2, COMMAND))
    assert world.requests.overloaded()
    world.requests._overloaded_s -= 2 * requests.OVERLOADED_S
    world.admission.under_way -= 9
    world.requests._writes._bytes_max = 0
    world.ask(Write(3, COMMAND), Write(4, COMMAND))
    assert world.requests.overloaded()


def test_one_client_with_too_many_requests_makes_no_turn_shorter(world, monkeypatch):
    monkeypatch.setattr(requests, "WRITES_IN_TURN", 4)
    monkeypatch.setattr(requests, "WRITES_IN_OVERLOADED_TURN", 2)
    world.ask(*(Write(number, COMMAND) for number in range(1, 8)))  # one more than it may have under way
    assert [len(proposal.commands) for proposal in world.stepped] == [4]


def test_writes_that_wait_are_forgotten_with_their_connection(world, monkeypatch):
    monkeypatch.setattr(requests, "WRITES_IN_TURN", 2)
    world.ask(*(Write(number, COMMAND) for number in range(1, 6)))
    world.requests.forget(CLIENT)
    assert not world.requests.has_work
    assert world.requests.levels()["requests_under_way"] == 2, "those that are proposed stay under way"


def test_what_is_refused_is_refused_to_those_that_wait_behind_it_too(world, monkeypatch):
    monkeypatch.setattr(requests, "WRITES_IN_TURN", 2)
    world.ask(*(Write(number, COMMAND) for number in range(1, 6)))
    (proposal,) = world.stepped
    world.requests.refused(Refused(proposal.ticket, "not_leader"))
    assert world.answers() == [Redirect(number, "", "") for number in range(1, 6)]
    assert not world.requests.has_work


def test_a_full_disk_is_told_to_those_that_wait_too(world, monkeypatch):
    monkeypatch.setattr(requests, "WRITES_IN_TURN", 2)
    world.ask(*(Write(number, COMMAND) for number in range(1, 4)))
    world.requests.decline([(CLIENT, ANONYMOUS, [Write(4, COMMAND)])], "no room")
    assert [(answer.request_id, answer.kind) for answer in world.answers()] == [(4, "disk_full"), (3, "disk_full")]


def test_a_full_disk_is_told_to_what_was_let_in_and_not_yet_begun(world):
    world.requests.receive([(CLIENT, ANONYMOUS, [Write(1, COMMAND), Read(2, b"query")])])
    world.requests.decline((), "no room")
    assert [(answer.request_id, answer.kind) for answer in world.answers()] == [(1, "disk_full"), (2, "disk_full")]
    assert world.requests.levels()["requests_under_way"] == 0
    assert not world.stepped


def test_what_was_let_in_and_not_yet_begun_goes_with_its_connection(world):
    world.requests.receive([(CLIENT, ANONYMOUS, [Write(1, COMMAND), Read(2, b"query")])])
    world.requests.forget(CLIENT)
    world.requests.go_on()
    assert not world.stepped
    assert world.requests.levels()["requests_under_way"] == 0


def test_waiting_writes_have_a_bound_in_bytes(world):
    large = msgspec.msgpack.encode(OpenSession(bytes(world.state.config.uncommitted_bytes_max // 2)))
    world.ask(*(Write(number, large) for number in (1, 2, 3)))
    assert world.requests.take_refusals() == {CLIENT: [Busy(2, TURNED_AWAY_S), Busy(3, TURNED_AWAY_S)]}
    (proposal,) = world.stepped
    assert proposal.commands == [large]
    assert world.requests.levels()["requests_under_way"] == 1


def test_a_command_that_fits_into_no_message_to_a_follower_never_gets_into_the_log(world):
    """it would keep every later entry from being replicated"""
    fits = FRAME_BYTES - FRAME_MARGIN_BYTES
    command = msgspec.msgpack.encode(OpenSession(b"nonce"))
    world.requests.receive([(CLIENT, ANONYMOUS, [Write(1, command.ljust(fits + 1)), Write(2, command.ljust(fits))])])
    world.requests.go_on()
    (answer,) = world.answers()
    assert (answer.request_id, answer.kind) == (1, "invalid")
    assert f"at most {fits} bytes, found {fits + 1}" in answer.message
    assert [len(proposal.commands) for proposal in world.stepped] == [1]


def test_what_is_no_clients_command_never_gets_into_the_log(world):
    world.requests.receive([(CLIENT, ANONYMOUS, [Write(1, b"nonsense")])])
    (answer,) = world.answers()
    assert isinstance(answer, RefusedAnswer)
    assert (answer.kind, world.stepped) == ("invalid", [])


def test_too_many_requests_of_one_client_are_answered_busy_at_once(world):
    (ticket,) = world.ask(*(Write(number, COMMAND) for number in range(1, 10)))
    assert world.requests.take_refusals() == {CLIENT: [Busy(number, TURNED_AWAY_S) for number in (7, 8, 9)]}
    assert world.answers() == []
    world.requests.accepted(Accepted(ticket, first_index=1, term=1), NOW_S)
    assert world.requests.levels() == {"requests_under_way": 6, "writes_under_way": 6}
    world.requests.leadership_lost()
    assert world.requests.levels() == {"requests_under_way": 0, "writes_under_way": 0}
    assert len(world.answers()) == 6


def test_every_way_to_an_answer_makes_room_again(world):
    """A request that was counted and never discounted would in the end shut out everyone."""
    for _ in range(10):
        write, read = world.ask(Write(1, COMMAND), Read(2, b"key"), Write(3, b"nonsense"), Read(4, bytes(20_000)))
        world.requests.refused(Refused(write, "busy"))
        world.requests.read_granted(ReadGranted(read, read_index=0), last_applied=0)
        world.ask(Status(5))
        assert len(world.answers()) == 5
    world.requests.decline([(CLIENT, ANONYMOUS, [Write(1, COMMAND), Status(2)])], "no room")
    assert len(world.answers()) == 2
    assert world.admission.under_way == 0
    assert len(world.asked_here) == 11


def test_nothing_is_looked_up_for_a_client_that_is_gone(world, monkeypatch):
    monkeypatch.setattr(work, "WORK_S", 0.0)
    (ticket,) = world.ask(*(Read(number, b"key") for number in range(5)))
    world.requests.read_granted(ReadGranted(ticket, read_index=0), last_applied=0)
    assert len(world.answers()) <= 1
    assert world.requests.has_work
    world.requests.forget(CLIENT)
    assert not world.requests.has_work
    assert world.admission.under_way == 0


def large_reads(count):
    """That many queries of the largest size."""
    return [Read(number, bytes(QUERY_BYTES_MAX)) for number in range(1, count + 1)]


def test_waiting_queries_of_a_client_have_a_bound_in_bytes():
    world = World(most=100_000, most_of_client=100_000)
    fit = QUERIES_BYTES_MAX_OF_CLIENT // QUERY_BYTES_MAX
    world.ask(*large_reads(fit + 2))
    assert world.requests.take_refusals() == {CLIENT: [Busy(fit + number, TURNED_AWAY_S) for number in (1, 2)]}
    assert world.requests.levels()["requests_under_way"] == fit
    assert not world.requests.overloaded(), "others are let in"
    world.requests.receive([(b"another", ClientUser("other", Role.READ_ONLY), large_reads(1))])
    assert world.requests.take_refusals() == {}


def test_waiting_queries_of_all_clients_have_a_bound_in_bytes():
    world = World(most=100_000, most_of_client=100_000)
    fit = QUERIES_BYTES_MAX // QUERY_BYTES_MAX
    for number in range(fit):
        world.requests.receive([(CLIENT, ClientUser(f"client {number}", Role.READ_ONLY), large_reads(1))])
    assert world.requests.take_refusals() == {}
    world.requests.receive([(CLIENT, ANONYMOUS, [Read(1, bytes(QUERY_BYTES_MAX)), Read(2, b"small")])])
    assert world.requests.take_refusals() == {CLIENT: [Busy(1, TURNED_AWAY_S)]}
    assert world.requests.overloaded()


@pytest.mark.parametrize("end", ["looked up", "refused", "declined", "forgotten", "forgotten when granted"])
def test_every_way_a_query_ends_makes_room_for_others(world, monkeypatch, end):
    monkeypatch.setattr(work, "WORK_S", 0.0 if end == "forgotten when granted" else 60.0)
    world.requests.receive([(CLIENT, ANONYMOUS, large_reads(4))])
    assert world.requests._queries.under_way == 4 * QUERY_BYTES_MAX
    if end == "declined":
        world.requests.decline((), "no room")
    elif end == "forgotten":
        world.requests.forget(CLIENT)
    else:
        world.requests.go_on()
        (read,) = world.stepped
        if end == "refused":
            world.requests.refused(Refused(read.ticket, "not_leader"))
        else:
            world.requests.read_granted(ReadGranted(read.ticket, read_index=0), last_applied=0)
            assert world.requests.has_work == (end == "forgotten when granted")
            world.requests.forget(CLIENT)
    assert world.requests._queries.under_way == 0
    assert world.admission.under_way == 0


def test_a_query_of_any_size_is_not_kept_waiting(world):
    world.requests.receive([(CLIENT, ANONYMOUS, [Read(1, bytes(QUERY_BYTES_MAX + 1))])])
    (answer,) = world.answers()
    assert (answer.kind, world.stepped) == ("invalid", [])
