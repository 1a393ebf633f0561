"""The key-value store against a plain dict, and against bytes that are no operation."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raft_zmq.core.errors import StorageError
from raft_zmq.state_machine import kv
from raft_zmq.state_machine.kv import KeyValueStore
from raft_zmq.wire.commands import (
    VALUE_BYTES_MAX,
    Append,
    CompareAndSwap,
    Delete,
    Get,
    Increment,
    Operation,
    Outcome,
    Put,
    Query,
    Scan,
)

encode = msgspec.msgpack.encode

KEYS = st.sampled_from([b"a", b"ab", b"abc", b"b", b"\xff", b"\xff\xff", b"\x00"])
VALUES = st.one_of(st.binary(max_size=4), st.sampled_from([b"0", b"-7", b"9223372036854775807", b"007", b"1_0", b" 1"]))
OPERATIONS = st.one_of(
    st.builds(Put, KEYS, VALUES),
    st.builds(Delete, KEYS),
    st.builds(CompareAndSwap, KEYS, st.none() | VALUES, VALUES),
    st.builds(Append, KEYS, VALUES),
    st.builds(Increment, KEYS, st.integers(-(2**63), 2**63 - 1)),
)


def apply(store: KeyValueStore, *operations: Operation) -> list[Outcome]:
    outcomes = store.apply([encode(operation) for operation in operations])
    return [msgspec.msgpack.decode(outcome, type=Outcome) for outcome in outcomes]


def ask(store: KeyValueStore, query: Query) -> Outcome:
    return msgspec.msgpack.decode(store.query(encode(query)), type=Outcome)


def pairs(
    store: KeyValueStore, prefix: bytes = b"", limit: int = 1000, after: bytes = b""
) -> list[tuple[bytes, bytes]]:
    output = ask(store, Scan(prefix, limit, after)).output
    assert isinstance(output, list)
    return output


def model_apply(model: dict[bytes, bytes], operation: Operation) -> object:
    """What the operation's docstring says, on a plain dict; "error" where the outcome is one."""
    key = operation.key
    match operation:
        case Put():
            model[key] = operation.value
            return None
        case Delete():
            return model.pop(key, None) is not None
        case CompareAndSwap():
            if model.get(key) != operation.expected:
                return False
            model[key] = operation.value
            return True
        case Append():
            model[key] = model.get(key, b"") + operation.value
            return len(model[key])
        case Increment():
            text = model.get(key, b"0").decode("latin-1")
            plain = text.removeprefix("-")
            if len(text) > 20 or not (plain.isascii() and plain.isdigit()):
                return "error"
            if not -(2**63) <= int(text) + operation.amount < 2**63:
                return "error"
            model[key] = str(int(text) + operation.amount).encode()
            return int(model[key])


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(OPERATIONS, max_size=60))
def test_does_what_a_dict_does(operations):
    store, model = KeyValueStore(), {}
    for operation, outcome in zip(operations, apply(store, *operations), strict=True):
        want = model_apply(model, operation)
        assert ("error" if outcome.error else outcome.output) == want, operation
    assert pairs(store) == sorted(model.items())
    assert len(store) == len(model)
    assert all(ask(store, Get(key)).output == model.get(key) for key in (b"a", b"ab", b"\xff", b"none"))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(OPERATIONS, max_size=40), st.lists(OPERATIONS, max_size=20))
def test_a_snapshot_is_the_state_at_its_call_and_restores_to_it(before, after):
    store, copy = KeyValueStore(), KeyValueStore()
    apply(store, *before)
    frozen = pairs(store)
    chunks = store.snapshot()
    apply(store, *after)
    apply(copy, Put(b"left over", b"x"))
    copy.restore(chunks)
    assert pairs(copy) == frozen
    assert apply(copy, *after) == apply(_copy_of(frozen), *after)
    assert pairs(copy) == pairs(store)


def _copy_of(contents: list[tuple[bytes, bytes]]) -> KeyValueStore:
    store = KeyValueStore()
    apply(store, *(Put(key, value) for key, value in contents))
    return store


@settings(deadline=None)  # a busy machine is no failure
@given(st.sets(st.binary(min_size=1, max_size=3), max_size=50), st.binary(max_size=2), st.binary(max_size=3), st.data())
def test_a_scan_gives_the_pairs_of_a_prefix_in_order(keys, prefix, after, data):
    store = _copy_of([(key, key * 2) for key in keys])
    gone = data.draw(st.sets(st.sampled_from(sorted(keys)))) if keys else set()
    pairs(store)
    apply(store, *(Delete(key) for key in gone))
    want = [(key, key * 2) for key in sorted(keys - gone) if key.startswith(prefix) and key > after]
    limit = data.draw(st.integers(1, 60))
    assert pairs(store, prefix, limit, after) == want[:limit]


def test_scans_keep_their_order_over_many_keys_and_removals(monkeypatch):
    monkeypatch.setattr("raft_zmq.state_machine.key_index.FRESH_KEYS_MAX", 8)
    monkeypatch.setattr("raft_zmq.state_machine.key_index.RUN_KEYS_MAX", 32)
    store, model = KeyValueStore(), {}
    for step in range(3000):
        key = b"%03d" % (step * 7919 % 401)
        operation = Delete(key) if step * 31 % 7 < 3 or 1500 < step < 1900 else Put(key, b"%d" % step)
        apply(store, operation)
        model_apply(model, operation)
        if step % 50 == 0:
            assert pairs(store) == sorted(model.items())
    assert pairs(store, b"1", 20, b"12") == [pair for pair in sorted(model.items()) if b"12" < pair[0] < b"2"][:20]


