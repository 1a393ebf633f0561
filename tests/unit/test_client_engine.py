"""How requests find their leader, and what is said of those that do not."""

import contextlib
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from raft_zmq.client.calls import Call
from raft_zmq.client.client import RaftClient, open_engine
from raft_zmq.client.config import Endpoint
from raft_zmq.client.errors import NotDoneError, RefusedError
from raft_zmq.client.leader import SEARCH_AFRESH_S, LeaderBelief
from raft_zmq.core.errors import OutcomeUnknownError, SettingsError
from raft_zmq.settings import FRAME_BYTES_MIN
from raft_zmq.wire.client_messages import Busy, Done, Read, Redirect, Refused, Request, Status, Unknown, Write
from raft_zmq.wire.commands import KEY_BYTES_MAX, VALUE_BYTES_MAX, CompareAndSwap, Increment, Put
from tests.unit.client_fakes import FakeNode, Follower, Leader, config, status


@pytest.fixture
def nodes() -> Iterator[tuple[FakeNode, FakeNode, FakeNode]]:
    three = FakeNode("a"), FakeNode("b"), FakeNode("c")
    yield three
    for node in three:
        node.stop()


def test_leader_is_found_by_the_word_of_a_follower(nodes):
    a, _b, c = nodes
    Follower(a, leader=c), Leader(c)
    with RaftClient(config(a)) as client:  # c is in no configuration
        client.put(b"k", b"v")
        assert client.get(b"k") == b"v"
    assert not a.received(Write)
    assert len(c.received(Write)) == 2  # the session's opening, and the put


def test_highest_term_is_believed(nodes):
    a, b, c = nodes
    stale = Leader(a, term=4)
    Leader(b, term=7, replica=stale.replica)  # the session is known to both, whichever the client finds first
    Follower(c, term=5, leader=a)
    with RaftClient(config(*nodes)) as client:
        client.put(b"k", b"1")
        client.put(b"k", b"2")
        deadline = time.monotonic() + 5
        while client.engine.belief.leader.node_id != "b":
            assert time.monotonic() < deadline
            client.get(b"k")
        assert client.engine.belief.leader.term == 7


def test_redirect_is_followed(nodes):
    a, b, _ = nodes
    leader = Leader(a)
    with RaftClient(config(a, b)) as client:
        client.put(b"k", b"1")
        Leader(b, term=2, replica=leader.replica)
        Follower(a, term=2, leader=b)
        client.put(b"k", b"2")
        assert client.get(b"k") == b"2"
        assert client.engine.belief.leader.node_id == "b"


def test_two_nodes_that_name_each_other_do_not_make_the_client_spin(nodes):
    a, b, _ = nodes
    Leader(a)
    with RaftClient(config(a, b)) as client:
        client.get(b"k")
        Follower(a, term=2, leader=b), Follower(b, term=2, leader=a)
        with pytest.raises(NotDoneError):
            client.get(b"k", timeout_s=0.5)
    assert len(a.received(Read)) + len(b.received(Read)) < 100


def test_requests_of_one_turn_share_a_message(nodes):
    a, _, _ = nodes
    Leader(a)
    engine = open_engine(config(a))
    done: list[Call] = []
    for _ in range(100):
        engine.read(b"\x93\xa3Get\xc4\x01k", 5.0, done.append)
    while len(done) < 100:
        engine.turn()
    engine.close()
    assert [call.error for call in done] == [None] * 100
    assert [len(batch) for batch in a.batches if isinstance(batch[0], Read)] == [100]


@pytest.mark.parametrize("submit", ["write", "read"])
def test_requests_of_one_turn_fit_into_the_smallest_frame_that_a_node_may_be_set_to(submit):
    """it would end the connection on a larger one, and the same would be sent again and again"""
    small = FakeNode("a", frame_bytes_max=FRAME_BYTES_MIN)
    answer = Leader(small)
    small.answer = lambda request: answer(request) if isinstance(request, Status) else Done(request.request_id, b"")
    engine = open_engine(config(small))
    done: list[Call] = []
    for _ in range(200):
        getattr(engine, submit)(bytes(600), 2.0, done.append)
    while len(done) < 200:
        engine.turn()
    engine.close()
    small.stop()
    assert [call.error for call in done] == [None] * 200


def test_busy_is_tried_again_after_the_time_it_names(nodes):
    a, _, _ = nodes
    leader = Leader(a)
    refusals = 2

    def answer(request: Request):
        nonlocal refusals
        if isinstance(request, Read) and refusals:
            refusals -= 1
            return Busy(request.request_id, 0.15)
        return leader(request)

    a.answer = answer
    with RaftClient(config(a)) as client:
        started = time.monotonic()
        assert client.get(b"k") is None
        assert time.monotonic() - started >= 0.3
    assert len(a.received(Read)) == 3


