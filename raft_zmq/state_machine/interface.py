"""What a replicated service has to implement: four functions and three promises.

1. Equal operations in equal order give equal outcomes and equal states, on every machine and in every process: no
   clock, no random source, no `hash()` of bytes or text (it differs between processes), no order of a set.
2. Nothing a client can send makes `apply` or `query` raise: what cannot be done is an outcome that says so.
3. The state is lost with the process; `restore` and the log after it bring it back (§7).

`KeyValueStore` is the one the node runs; examples/lock_service.py is another, in 60 lines. Exactly-once is not the
state machine's business: `Replica` stands in front of it and lets each command of a client session through once.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol


class StateMachine(Protocol):
    """The service behind the log (Figure 1). All functions but the iteration of a snapshot run on one thread."""

    def apply(self, operations: Sequence[bytes]) -> list[bytes]:
        """Do the operations in this order and give one outcome for each, never the empty bytes.

        Both are bytes in the service's own encoding (the key-value store: `wire.commands.Operation` and `Outcome`).
        Outcomes are remembered until the client has them, up to 1,024 for each client: keep them below 16 KiB.
        How operations are split into calls must not matter: two calls of one do the same as one call of two.
        """
        ...

    def query(self, query: bytes) -> bytes:
        """Answer from the present state and change nothing; it is called when the state is new enough (§8)."""
        ...

    def snapshot(self) -> Iterator[bytes]:
        """Freeze the state as it is at the call, quickly, and give it as chunks of about 64 KiB, made when asked for.

        Another thread may iterate while `apply` goes on: the chunks must not follow the changes.
        """
        ...

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the whole state by that of a snapshot, given the same chunks in the same order.

        Raises StorageError on chunks that no snapshot of this service can hold; the state is then as before.
        """
        ...
