"""A replicated service of one's own: locks with leases, as a `StateMachine` behind raft_zmq.state_machine.replica.

A lock belongs to its owner until it is released or its lease has run out. Replicas must agree on when that is, so the
time comes in the commands: each carries its client's `now_ms`, and the newest one seen is the time for all.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import msgspec

from raft_zmq.core.errors import StorageError

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=2**62)]  # so that a sum of two still fits into 64 bits


class _Operation(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    lock: str
    owner: str
    now_ms: Milliseconds


class Acquire(_Operation, frozen=True):
    """Take the lock, or renew one's own, for `lease_ms`. Outcome: who holds it now, which may be another."""

    lease_ms: Milliseconds


class Release(_Operation, frozen=True):
    """Give the lock back if it is one's own. Outcome: who holds it now, nil if nobody."""


class LockService:
    """Operations, queries (the name of a lock) and outcomes (an owner, nil, or [error]) are msgpack."""

    def __init__(self) -> None:
        self._now_ms = 0
        self._leases: dict[str, tuple[str, int]] = {}  # by lock: its owner, and until when

    def apply(self, operations: Sequence[bytes]) -> list[bytes]:
        """Do encoded Acquire and Release in order."""
        return [msgspec.msgpack.encode(self._apply(operation)) for operation in operations]

    def query(self, query: bytes) -> bytes:
        """Who holds the lock of that name."""
        return msgspec.msgpack.encode(self._holder(query.decode(errors="replace")))

    def snapshot(self) -> Iterator[bytes]:
        """One chunk, encoded at once: locks are few."""
        return iter([msgspec.msgpack.encode((self._now_ms, self._leases))])

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over the state of a snapshot."""
        try:
            state = msgspec.msgpack.decode(b"".join(chunks), type=tuple[int, dict[str, tuple[str, int]]])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StorageError(f"snapshot of the locks: expected their state, found: {error}. Remove it.") from error
        self._now_ms, self._leases = state

    def _apply(self, encoded: bytes) -> str | list[str] | None:
        try:
            operation = msgspec.msgpack.decode(encoded, type=Acquire | Release)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return [f"expected an Acquire or a Release, found: {error}"]
        self._now_ms = max(self._now_ms, operation.now_ms)
        if self._holder(operation.lock) in (None, operation.owner):
            self._leases.pop(operation.lock, None)
            if isinstance(operation, Acquire):
                self._leases[operation.lock] = operation.owner, self._now_ms + operation.lease_ms
        return self._holder(operation.lock)

    def _holder(self, lock: str) -> str | None:
        owner, until_ms = self._leases.get(lock, (None, 0))
        return owner if until_ms > self._now_ms else None
