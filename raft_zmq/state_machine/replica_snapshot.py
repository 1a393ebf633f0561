"""How a replica's state lies in a snapshot: a header, its sessions, then the state machine's own chunks."""

from collections.abc import Iterator
from typing import Final

import msgspec

from raft_zmq.state_machine.session import Session

SNAPSHOT_FORMAT: Final = 1
CHUNK_BYTES: Final = 64 << 10
SESSION_BYTES: Final = 64  # about what a session takes in a snapshot without its outcomes

_encode: Final = msgspec.msgpack.Encoder().encode


class Header(msgspec.Struct, frozen=True, array_like=True):
    """The first chunk of a snapshot; then come the sessions, then the state machine's own chunks."""

    snapshot_format: int
    last_applied: int
    last_applied_term: int
    digest: int
    cluster_time_ms: int
    sessions: int


def chunks(header: Header, sessions: list[Session], machine_chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The snapshot's chunks, each made when it is asked for."""
    yield _encode(header)
    gathered: list[Session] = []
    size_bytes = 0
    for session in sessions:
        gathered.append(session)
        size_bytes += SESSION_BYTES + sum(map(len, session.outcomes.values()))
        if size_bytes >= CHUNK_BYTES:
            yield _encode(gathered)
            gathered, size_bytes = [], 0
    if gathered:
        yield _encode(gathered)
    yield from machine_chunks
