"""The key-value store: bytes to bytes, the operations of wire/commands.py."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from raft_zmq.core.errors import StorageError
from raft_zmq.state_machine.key_index import KeyIndex
from raft_zmq.state_machine.parted_dict import PartedDict
from raft_zmq.wire.commands import (
    KEY_BYTES_MAX,
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

CHUNK_BYTES = 64 << 10
SCAN_BYTES_MAX = KEY_BYTES_MAX + VALUE_BYTES_MAX  # of keys and values in one answer: any single pair fits
INTEGER_DIGITS_MAX = 20  # of "-9223372036854775808"
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1

ERROR_CHARACTERS_MAX = 300  # msgspec's texts may quote what a client sent, at any length, and outcomes are remembered

# What bad bytes make msgspec raise; text that is no UTF-8 has a type of its own.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_operation: Final = msgspec.msgpack.Decoder(Operation).decode
_decode_query: Final = msgspec.msgpack.Decoder(Query).decode
_decode_chunk: Final = msgspec.msgpack.Decoder(list[bytes]).decode

_DONE: Final = _encode(Outcome())
_TRUE: Final = _encode(Outcome(True))
_FALSE: Final = _encode(Outcome(False))


def _failed(error: str) -> bytes:
    return _encode(Outcome(error=error[:ERROR_CHARACTERS_MAX]))


class KeyValueStore:
    """A `StateMachine` over bytes; its length is the number of keys."""

    def __init__(self) -> None:
        self._values = PartedDict()
        self._index = KeyIndex()
        self._handlers: dict[type, Callable[[Any], bytes]] = {
            Put: self._put,
            Delete: self._delete,
            CompareAndSwap: self._compare_and_swap,
            Append: self._append,
            Increment: self._increment,
            Get: self._get,
            Scan: self._scan,
        }

    def __len__(self) -> int:
        return len(self._values)

    def apply(self, operations: Sequence[bytes]) -> list[bytes]:
        """Do encoded `Operation`s in order; an encoded `Outcome` for each. Unreadable bytes do nothing."""
        outcomes = []
        handlers = self._handlers
        for encoded in operations:
            try:
                operation = _decode_operation(encoded)
            except UNREADABLE as error:
                outcomes.append(_failed(f"expected an encoded operation, found: {error}"))
            else:
                outcomes.append(handlers[type(operation)](operation))
        return outcomes

    def query(self, query: bytes) -> bytes:
        """Answer an encoded `Query` with an encoded `Outcome`."""
        try:
            decoded = _decode_query(query)
        except UNREADABLE as error:
            return _failed(f"expected an encoded query, found: {error}")
        return self._handlers[type(decoded)](decoded)

    def snapshot(self) -> Iterator[bytes]:
        """Chunks of msgpack arrays [key, value, key, value, …] of the state at this call."""
        return _chunks(self._values.frozen())

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace everything by what the chunks hold; StorageError if they are not a snapshot's."""
        values = PartedDict()
        index = KeyIndex()
        for number, chunk in enumerate(chunks):
            try:
                flat = _decode_chunk(chunk)
                for key, value in zip(flat[::2], flat[1::2], strict=True):
                    if values.put(key, value):
                        index.add(key)
            except (msgspec.DecodeError, ValueError) as error:
                raise StorageError(
                    f"snapshot of the key-value store, chunk {number}: expected an array of keys and values, "
                    f"found: {error}. Remove the snapshot; the node fetches another from its leader."
                ) from error
        self._values, self._index = values, index

    def _store(self, key: bytes, value: bytes) -> None:
        if self._values.put(key, value):
            self._index.add(key)

    def _put(self, operation: Put) -> bytes:
        self._store(operation.key, operation.value)
        return _DONE

    def _delete(self, operation: Delete) -> bytes:
        if not self._values.remove(operation.key):
            return _FALSE
        self._index.remove(operation.key)
        return _TRUE

    def _compare_and_swap(self, operation: CompareAndSwap) -> bytes:
        if self._values.get(operation.key) != operation.expected:
            return _FALSE
        self._store(operation.key, operation.value)
        return _TRUE

    def _append(self, operation: Append) -> bytes:
        value = (self._values.get(operation.key) or b"") + operation.value
        if len(value) > VALUE_BYTES_MAX:
            return _failed(f"append: expected a value of at most {VALUE_BYTES_MAX} bytes, found {len(value)}")
        self._store(operation.key, value)
        return _encode(Outcome(len(value)))

    def _increment(self, operation: Increment) -> bytes:
        value = self._values.get(operation.key)
        found = 0 if value is None else _integer(value)
        if found is None:
            return _failed("increment: expected a decimal integer as the value, found something else")
        total = found + operation.amount
        if not INTEGER_MIN <= total <= INTEGER_MAX:
            return _failed(f"increment: expected a sum within 64 bits, found {total}")
        self._store(operation.key, b"%d" % total)
        return _encode(Outcome(total))

    def _get(self, query: Get) -> bytes:
        return _encode(Outcome(self._values.get(query.key)))

    def _scan(self, query: Scan) -> bytes:
        pairs: list[tuple[bytes, bytes]] = []
        size_bytes = 0
        for key in islice(self._index.scan(query.prefix, query.after), query.limit):
            value = self._values[key]
            size_bytes += len(key) + len(value)
            if size_bytes > SCAN_BYTES_MAX:
                return _failed(
                    f"scan: expected at most {SCAN_BYTES_MAX} bytes of pairs, found more in the first "
                    f"{len(pairs) + 1}; ask with a smaller limit"
                )
            pairs.append((key, value))
        return _encode(Outcome(pairs))


def _integer(value: bytes) -> int | None:
    """The number in decimal digits with at most a minus sign, as Increment writes it; None if it is none."""
    digits = value.removeprefix(b"-")
    if len(value) > INTEGER_DIGITS_MAX or not digits.isdigit():
        return None
    return int(value)


def _chunks(pairs: Iterator[tuple[bytes, bytes]]) -> Iterator[bytes]:
    flat: list[bytes] = []
    size_bytes = 0
    for key, value in pairs:
        flat += (key, value)
        size_bytes += len(key) + len(value)
        if size_bytes >= CHUNK_BYTES:
            yield _encode(flat)
            flat, size_bytes = [], 0
    if flat:
        yield _encode(flat)
