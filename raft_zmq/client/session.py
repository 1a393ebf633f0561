"""A client session (thesis 6.3): numbers the writes, so that one that is sent twice is applied once."""

import msgspec

from raft_zmq.wire.commands import OpenSession, Operation, SessionCommand

_encode = msgspec.msgpack.Encoder().encode


class Session:
    """One session with at most one write under way; `session_id` comes from the answer to `opening`.

    A write whose outcome stayed unknown ends the session's use: its number may never be acknowledged, so the owner
    drops the session and opens another.
    """

    __slots__ = ("number", "session_id")

    def __init__(self, session_id: int) -> None:
        self.session_id = session_id
        self.number = 0

    def next_command(self, operation: Operation) -> bytes:
        """The next write, encoded; calling it says that the answers to all earlier ones have been received."""
        self.number += 1
        return _encode(SessionCommand(self.session_id, self.number, self.number - 1, _encode(operation)))


def opening(nonce: bytes) -> bytes:
    """The command that opens a session, encoded."""
    return _encode(OpenSession(nonce))
