"""Client sessions (thesis 6.3): each command once, ended alike on every node, whatever the batches."""

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft_zmq.core.errors import StorageError
from raft_zmq.core.messages import Entry, EntryKind
from raft_zmq.state_machine import sessions
from raft_zmq.state_machine.kv import KeyValueStore
from raft_zmq.state_machine.replica import SESSION_EXPIRED, Replica, chain
from raft_zmq.state_machine.replica_snapshot import CHUNK_BYTES
from raft_zmq.state_machine.sessions import id_of
from raft_zmq.wire.commands import AdvanceClock, Append, Command, Get, Increment, OpenSession, Outcome, SessionCommand

encode = msgspec.msgpack.encode


def decode(outcome: bytes | None) -> Outcome:
    return msgspec.msgpack.decode(outcome, type=Outcome)


class Log:
    """Makes the entries of a log, one for each command, and applies them to a replica one at a time."""

    def __init__(self) -> None:
        self.replica = Replica(KeyValueStore())
        self.entries: list[Entry] = []

    def add(self, command: Command | bytes, kind: EntryKind = EntryKind.COMMAND) -> bytes | None:
        data = command if isinstance(command, bytes) else encode(command)
        self.entries.append(Entry(len(self.entries) + 1, 1 + len(self.entries) // 10, kind, data))
        return self.replica.apply(self.entries[-1:])[0]

    def open(self, nonce: bytes = b"nonce") -> int:
        session_id = decode(self.add(OpenSession(nonce))).output
        assert isinstance(session_id, int)
        return session_id

    def increment(self, session_id: int, number: int, acknowledged: int = 0) -> bytes | None:
        return self.add(SessionCommand(session_id, number, acknowledged, encode(Increment(b"counter", 1))))

    def counter(self) -> bytes | None:
        return decode(self.replica.machine.query(encode(Get(b"counter")))).output

    def tick(self, cluster_time_ms: int, session_ttl_ms: int = 1000) -> None:
        assert decode(self.add(AdvanceClock(cluster_time_ms, session_ttl_ms))) == Outcome()


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_sessions_id_cannot_be_guessed(log):
    """It depends on the nonce, which other clients do not know, and on the entry's place; equal logs give equal ids."""
    other = Log()
    other.add(b"", EntryKind.NOOP)
    ids = [log.open(b"one"), log.open(b"two"), other.open(b"one")]
    assert len(set(ids)) == 3
    assert all(2**40 < session_id < 2**63 for session_id in ids), "small ones could be tried one after the other"
    again = Log()
    assert [again.open(b"one"), again.open(b"two")] == ids[:2]


def test_a_command_under_a_guessed_id_does_nothing(log):
    session_id = log.open()
    for guess in (1, 2, session_id - 1, session_id + 1):
        assert log.increment(guess, 1) == SESSION_EXPIRED
    assert decode(log.increment(session_id, 1)).output == 1


@pytest.mark.interpreted
def test_two_sessions_never_share_an_id(log, monkeypatch):
    monkeypatch.setattr(sessions, "id_of", lambda nonce, index: 7)
    assert log.open(b"one") == 7
    assert "another's" in decode(log.add(OpenSession(b"two"))).error


def test_an_opening_that_was_sent_twice_gives_one_session(log):
    assert log.open(b"one") == log.open(b"one")
    assert log.replica.sessions == 1


def test_a_nonce_of_an_ended_session_opens_a_new_one(log):
    first = log.open(b"one")
    log.tick(5000)
    assert log.open(b"one") != first


@pytest.mark.parametrize("nonce", [b"", b"n" * 65])
def test_an_unfit_nonce_opens_nothing(log, nonce):
    assert "nonce" in decode(log.add(OpenSession(nonce))).error
    assert log.replica.sessions == 0


def test_no_more_sessions_than_the_limit(log, monkeypatch):
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 2)
    first = log.open(b"1")
    log.open(b"2")
    assert "fewer than 2" in decode(log.add(OpenSession(b"3"))).error
    assert log.open(b"1") == first, "a repeated opening needs no room"


def test_a_command_sent_again_is_answered_again_and_not_applied_again(log):
    session_id = log.open()
    outcomes = {log.increment(session_id, 1) for _ in range(3)}
    assert [decode(outcome).output for outcome in outcomes] == [1]
    assert log.counter() == b"1"


def test_numbers_may_arrive_in_any_order(log):
    session_id = log.open()
    assert [decode(log.increment(session_id, number)).output for number in (3, 1, 2, 3, 1)] == [1, 2, 3, 1, 2]


def test_an_acknowledged_number_is_stale(log):
    session_id = log.open()
    log.increment(session_id, 1)
    log.increment(session_id, 2, acknowledged=1)
    assert decode(log.increment(session_id, 1)).error.startswith("stale")
    assert log.counter() == b"2"


def test_acknowledgements_never_go_back(log):
    session_id = log.open()
    log.increment(session_id, 5, acknowledged=4)
    log.increment(session_id, 6, acknowledged=0)
    assert decode(log.increment(session_id, 3, acknowledged=0)).error.startswith("stale")


def test_a_command_that_acknowledges_itself_does_nothing(log):
    assert decode(log.increment(log.open(), 1, acknowledged=2**63)).error.startswith("stale")
    assert log.counter() is None


def test_sessions_do_not_share_numbers(log):
    one, two = log.open(b"one"), log.open(b"two")
    log.increment(one, 1)
    log.increment(two, 1)
    assert log.counter() == b"2"


def test_an_unknown_session_is_expired(log):
    assert log.increment(99, 1) == SESSION_EXPIRED
    assert log.counter() is None


def test_a_session_ends_after_its_idle_time_in_cluster_time(log):
    idle, busy = log.open(b"idle"), log.open(b"busy")
    log.tick(1000)
    log.increment(busy, 1)
    assert log.replica.sessions == 2, "idle for exactly the time-to-live is not too long"
    log.tick(1001)
    assert log.increment(idle, 1) == SESSION_EXPIRED
    assert decode(log.increment(busy, 2)).output == 2


def test_cluster_time_never_goes_back(log):
    log.tick(5000)
    log.tick(100)
    assert log.replica.cluster_time_ms == 5000


def test_a_session_with_too_many_unacknowledged_answers_ends(log, monkeypatch):
    monkeypatch.setattr("raft_zmq.state_machine.replica.OUTCOMES_MAX", 3)
    session_id = log.open()
    assert all(log.increment(session_id, number) for number in (1, 2, 3))
    assert decode(log.increment(session_id, 4, acknowledged=1)).output == 4
    assert log.increment(session_id, 5, acknowledged=1) == SESSION_EXPIRED
    assert log.increment(session_id, 4) == SESSION_EXPIRED
    assert log.counter() == b"4"


@pytest.mark.parametrize("bad", [b"", b"\xff", encode([1, 0, 1, 0, b""]), encode([9, b""]), encode([2, b"n", None])])
def test_an_unreadable_command_is_an_error_outcome(log, bad):
    assert "expected an encoded command" in decode(log.add(bad)).error


def test_an_unreadable_operation_has_an_outcome_that_is_remembered(log):
    session_id = log.open()
    command = SessionCommand(session_id, 1, 0, b"\xff")
    assert decode(log.add(command)).error == decode(log.add(command)).error != ""
    log.increment(session_id, 1)
    assert log.counter() is None


def test_other_kinds_of_entries_have_no_outcome_but_count_in_the_digest(log):
    digests = {log.replica.digest}
    assert log.add(b"", EntryKind.NOOP) is None
    digests.add(log.replica.digest)
    assert log.add(b"members", EntryKind.CONFIGURATION) is None
    digests.add(log.replica.digest)
    assert len(digests) == 3


@pytest.mark.parametrize("index", [1, 3])
def test_a_gap_or_a_repetition_is_a_programming_error(log, index):
    log.add(b"", EntryKind.NOOP)
    with pytest.raises(AssertionError, match=f"entry {index} applied after 1"):
        log.replica.apply([Entry(index, 1, EntryKind.NOOP, b"")])


def test_checkpoints_stand_at_powers_of_two(log):
    digest = 0
    wanted = []
    for index in range(1, 20):
        log.add(b"", EntryKind.NOOP)
        digest = chain(digest, log.entries[-1])
        if index in (1, 2, 4, 8, 16):
            wanted.append((index, log.entries[-1].term, f"{digest:016x}"))
    assert [(point.index, point.term, point.digest) for point in log.replica.checkpoints] == wanted


def test_a_digest_depends_on_everything_in_an_entry():
    entry = Entry(5, 2, EntryKind.COMMAND, b"data")
    others = [
        msgspec.structs.replace(entry, **change)
        for change in ({"index": 6}, {"term": 3}, {"kind": EntryKind.NOOP}, {"data": b"datA"})
    ]
    digests = {chain(0, entry), chain(1, entry), *(chain(0, other) for other in others)}
    assert len(digests) == 6


def test_an_ended_session_in_the_middle_of_a_batch_leaves_nothing_behind():
    log = Log()
    session_id = log.open(b"a")
    log.increment(session_id, 1)
    log.tick(10_000)
    log.increment(session_id, 2)
    again = log.open(b"a")
    whole = Replica(KeyValueStore())
    results = whole.apply(log.entries)
    assert results[3] == SESSION_EXPIRED
    assert decode(results[4]).output == again
    assert contents(whole) == contents(log.replica)


def contents(replica: Replica) -> list[bytes]:
    return list(replica.snapshot())


# The first two are opened first, the third may come next, none has the id 9. Few numbers, so that they meet often.
SESSION_IDS = [id_of(b"1", 1), id_of(b"2", 2), id_of(b"3", 3), 9]
COMMANDS = st.one_of(
    st.builds(
        SessionCommand,
        session_id=st.sampled_from(SESSION_IDS),
        number=st.integers(1, 6),
        acknowledged=st.integers(0, 6),
        operation=st.sampled_from([encode(Increment(b"n", 1)), encode(Append(b"log", b"x")), b"\xff"]),
    ),
    st.builds(OpenSession, st.sampled_from([b"1", b"2", b"3"])),
    st.builds(AdvanceClock, cluster_time_ms=st.integers(0, 50), session_ttl_ms=st.integers(10, 20)),
    st.just(b"\xff"),
)


@st.composite
def logs(draw) -> list[Entry]:
    commands = [OpenSession(b"1"), OpenSession(b"2"), *draw(st.lists(COMMANDS, max_size=40))]
    datas = [command if isinstance(command, bytes) else encode(command) for command in commands]
    return [Entry(index, 1, EntryKind.COMMAND, data) for index, data in enumerate(datas, start=1)]


class SessionModel:
    """The rules of thesis 6.3 in their plainest form: everything remembered, one command at a time."""

    def __init__(self) -> None:
        self.time, self.live, self.counts = 0, {}, {}

    def apply(self, entry: Entry) -> object:
        try:
            command = msgspec.msgpack.decode(entry.data, type=Command)
        except msgspec.DecodeError:
            return "error"
        if isinstance(command, AdvanceClock):
            self.time = max(self.time, command.cluster_time_ms)
            self.live = {
                name: one for name, one in self.live.items() if self.time - one["used"] <= command.session_ttl_ms
            }
            return None
        if isinstance(command, OpenSession):
            for name, one in self.live.items():
                if one["nonce"] == command.nonce:
                    one["used"] = self.time
                    return name
            session_id = id_of(command.nonce, entry.index)
            self.live[session_id] = {"nonce": command.nonce, "used": self.time, "done": {}, "acknowledged": 0}
            return session_id
        return self.once(command)

    def once(self, command: SessionCommand) -> object:
        session = self.live.get(command.session_id)
        if session is None:
            return "expired"
        session["used"] = self.time
        session["acknowledged"] = max(session["acknowledged"], command.acknowledged)
        if command.number <= session["acknowledged"]:
            return "error"
        if command.number not in session["done"]:
            self.counts[command.operation] = self.counts.get(command.operation, 0) + 1
            outcome = "error" if command.operation == b"\xff" else self.counts[command.operation]
            session["done"][command.number] = outcome
        return session["done"][command.number]


def readable(outcome: bytes | None) -> object:
    if outcome == SESSION_EXPIRED:
        return "expired"
    decoded = decode(outcome)
    return "error" if decoded.error else decoded.output


@settings(deadline=None)  # a busy machine is no failure
@given(logs())
def test_each_command_takes_effect_once_as_in_the_plain_model(entries):
    model = SessionModel()
    results = Replica(KeyValueStore()).apply(entries)
    assert [readable(result) for result in results] == [model.apply(entry) for entry in entries]


@settings(deadline=None)  # a busy machine is no failure
@given(logs(), st.lists(st.integers(0, 42), max_size=6))
def test_batches_make_no_difference(entries, cuts):
    one_by_one, batched = Replica(KeyValueStore()), Replica(KeyValueStore())
    want = [one_by_one.apply([entry])[0] for entry in entries]
    edges = [0, *sorted(min(cut, len(entries)) for cut in cuts), len(entries)]
    found = [result for start, end in itertools.pairwise(edges) for result in batched.apply(entries[start:end])]
    assert found == want
    assert contents(batched) == contents(one_by_one)


@settings(deadline=None)  # a busy machine is no failure
@given(logs(), st.integers(0, 42))
def test_a_snapshot_in_the_middle_changes_nothing(entries, cut):
    straight, before, after = (Replica(KeyValueStore()) for _ in range(3))
    want = straight.apply(entries)
    before.apply(entries[:cut])
    then = contents(before)
    snapshot = before.snapshot()
    before.apply(entries[cut:])
    chunks = list(snapshot)
    assert chunks == then, "it must not follow"
    after.restore(chunks)
    assert after.last_applied == len(entries[:cut])
    assert after.apply(entries[cut:]) == want[cut:]
    assert contents(after) == contents(before) == contents(straight)
    assert (after.digest, after.last_applied, after.last_applied_term) == (
        straight.digest,
        straight.last_applied,
        straight.last_applied_term,
    )


def test_many_sessions_are_restored_from_several_chunks(log):
    for number in range(3000):
        session_id = log.open(b"%d" % number)
        log.increment(session_id, 1)
    chunks = contents(log.replica)
    assert len(chunks) == 1 + 4 + 1
    assert max(map(len, chunks)) < 2 * CHUNK_BYTES
    copy = Replica(KeyValueStore())
    copy.restore(chunks)
    assert copy.sessions == 3000
    assert contents(copy) == chunks


def test_a_bad_snapshot_is_refused_and_changes_nothing(log):
    log.increment(log.open(), 1)
    good = contents(log.replica)
    copy = Replica(KeyValueStore())
    copy.restore(good)
    header = msgspec.msgpack.decode(good[0])
    for bad in (
        [],
        [b"\xff"],
        good[:1],
        [good[0], b"\x90"],
        [*good[:2], b"\xff"],
        [encode([2, *header[1:]]), *good[1:]],
    ):
        with pytest.raises(StorageError):
            copy.restore(bad)
        assert contents(copy) == good
