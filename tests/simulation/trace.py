"""What happened in a world, in order; kept as values and made into text only when somebody wants to read it."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from raft_zmq.core.events import CoreEvent
from raft_zmq.core.messages import (
    AppendEntries,
    AppendReply,
    Entry,
    Hello,
    InstallSnapshot,
    PeerMessage,
    SnapshotReply,
    VoteReply,
    VoteRequest,
)

Line = tuple[float, str, str, tuple[Any, ...]]  # (world time, place, what, details)


class Trace:
    """The events of one run. Details must be values that nobody changes later."""

    def __init__(self) -> None:
        self._lines: list[Line] = []

    def note(self, now_s: float, place: str, what: str, *details: Any) -> None:
        """Remember that `what` happened at `place` (a server, a link, a client or the world)."""
        self._lines.append((now_s, place, what, details))

    def __len__(self) -> int:
        return len(self._lines)

    def since(self, count: int) -> list[Line]:
        """The lines after the first `count`."""
        return self._lines[count:]

    def text(self, last: int | None = None) -> Iterator[str]:
        """All lines, or the last so many, readable."""
        lines = self._lines if last is None else self._lines[-last:]
        for now_s, place, what, details in lines:
            yield f"{now_s:10.6f} {place:<10} {what} {' '.join(map(show, details))}".rstrip()

    def digest(self) -> str:
        """A hash of the whole text: equal runs have equal digests."""
        state = hashlib.sha256()
        for line in self.text():
            state.update(line.encode() + b"\n")
        return state.hexdigest()


def show(value: Any) -> str:
    """One detail for a reader."""
    if isinstance(value, AppendEntries):
        return (
            f"AppendEntries t{value.term} after {value.prev_log_index}/t{value.prev_log_term} {span(value.entries)} "
            f"commit={value.leader_commit}" + (f" read={value.read_token}" if value.read_token else "")
        )
    if isinstance(value, AppendReply):
        answer = f"match={value.match_index}" if value.ok else f"refused, try {value.hint_index}/t{value.hint_term}"
        return f"AppendReply t{value.term} {answer}" + (f" read={value.read_token}" if value.read_token else "")
    if isinstance(value, VoteRequest):
        kind = "PreVoteRequest" if value.pre_vote else "VoteRequest"
        return f"{kind} t{value.term} log={value.last_log_index}/t{value.last_log_term}" + " transfer" * value.transfer
    if isinstance(value, VoteReply):
        return f"{'Pre' * value.pre_vote}VoteReply t{value.term} {'granted' if value.granted else 'refused'}"
    if isinstance(value, InstallSnapshot):
        end = value.offset + len(value.data)
        return f"InstallSnapshot t{value.term} of {value.last_index}/t{value.last_term} bytes {value.offset}-{end}" + (
            " done" * value.done
        )
    if isinstance(value, SnapshotReply):
        answer = "installed" if value.installed else f"from {value.next_offset}"
        return f"SnapshotReply t{value.term} of {value.last_index}/t{value.last_term} {answer}"
    if isinstance(value, Hello):
        return f"Hello t{value.term} recorded={value.recorded or '-'}" + (" reply" * value.reply)
    if isinstance(value, CoreEvent | PeerMessage):
        fields = msgspec.structs.asdict(value)
        return f"{type(value).__name__} " + " ".join(f"{name}={field}" for name, field in fields.items())
    if isinstance(value, float):
        return f"{value:.6f}"
    return str(value)


def span(entries: Iterable[Entry]) -> str:
    """Which entries, by index and term: "3..5/t2" or "no entries"."""
    entries = list(entries)
    if not entries:
        return "no entries"
    first, last = entries[0], entries[-1]
    return f"{first.index}..{last.index}/t{last.term}" if len(entries) > 1 else f"{first.index}/t{first.term}"
