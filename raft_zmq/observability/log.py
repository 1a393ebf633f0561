"""The log lines of a node: one JSON object each, on stdout, where `kubectl logs` finds them (docs/log-events.md)."""

import functools
import io
import re
import threading
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from raft_zmq.core.events import CoreEvent, PeerReincarnated, SteppedDown
from raft_zmq.observability.events import Level, Message, NodeEvent

LEVELS: Final[tuple[Level, ...]] = ("debug", "info", "warning", "error")
_WARNINGS_OF_THE_CORE = (SteppedDown, PeerReincarnated)
_encode: Final = msgspec.json.Encoder().encode


class Stream(Protocol):
    """Where lines go: anything binary and unbuffered."""

    def write(self, data: bytes, /) -> int | None:
        """Write the bytes, or the first of them, and say how many."""
        ...


def standard_output() -> Stream:
    """File descriptor 1 without a buffer: nothing of a line stays behind in a process that is killed."""
    return io.FileIO(1, "w", closefd=False)


class EventLog:
    """Writes events as lines, each by one call of `write`; usable from any thread.

    A stdout that was closed, or a full disk behind it, is no reason to stop a node: such lines are lost in silence.
    """

    def __init__(self, node_id: str, level: Level = "info", stream: Stream | None = None) -> None:
        self._node_id = node_id
        self._least = LEVELS.index(level)
        self._stream = stream or standard_output()
        self._lock = threading.Lock()
        self._term = 0

    def emit(self, event: CoreEvent | NodeEvent, term: int | None = None) -> None:
        """Write the event. `term` is what a start finds on the disk; None is the newest of the lines before.

        An event of the core knows its term by itself, and comes once that is synced. So no line shows a term that may
        be gone with the process (Figure 2: currentTerm is updated on stable storage first).
        """
        self._write(event, level_of(type(event)), term)

    def message(self, level: Level, text: str) -> None:
        """Write what no event is made for."""
        self._write(Message(text=text), level, None)

    def _write(self, event: CoreEvent | NodeEvent, level: Level, term: int | None) -> None:
        fields = msgspec.structs.asdict(event)
        term = fields.pop("term", term)
        with self._lock:
            self._term = max(self._term, term or 0)
            if LEVELS.index(level) < self._least:
                return
            line = {
                "ts": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "level": level,
                "event": name_of(type(event)),
                "node": self._node_id,
                "term": self._term if term is None else term,
                **fields,
            }
            self._write_all(_encode(line) + b"\n")

    def _write_all(self, data: bytes) -> None:
        try:
            while data:  # a second round only when a signal or a full pipe cut the first one short
                data = data[self._stream.write(data) or len(data) :]
        except (OSError, ValueError):  # ValueError: the stream object itself was closed
            return


@functools.cache
def name_of(event: type[CoreEvent | NodeEvent]) -> str:
    """The line's `event`: the class name in snake case."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event.__name__).lower()


def level_of(event: type[CoreEvent | NodeEvent]) -> Level:
    """The line's `level`."""
    if issubclass(event, NodeEvent):
        return event.level
    return "warning" if event in _WARNINGS_OF_THE_CORE else "info"