@pytest.mark.parametrize("retry_after_s", [0.01, 0.0, -1.0, float("nan")])
def test_who_is_told_busy_again_and_again_comes_ever_more_rarely(nodes, retry_after_s):
    a, _, _ = nodes
    leader = Leader(a)
    relieved_at = time.monotonic() + 1.0
    a.answer = lambda request: (
        Busy(request.request_id, retry_after_s)
        if isinstance(request, Read) and time.monotonic() < relieved_at
        else leader(request)
    )
    with RaftClient(config(a)) as client:
        assert client.get(b"k") is None
    assert 2 <= len(a.received(Read)) < 30, "a hundred would come if each pause were 10 ms"


def test_a_pause_without_an_end_ends_with_the_request(nodes):
    a, _, _ = nodes
    leader = Leader(a)
    a.answer = lambda request: Busy(request.request_id, float("inf")) if isinstance(request, Read) else leader(request)
    with RaftClient(config(a)) as client, pytest.raises(NotDoneError):
        client.get(b"k", timeout_s=0.3)


def test_a_lost_connection_moves_its_requests_to_the_next_leader(nodes):
    _a, b, c = nodes
    dead = FakeNode("d")
    leader = Leader(dead)
    with RaftClient(config(dead, b, c)) as client:
        client.incr(b"n")
        dead.answer = lambda request: leader(request) and None  # applied and never answered
        session = client._session
        call = client.engine.write(session.next_command(Increment(b"n", 1)), 5.0, lambda call: None)
        while leader.replica.last_applied < 3:
            client.engine.turn(0.01)
        dead.stop()
        Leader(b, term=2, replica=leader.replica), Follower(c, term=2, leader=b)
        started = time.monotonic()
        client.engine.wait_for(call)
        assert time.monotonic() - started < 1.0
        assert client.get(b"n") == b"2"  # sent to both, applied once


def test_a_silent_leader_is_left_when_another_has_a_higher_term(nodes):
    a, b, c = nodes
    Leader(a)
    with RaftClient(config(*nodes)) as client:
        client.get(b"k")
        a.answer = lambda request: None  # stopped, with its connection open
        Leader(b, term=2), Follower(c, term=2, leader=b)
        started = time.monotonic()
        assert client.get(b"k") is None
        assert time.monotonic() - started < 1.0


def test_write_that_was_never_taken_is_certainly_not_done(nodes):
    a, b, _ = nodes
    Follower(a), Follower(b)
    with RaftClient(config(a, b), timeout_s=0.3) as client, pytest.raises(NotDoneError) as raised:
        client.put(b"k", b"v")
    assert "a leader within 0.3 s, found none: " in str(raised.value)
    assert "follower of term 1, knows no leader" in str(raised.value)
    assert raised.value.exit_code == 3


def test_write_that_was_only_redirected_is_certainly_not_done(nodes):
    a, _, _ = nodes
    leader = Leader(a)
    a.answer = lambda request: leader(request) if isinstance(request, Status) else Redirect(request.request_id, "", "")
    with RaftClient(config(a), timeout_s=0.3) as client, pytest.raises(NotDoneError):
        client.put(b"k", b"v")
    assert a.received(Write)


def test_write_without_an_answer_is_unknown(nodes):
    a, _, _ = nodes
    leader = Leader(a)
    with RaftClient(config(a), timeout_s=0.5) as client:
        client.put(b"k", b"v")
        a.answer = lambda request: leader(request) if isinstance(request, Status) else None
        with pytest.raises(OutcomeUnknownError, match="may still take effect") as raised:
            client.put(b"k", b"w")
        assert raised.value.exit_code == 3
        with pytest.raises(NotDoneError):
            client.get(b"k")  # a read leaves no trace


def test_write_for_which_no_session_could_be_opened_is_certainly_not_done(nodes):
    a, _, _ = nodes
    leader = Leader(a)
    a.answer = lambda request: leader(request) if isinstance(request, Status) else None
    with RaftClient(config(a), timeout_s=0.5) as client:
        with pytest.raises(NotDoneError, match="no session could be opened, so nothing was written") as raised:
            client.put(b"k", b"v")
        assert isinstance(raised.value.__cause__, OutcomeUnknownError), "what became of the session is another matter"
        with pytest.raises(NotDoneError, match="within 0 s"):
            client.put(b"k", b"v", timeout_s=-1.0)


def test_unknown_answer_is_retried_with_the_same_bytes(nodes):
    a, _, _ = nodes
    leader = Leader(a)
    unknown = 2

    def answer(request: Request):
        nonlocal unknown
        if isinstance(request, Write) and leader.replica.last_applied and unknown:
            unknown -= 1
            leader(request)
            return Unknown(request.request_id, "leadership was lost")
        return leader(request)

    a.answer = answer
    with RaftClient(config(a)) as client:
        assert client.incr(b"n") == 1
    writes = a.received(Write)
    assert len(writes) == 4  # the opening, and three times the increment
    assert len({write.command for write in writes[1:]}) == 1


