"""The example of a user's own state machine does what it says, alone and behind client sessions."""

import msgspec
import pytest

from examples.lock_service import Acquire, LockService, Release
from raft_zmq.core.errors import StorageError
from raft_zmq.core.messages import Entry, EntryKind
from raft_zmq.state_machine.interface import StateMachine
from raft_zmq.state_machine.replica import Replica
from raft_zmq.state_machine.sessions import id_of
from raft_zmq.wire.commands import OpenSession, SessionCommand

encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode


@pytest.fixture
def locks() -> LockService:
    return LockService()


def do(locks: LockService, operation: Acquire | Release) -> object:
    return decode(locks.apply([encode(operation)])[0])


def holder(locks: LockService, lock: str = "door") -> object:
    return decode(locks.query(lock.encode()))


def test_one_owner_at_a_time(locks):
    assert do(locks, Acquire("door", "ann", now_ms=0, lease_ms=100)) == "ann"
    assert do(locks, Acquire("door", "bob", now_ms=50, lease_ms=100)) == "ann"
    assert do(locks, Acquire("gate", "bob", now_ms=50, lease_ms=100)) == "bob"
    assert holder(locks) == "ann"


def test_a_lease_runs_out(locks):
    do(locks, Acquire("door", "ann", now_ms=0, lease_ms=100))
    assert do(locks, Acquire("door", "bob", now_ms=99, lease_ms=100)) == "ann"
    assert do(locks, Acquire("door", "bob", now_ms=100, lease_ms=100)) == "bob"


def test_an_owner_renews_its_lease(locks):
    do(locks, Acquire("door", "ann", now_ms=0, lease_ms=100))
    do(locks, Acquire("door", "ann", now_ms=90, lease_ms=100))
    assert do(locks, Acquire("door", "bob", now_ms=150, lease_ms=100)) == "ann"


def test_only_the_owner_releases(locks):
    do(locks, Acquire("door", "ann", now_ms=0, lease_ms=100))
    assert do(locks, Release("door", "bob", now_ms=10)) == "ann"
    assert do(locks, Release("door", "ann", now_ms=20)) is None
    assert do(locks, Release("door", "ann", now_ms=30)) is None
    assert holder(locks) is None


def test_a_slow_clock_does_not_bring_time_back(locks):
    do(locks, Acquire("gate", "ann", now_ms=1000, lease_ms=1))
    do(locks, Acquire("door", "bob", now_ms=0, lease_ms=10))
    assert do(locks, Acquire("door", "ann", now_ms=1010, lease_ms=10)) == "ann"


@pytest.mark.parametrize("bad", [b"", b"\xff", encode(["Acquire", "door", "ann", -1, 1]), b"\x92\xa1\xff\xc0"])
def test_unreadable_operations_do_nothing(locks, bad):
    assert isinstance(decode(locks.apply([bad])[0]), list)
    assert holder(locks) is None


def test_a_snapshot_brings_the_locks_back(locks):
    do(locks, Acquire("door", "ann", now_ms=0, lease_ms=100))
    chunks = locks.snapshot()
    do(locks, Release("door", "ann", now_ms=1))
    copy = LockService()
    copy.restore(chunks)
    assert holder(copy) == "ann"
    with pytest.raises(StorageError):
        copy.restore([b"\xff"])
    assert holder(copy) == "ann"


def test_behind_sessions_a_command_sent_again_does_not_take_the_lock_again():
    machine: StateMachine = LockService()
    replica = Replica(machine)
    session_id = id_of(b"ann", 1)
    acquire = SessionCommand(session_id, 1, 0, encode(Acquire("door", "ann", now_ms=0, lease_ms=100)))
    release = SessionCommand(session_id, 2, 0, encode(Release("door", "ann", now_ms=10)))
    commands = [OpenSession(b"ann"), acquire, release, acquire]
    entries = [Entry(index, 1, EntryKind.COMMAND, encode(command)) for index, command in enumerate(commands, start=1)]
    assert [decode(outcome) for outcome in replica.apply(entries)[1:]] == ["ann", None, "ann"]
    assert decode(machine.query(b"door")) is None, "the late repetition got the old answer and changed nothing"
