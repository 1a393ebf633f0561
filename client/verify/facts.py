"""What is known of a run, as plain values: the checks are functions of these, whoever made them."""

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from client.linearizability import Operation
from client.verify.node_events import NodeLine, NodeStarted

Kind = TypeVar("Kind", bound=NodeLine)


class Life(msgspec.Struct):
    """What a node wrote between two starts of its process; `number` counts from 1 on each node.

    `started` is None where the gathered log begins in the middle of a life.
    """

    node: str
    number: int
    started: NodeStarted | None
    lines: list[NodeLine]

    @property
    def incarnation(self) -> str:
        """The data directory it lived on; "" where the log does not say."""
        return self.started.incarnation if self.started else ""

    def of(self, kind: type[Kind]) -> Iterator[Kind]:
        """Its lines of this kind, in order."""
        return (line for line in self.lines if isinstance(line, kind))


class NodeLog(msgspec.Struct):
    """One node's file: how it read. `strays` are lines that are no events, `damaged` events with wrong fields."""

    file: str
    node: str
    lines: int = 0
    strays: list[str] = []
    damaged: list[str] = []
    lives: list[Life] = []


class ClientLog(msgspec.Struct):
    """The client's own story, and its end: `result` passed or failed ("" without one), `held` of all its `steps`."""

    file: str
    lines: list[str] = []
    result: str = ""
    held: int = 0
    steps: int = 0


class Histories(msgspec.Struct):
    """All operations that the run's clients recorded; `trouble` says why they cannot be judged, if so."""

    files: dict[str, int] = {}
    operations: list[Operation] = []
    trouble: str = ""


class Run(msgspec.Struct):
    """Everything that was gathered of one run; `unread` are files that nobody judges."""

    logs: list[NodeLog] = []
    client: ClientLog | None = None
    histories: Histories = msgspec.field(default_factory=Histories)
    unread: list[str] = []

    @property
    def lives(self) -> list[Life]:
        """The lives of all nodes, node by node, in order."""
        return [life for log in self.logs for life in log.lives]

    def of(self, kind: type[Kind]) -> Iterator[Kind]:
        """The lines of this kind on all nodes."""
        return (line for life in self.lives for line in life.of(kind))