def test_refusal_after_an_unanswered_sending_is_unknown(nodes):
    a, _, _ = nodes
    leader = Leader(a)
    with RaftClient(config(a)) as client:
        client.put(b"k", b"v")
        answers = [Unknown, Refused]

        def answer(request: Request):
            if isinstance(request, Write):
                kind = answers.pop(0)
                if kind is Unknown:
                    return Unknown(request.request_id, "leadership was lost")
                return Refused(request.request_id, "session_expired", "expected a live session")
            return leader(request)

        a.answer = answer
        with pytest.raises(OutcomeUnknownError):
            client.put(b"k", b"w")


def test_ended_session_is_replaced_when_the_write_certainly_was_not_done(nodes):
    a, _, _ = nodes
    Leader(a)
    with RaftClient(config(a)) as client:
        client.incr(b"n")
        Leader(a)  # a new state machine knows no session
        assert client.incr(b"n") == 1


def test_refusal_says_its_kind(nodes):
    a, _, _ = nodes
    leader = Leader(a)
    a.answer = lambda request: (
        Refused(request.request_id, "not_allowed", "expected a client that may write")
        if isinstance(request, Write)
        else leader(request)
    )
    with RaftClient(config(a)) as client, pytest.raises(RefusedError, match="not allowed: expected a client") as raised:
        client.put(b"k", b"v")
    assert (raised.value.kind, raised.value.exit_code) == ("not_allowed", 2)


def test_a_leader_without_room_for_its_log_is_left_for_its_successor(nodes):
    """it hears no peer, so it does not know that it has one"""
    a, b, c = nodes
    stuck = Leader(a, term=1)
    with RaftClient(config(*nodes)) as client:
        client.put(b"k", b"v")
        a.answer = lambda request: (
            stuck(request) if isinstance(request, Status) else Refused(request.request_id, "disk_full", "no room")
        )
        with pytest.raises(RefusedError, match="disk full: no room"):
            client.get(b"k")
        Leader(b, term=2, replica=stuck.replica), Follower(c, term=2, leader=b)
        deadline = time.monotonic() + 5
        while b.received(Read) == []:
            assert time.monotonic() < deadline, "expected to find the successor"
            with contextlib.suppress(RefusedError):
                client.get(b"k")
        assert client.get(b"k") == b"v"


def test_a_leader_whose_disk_is_full_and_that_leads_on_is_not_left(nodes):
    """it refuses writes and serves reads: those under way are not sent again for each refusal"""
    a, _, _ = nodes
    leader = Leader(a)
    a.answer = lambda request: (
        leader(request)
        if isinstance(request, Status)
        else None
        if isinstance(request, Read)
        else Refused(request.request_id, "disk_full", "no room")
    )
    engine = open_engine(config(a))
    engine.read(b"query", 5.0, lambda call: None)
    for _ in range(20):
        write = engine.write(b"command", 5.0, lambda call: None)
        with pytest.raises(RefusedError):
            engine.wait_for(write)
    engine.close()
    assert len(a.received(Write)) == 20
    assert len(a.received(Read)) == 1


def test_a_member_that_nobody_can_connect_to_does_no_harm(nodes):
    """somebody mistyped its address; a client that looks for a leader asks all members it has heard of"""
    a, b, _ = nodes
    mistyped = {"d": "http://d:6000", "e": "e", "f": "f:99999"}
    told = msgspec.structs.replace(status("a", "follower", 1), client_addresses=mistyped)
    Follower(a), Follower(b)
    answer = a.answer
    a.answer = lambda request: (
        Done(request.request_id, msgspec.msgpack.encode(told)) if isinstance(request, Status) else answer(request)
    )
    with RaftClient(config(a, b), timeout_s=0.5) as client, pytest.raises(NotDoneError):
        client.put(b"k", b"v")


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (Put(bytes(KEY_BYTES_MAX + 1), b""), "key"),
        (Put(b"k", bytes(VALUE_BYTES_MAX + 1)), "value"),
        (CompareAndSwap(b"k", bytes(VALUE_BYTES_MAX), bytes(VALUE_BYTES_MAX)), "cas"),
    ],
    ids=["key", "value", "both values"],
)
def test_what_no_node_takes_is_not_sent(nodes, operation, name):
    """a frame beyond the limit ends the connection, and what became of a write is not known"""
    with (
        RaftClient(config(*nodes)) as client,
        pytest.raises(RefusedError, match=f"invalid: {name}: expected .*at most"),
    ):
        client.write(operation)
    assert not any(node.requests for node in nodes)


