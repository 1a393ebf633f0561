"""Client sessions: the memory that lets every command of a client be applied exactly once (thesis 6.3).

All of it follows from the log alone, so every node has the same sessions after the same entry. The limits are fixed
in the code for the same reason: a setting could differ between nodes.
"""

import hashlib
from collections.abc import Iterable

from raft_zmq.state_machine.session import Session

SESSIONS_MAX = 10_000
OUTCOMES_MAX = 1_024  # a session that leaves more answers unacknowledged is ended
NONCE_BYTES_MAX = 64

PENDING = b""  # stands for the outcome of a command that is in the batch being applied; never an encoded outcome


class Sessions:
    """The live sessions, and the cluster time by which they end."""

    def __init__(self, cluster_time_ms: int = 0, sessions: Iterable[Session] = ()) -> None:
        self.cluster_time_ms = cluster_time_ms
        self._by_id = {session.session_id: session for session in sessions}
        self._by_nonce = {session.nonce: session for session in self._by_id.values()}
        self._shared: set[int] = set()  # ids of sessions that a frozen view reads

    def __len__(self) -> int:
        return len(self._by_id)

    def open(self, nonce: bytes, index: int) -> int | str:
        """The id of the session with this nonce, which is new if none is live; an error text when there is no room."""
        if not 1 <= len(nonce) <= NONCE_BYTES_MAX:
            return f"open session: expected a nonce of 1 to {NONCE_BYTES_MAX} bytes, found {len(nonce)}"
        session = self._by_nonce.get(nonce)
        if session is None:
            if len(self._by_id) >= SESSIONS_MAX:
                return f"open session: expected fewer than {SESSIONS_MAX} live sessions; try again when some have ended"
            session_id = id_of(nonce, index)
            if session_id in self._by_id:
                return "open session: expected an id of its own, found another's; try again"
            session = Session(session_id=session_id, nonce=nonce, last_used_ms=self.cluster_time_ms)
            self._by_id[session_id] = self._by_nonce[nonce] = session
        self.use(session.session_id)
        return session.session_id

    def use(self, session_id: int) -> Session | None:
        """The live session of that id, whose idle time starts anew; None if it has ended or never was."""
        session = self._by_id.get(session_id)
        if session is not None:
            if session_id in self._shared:
                session = self._own(session)
            session.last_used_ms = self.cluster_time_ms
        return session

    def end(self, session: Session) -> None:
        """Forget a session."""
        del self._by_id[session.session_id]
        del self._by_nonce[session.nonce]

    def advance_clock(self, cluster_time_ms: int, session_ttl_ms: int) -> None:
        """Move cluster time forward, never back, and end the sessions that have been idle for longer than the ttl."""
        self.cluster_time_ms = max(self.cluster_time_ms, cluster_time_ms)
        oldest_ms = self.cluster_time_ms - session_ttl_ms
        for session in [session for session in self._by_id.values() if session.last_used_ms < oldest_ms]:
            self.end(session)

    def frozen(self) -> list[Session]:
        """All live sessions as they are at this call, oldest first, whatever is done later.

        To copy ten thousand of them would stop the loop for some milliseconds: each is copied when it is used next.
        """
        self._shared = set(self._by_id)
        return list(self._by_id.values())

    def _own(self, session: Session) -> Session:
        """A copy in place of a session that a frozen view reads."""
        self._shared.discard(session.session_id)
        own = session.copy()
        self._by_id[own.session_id] = self._by_nonce[own.nonce] = own
        return own


def id_of(nonce: bytes, index: int) -> int:
    """The id of the session that the entry at `index` opens: 63 bits, the same on every node.

    Whoever knows an id can use up the session's numbers, so nobody may guess it: a client's nonce is random and is seen
    by no other client.
    """
    digest = hashlib.blake2b(nonce, digest_size=8, salt=index.to_bytes(8, "big")).digest()
    return int.from_bytes(digest, "big") % (2**63 - 1) + 1
