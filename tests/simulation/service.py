"""What a simulated server does for clients: proposals and reads on their way to an answer."""

import heapq
from collections.abc import Callable, Sequence

import msgspec

from raft_zmq.core.messages import Entry
from raft_zmq.core.ready import ReadGranted, Ready
from raft_zmq.state_machine.replica import SESSION_EXPIRED, Replica


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The answer to one request. `kind`: done, refused (no trace left), expired (the session) or unknown."""

    kind: str
    output: bytes = b""  # an encoded Outcome when done
    leader_id: str = ""


Answer = Callable[[Reply], None]


class Service:
    """Requests that wait in one process; a crash forgets them all, and the clients ask again."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._last_ticket = 0
        self._answers: dict[int, Answer] = {}  # proposals and changes by ticket, until accepted or refused
        self._queries: dict[int, tuple[bytes, Answer]] = {}  # reads by ticket, until granted or refused
        self._accepted: dict[int, tuple[int, Answer]] = {}  # log index -> (term, who waits)
        self._granted: list[tuple[int, int]] = []  # heap of (read index, ticket)

    def ask(self, answer: Answer) -> int:
        """A ticket for a proposal or a membership change."""
        self._last_ticket += 1
        self._answers[self._last_ticket] = answer
        return self._last_ticket

    def ask_read(self, query: bytes, answer: Answer) -> int:
        """A ticket for a read."""
        self._last_ticket += 1
        self._queries[self._last_ticket] = (query, answer)
        return self._last_ticket

    def take(self, ready: Ready) -> None:
        """Note what a Ready says of the requests."""
        for accepted in ready.accepted:
            self._accepted[accepted.first_index] = (accepted.term, self._answers.pop(accepted.ticket))
        for refused in ready.refused:
            answer = self._answers.pop(refused.ticket, None) or self._queries.pop(refused.ticket)[1]
            answer(Reply("refused", leader_id=refused.leader_id))
        for done in ready.transfers:
            self._answers.pop(done.ticket)(Reply("done", leader_id=done.leader_id))

    def applied(self, entries: Sequence[Entry], outcomes: Sequence[bytes | None]) -> None:
        """Entries have been applied: answer whoever proposed them, or whose place they took."""
        for entry, outcome in zip(entries, outcomes, strict=True):
            term, answer = self._accepted.pop(entry.index, (0, None))
            if answer is None:
                continue
            if term != entry.term:
                answer(Reply("unknown"))  # this attempt is lost, an earlier one may not be
            elif outcome == SESSION_EXPIRED:
                answer(Reply("expired"))
            else:
                answer(Reply("done", outcome or b""))

    def restored(self) -> None:
        """A snapshot took the place of entries that were waited for."""
        for index in [index for index in self._accepted if index <= self._replica.last_applied]:
            self._accepted.pop(index)[1](Reply("unknown"))

    def stepped_down(self) -> None:
        """Leadership is lost: what is under way may or may not come to be (rule 24)."""
        waiting, self._accepted = self._accepted, {}
        for _, answer in waiting.values():
            answer(Reply("unknown"))

    def granted(self, reads: Sequence[ReadGranted]) -> None:
        """Reads may be served once their index is applied."""
        for read in reads:
            heapq.heappush(self._granted, (read.read_index, read.ticket))

    def serve_reads(self) -> None:
        """Answer every read whose index is applied (rule 18)."""
        while self._granted and self._granted[0][0] <= self._replica.last_applied:
            query, answer = self._queries.pop(heapq.heappop(self._granted)[1])
            answer(Reply("done", self._replica.machine.query(query)))