def test_removed_keys_leave_the_index(monkeypatch):
    monkeypatch.setattr("raft_zmq.state_machine.key_index.FRESH_KEYS_MAX", 8)
    store = KeyValueStore()
    for number in range(2000):  # a queue: the oldest goes when the newest comes
        apply(store, Put(b"%06d" % number, b""), Delete(b"%06d" % (number - 10)))
    index = store._index
    assert sum(map(len, index._runs)) + len(index._fresh) < 100
    assert len(index._runs) < 10
    assert len(pairs(store)) == 10


def few_keys_make_a_run(monkeypatch):
    monkeypatch.setattr("raft_zmq.state_machine.key_index.FRESH_KEYS_MAX", 8)
    monkeypatch.setattr("raft_zmq.state_machine.key_index.RUN_KEYS_MAX", 32)


def removed_keys_kept(store):
    index = store._index
    kept = sum(key not in store._values for run in (*index._runs, index._fresh) for key in run)
    assert kept == len(index._removed)
    return kept


def test_a_scan_steps_over_few_removed_keys(monkeypatch):
    """who works off a queue removes the keys in front of the first live one, and asks for that again and again"""
    few_keys_make_a_run(monkeypatch)
    store = KeyValueStore()
    for kind in (b"queue", b"other"):
        apply(store, *(Put(b"%s/%04d" % (kind, number), b"") for number in range(1000)))
    for number in range(999):
        apply(store, Delete(b"queue/%04d" % number))
        assert removed_keys_kept(store) <= 2 * 8
    assert pairs(store, b"queue/", 1) == [(b"queue/0999", b"")]


def test_removed_keys_are_swept_whatever_is_removed_between_them(monkeypatch):
    """with a lock taken for each job, every second key removed is the lock's: never one of the queue"""
    few_keys_make_a_run(monkeypatch)
    store = KeyValueStore()
    apply(store, *(Put(b"queue/%04d" % number, b"") for number in range(1000)))
    for number in range(999):
        apply(store, Put(b"lock", b""), Delete(b"queue/%04d" % number), Delete(b"lock"))
        assert removed_keys_kept(store) <= 3 * 8
    assert pairs(store, b"queue/", 1) == [(b"queue/0999", b"")]


def test_keys_removed_all_over_are_swept_run_by_run(monkeypatch):
    few_keys_make_a_run(monkeypatch)
    store = KeyValueStore()
    apply(store, *(Put(b"%04d" % number, b"") for number in range(1000)))
    for number in range(997):
        apply(store, Delete(b"%04d" % (number * 389 % 997)))
        assert removed_keys_kept(store) <= len(store) / 2 + 2 * 8
    assert pairs(store, b"", 9) == [(b"%04d" % number, b"") for number in (997, 998, 999)]


BAD_BYTES = [
    b"",
    b"\xff",
    b"\x91",
    b"\x92\xa1\xff\xc4\x00",  # a tag that is no UTF-8
    encode(["Nothing", b"k"]),
    encode(["Put", b"", b"v"]),
    encode(["Put", b"k" * 5000, b"v"]),
    encode(["Put", "text", b"v"]),
    encode(["Put", b"k", b"v", 1]),
    encode(["Increment", b"k", 2**63]),
    encode(Put(b"k", b"v")) + b"\x00",
    b"\x94" + encode("Put") + encode(b"k") + encode(b"v") + b"\x91" * 100_000 + b"\xc0",
]


@pytest.mark.parametrize("bad", BAD_BYTES)
def test_unreadable_bytes_are_an_error_outcome_and_do_nothing(bad):
    store = KeyValueStore()
    outcomes = store.apply([bad, encode(Put(b"after", b"1"))])
    assert msgspec.msgpack.decode(outcomes[0], type=Outcome).error
    assert msgspec.msgpack.decode(store.query(bad), type=Outcome).error
    assert pairs(store) == [(b"after", b"1")]


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=40))
def test_no_bytes_raise(data):
    store = KeyValueStore()
    msgspec.msgpack.decode(store.apply([data])[0], type=Outcome)
    msgspec.msgpack.decode(store.query(data), type=Outcome)


def test_a_value_does_not_grow_beyond_its_limit():
    store = _copy_of([(b"k", bytes(VALUE_BYTES_MAX - 1))])
    assert apply(store, Append(b"k", b"1"))[0].output == VALUE_BYTES_MAX
    assert "at most" in (apply(store, Append(b"k", b"1"))[0].error or "")
    assert len(ask(store, Get(b"k")).output) == VALUE_BYTES_MAX


def test_a_scan_of_too_many_bytes_says_so(monkeypatch):
    monkeypatch.setattr(kv, "SCAN_BYTES_MAX", 10)
    store = _copy_of([(b"a", b"1234"), (b"b", b"1234"), (b"c", b"1")])
    assert len(pairs(store, limit=2)) == 2
    assert "smaller limit" in (ask(store, Scan(b"", 3)).error or "")


def test_a_snapshot_comes_in_chunks_of_about_64_kib():
    store = _copy_of([(b"%05d" % number, bytes(1000)) for number in range(500)])
    sizes = [len(chunk) for chunk in store.snapshot()]
    assert all(kv.CHUNK_BYTES <= size < kv.CHUNK_BYTES + 4096 for size in sizes[:-1])
    assert sum(sizes) > 500_000


@pytest.mark.parametrize("bad", [b"", b"\xc0", encode([b"k"]), encode([1, 2]), encode({})])
def test_a_bad_chunk_is_refused_and_changes_nothing(bad):
    store = _copy_of([(b"k", b"v")])
    with pytest.raises(StorageError, match="chunk 1"):
        store.restore([encode([b"other", b"x"]), bad])
    assert pairs(store) == [(b"k", b"v")]
