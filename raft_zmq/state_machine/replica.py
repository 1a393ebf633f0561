"""The applied state of one node: committed entries go in, in order; sessions, state machine and digest follow.

Nothing here depends on the node or on how the entries are split into calls, so two nodes that have applied the same
entries hold the same state, and equal digests at an index show it (Figure 3, State Machine Safety).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
import xxhash

from raft_zmq.core.errors import StorageError
from raft_zmq.core.messages import Entry, EntryKind
from raft_zmq.state_machine import replica_snapshot
from raft_zmq.state_machine.checkpoint import Checkpoint
from raft_zmq.state_machine.interface import StateMachine
from raft_zmq.state_machine.session import Session
from raft_zmq.state_machine.sessions import OUTCOMES_MAX, PENDING, Sessions
from raft_zmq.wire.commands import AdvanceClock, Command, OpenSession, Outcome, SessionCommand

SESSION_EXPIRED: Final = b""  # instead of an outcome: the command's session has ended, and nothing was done

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_command: Final = msgspec.msgpack.Decoder(Command).decode
_DONE: Final = _encode(Outcome())
_STALE: Final = _encode(
    Outcome(error="stale: expected a number that the session has not yet acknowledged; the outcome is forgotten")
)


class Replica:
    """A state machine behind client sessions (thesis 6.3), with the running digest of all applied entries.

    `checkpoints` gets a Checkpoint at every index that is a power of two; who reads it clears it.
    """

    def __init__(self, machine: StateMachine) -> None:
        self.machine = machine
        self.last_applied = 0
        self.last_applied_term = 0
        self.checkpoints: list[Checkpoint] = []
        self._digest = 0
        self._sessions = Sessions()
        # Of the batch at hand: operations the state machine has yet to apply, and for whom: position and number.
        self._operations: list[bytes] = []
        self._callers: list[tuple[int, Session, int]] = []

    @property
    def digest(self) -> str:
        """The running hash of all applied entries, 16 hex digits."""
        return f"{self._digest:016x}"

    @property
    def sessions(self) -> int:
        """How many client sessions are live."""
        return len(self._sessions)

    @property
    def cluster_time_ms(self) -> int:
        """The time by which sessions expire, as of the newest AdvanceClock applied."""
        return self._sessions.cluster_time_ms

    def apply(self, entries: Sequence[Entry]) -> list[bytes | None]:
        """Apply the entries that follow last_applied; one item for each.

        The item is an encoded Outcome or SESSION_EXPIRED for a COMMAND, None for any other kind.
        """
        results: list[bytes | None] = []
        for entry in entries:
            assert entry.index == self.last_applied + 1, f"entry {entry.index} applied after {self.last_applied}"
            self.last_applied = entry.index
            self.last_applied_term = entry.term
            self._digest = chain(self._digest, entry)
            if not entry.index & (entry.index - 1):
                self.checkpoints.append(Checkpoint(entry.index, entry.term, self.digest))
            results.append(self._command(entry, results) if entry.kind == EntryKind.COMMAND else None)
        self._finish(results)
        return results

    def snapshot(self) -> Iterator[bytes]:
        """The whole applied state, frozen at the call, as chunks made when asked for (from any thread)."""
        sessions = self._sessions.frozen()
        header = replica_snapshot.Header(
            replica_snapshot.SNAPSHOT_FORMAT,
            self.last_applied,
            self.last_applied_term,
            self._digest,
            self.cluster_time_ms,
            len(sessions),
        )
        return replica_snapshot.chunks(header, sessions, self.machine.snapshot())

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Become the replica that made the snapshot; StorageError, and no change, if the chunks are none."""
        remaining = iter(chunks)
        try:
            header = msgspec.msgpack.decode(next(remaining, b""), type=replica_snapshot.Header)
            sessions: list[Session] = []
            while len(sessions) < header.sessions:
                sessions += msgspec.msgpack.decode(next(remaining, b""), type=list[Session])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StorageError(
                f"snapshot of the replica: expected its header and sessions, found: {error}. "
                "Remove the snapshot; the node fetches another from its leader."
            ) from error
        known, found = replica_snapshot.SNAPSHOT_FORMAT, header.snapshot_format
        if found != known:
            raise StorageError(
                f"snapshot of the replica: expected format {known}, found {found}. "
                "Run a version of raft-zmq that knows it."
            )
        self.machine.restore(remaining)
        self.last_applied = header.last_applied
        self.last_applied_term = header.last_applied_term
        self._digest = header.digest
        self._sessions = Sessions(header.cluster_time_ms, sessions)
        self.checkpoints.clear()

    def _command(self, entry: Entry, results: list[bytes | None]) -> bytes:
        """The outcome of the COMMAND entry that is next in `results`; PENDING until `_finish` for a new operation."""
        try:
            command = _decode_command(entry.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _encode(Outcome(error=f"expected an encoded command, found: {error}"))
        if isinstance(command, SessionCommand):
            return self._session_command(command, results)
        if isinstance(command, OpenSession):
            opened = self._sessions.open(command.nonce, entry.index)
            return _encode(Outcome(opened) if isinstance(opened, int) else Outcome(error=opened))
        assert isinstance(command, AdvanceClock)
        self._sessions.advance_clock(command.cluster_time_ms, command.session_ttl_ms)
        return _DONE

    def _session_command(self, command: SessionCommand, results: list[bytes | None]) -> bytes:
        """Let the operation through once for each (session, number) (thesis 6.3)."""
        session = self._sessions.use(command.session_id)
        if session is None:
            return SESSION_EXPIRED
        number = command.number
        session.acknowledge(command.acknowledged)
        if number <= session.acknowledged:
            return _STALE
        outcome = session.outcomes.get(number)
        if outcome == PENDING:  # sent twice, and both are in this batch
            self._finish(results)
            outcome = session.outcomes[number]
        if outcome is not None:
            return outcome
        if len(session.outcomes) >= OUTCOMES_MAX:
            self._sessions.end(session)
            return SESSION_EXPIRED
        session.outcomes[number] = PENDING
        self._operations.append(command.operation)
        self._callers.append((len(results), session, number))
        return PENDING

    def _finish(self, results: list[bytes | None]) -> None:
        """Give the gathered operations to the state machine and their outcomes to those who asked."""
        outcomes = self.machine.apply(self._operations)
        for (position, session, number), outcome in zip(self._callers, outcomes, strict=True):
            results[position] = outcome
            if number > session.acknowledged:  # otherwise a later command of the batch has acknowledged it already
                session.outcomes[number] = outcome
        self._operations, self._callers = [], []


def chain(digest: int, entry: Entry) -> int:
    """The running digest after `entry`: xxh3_64 of its data, seeded with what came before and the entry's place."""
    seed = digest + entry.index * 0x9E3779B97F4A7C15 + entry.term * 0xC2B2AE3D27D4EB4F + entry.kind
    return xxhash.xxh3_64_intdigest(entry.data, seed=seed & 0xFFFFFFFFFFFFFFFF)