@pytest.mark.interpreted
def test_the_leader_is_known_by_the_answer_even_if_its_connection_went_with_it(nodes):
    a, _, _ = nodes
    Leader(a)
    with RaftClient(config(a)) as client:
        take = client.engine._take

        def take_and_lose(link, answers):
            take(link, answers)
            if a.received(Read):
                client.engine.belief.doubt()

        client.engine._take = take_and_lose
        assert client.find_leader() == a.address


@pytest.mark.parametrize("alone", [True, False], ids=["one node", "a follower beside it"])
def test_a_leader_that_is_busy_with_something_large_keeps_its_connection(nodes, alone):
    """what is on its way there, or back, would be lost with it, as often as it is sent"""
    a, b, _ = nodes
    leader = Leader(a)
    Follower(b, leader=a)
    with RaftClient(config(a) if alone else config(a, b), timeout_s=10) as client:
        client.put(b"k", b"v")
        busy = threading.Event()  # nobody sets it: the node is silent for that long, and then has no answer
        believed, link = client.engine.belief.leader, client.engine._links._links[a.address, 0]
        a.answer = lambda request: None if isinstance(request, Read) and not busy.wait(2.5) else leader(request)
        call = client.engine.read(b"query", 3.0, lambda call: None)
        with contextlib.suppress(NotDoneError):
            client.engine.wait_for(call)
        assert client.engine._links._links[a.address, 0] is link
        assert client.engine.belief.leader is believed


def test_an_address_that_cannot_be_one_ends_the_calls_to_it_alone(nodes):
    a, _, _ = nodes
    Leader(a)
    with RaftClient(config(a)) as client:
        client.put(b"k", b"v")
        lost = client.engine.ask(Status, 1.0, lambda call: None, address="no address")
        kept = client.engine.ask(Status, 1.0, lambda call: None, address=a.address)
        client.engine.wait_for(kept)
        with pytest.raises(SettingsError, match="expected host:port, found 'no address'"):
            client.engine.wait_for(lost)


def test_membership_change_is_never_sent_twice(nodes):
    a, _, _ = nodes
    leader = Leader(a)
    a.answer = lambda request: (
        leader(request) if isinstance(request, Status | Read) else Unknown(request.request_id, "lost")
    )
    with RaftClient(config(a)) as client, pytest.raises(OutcomeUnknownError):
        client.change_members(remove=["b"])
    assert len([request for request in a.requests if not isinstance(request, Status)]) == 1


def test_idle_client_waits_without_turning(nodes):
    a, _, _ = nodes
    Leader(a)
    with RaftClient(config(a)) as client:
        client.get(b"k")
        before = time.process_time()
        client.engine.turn(0.5)
        assert time.process_time() - before < 0.05
        assert client.engine.idle


def test_late_answer_to_a_call_past_its_deadline_is_ignored(nodes):
    a, _, _ = nodes
    leader = Leader(a)
    late: list[Request] = []
    with RaftClient(config(a)) as client:
        client.get(b"k")
        a.answer = lambda request: leader(request) if isinstance(request, Status) else late.append(request)
        with pytest.raises(NotDoneError):
            client.get(b"k", timeout_s=0.2)
        a.answer = lambda request: Done(late[0].request_id, b"") if isinstance(request, Status) else leader(request)
        assert client.get(b"k") is None


def test_node_that_does_not_talk_to_this_client_says_why(nodes):
    a, _, _ = nodes
    a.answer = lambda request: Refused(0, "invalid", "cluster_id: expected 'prod', found 'raft'.")
    with RaftClient(config(a), timeout_s=0.4) as client, pytest.raises(NotDoneError) as raised:
        client.get(b"k")
    assert f"found none: a ({a.address}): cluster_id: expected 'prod', found 'raft'; check" in str(raised.value)


def test_members_that_a_removed_node_names_are_asked_who_leads(nodes):
    a, _, c = nodes
    Leader(c)
    removed = msgspec.structs.replace(status("a"), client_addresses={"c": c.address})
    a.answer = lambda request: (
        Done(request.request_id, msgspec.msgpack.encode(removed))
        if isinstance(request, Status)
        else Redirect(request.request_id, "", "")
    )
    with RaftClient(config(a)) as client:  # a knows that c is a member, and not that it leads
        client.put(b"k", b"v")
        assert client.get(b"k") == b"v"


def test_members_of_a_cluster_set_up_anew_are_learnt_though_its_terms_are_lower():
    belief = LeaderBelief([Endpoint("", "service:6000")])
    belief.heard("service:6000", msgspec.structs.replace(status("a", term=9), client_addresses={"a": "old:6000"}))
    belief.search(0.0)
    belief.search(SEARCH_AFRESH_S + 0.1)
    belief.heard("service:6000", msgspec.structs.replace(status("b", term=1), client_addresses={"b": "new:6000"}))
    assert belief.addresses() == ["service:6000", "new:6000"]
