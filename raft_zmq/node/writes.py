"""Writes that were let in and wait for the turn that proposes them."""

from collections import deque
from typing import NamedTuple

from raft_zmq.node.caller import Caller

WRITES_IN_TURN = 256  # more hardly make a sync cheaper, and everyone else would wait for them
WRITES_IN_OVERLOADED_TURN = 128  # whoever is turned away is to hear so soon, which is worth a tenth of the throughput


class Waiting(NamedTuple):
    """One write."""

    caller: Caller
    command: bytes
    came_s: float


class WriteQueue:
    """First come, first served; no more than `bytes_max` of commands, or one."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._waiting: deque[Waiting] = deque()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, write: Waiting) -> bool:
        """Put it behind the others; False when there is no room for it."""
        size_bytes = self._size_bytes + len(write.command)
        if size_bytes > self._bytes_max and self._waiting:
            return False
        self._size_bytes = size_bytes
        self._waiting.append(write)
        return True

    def take(self, count: int) -> list[Waiting]:
        """The oldest, so many at most."""
        taken = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
        self._size_bytes -= sum(len(write.command) for write in taken)
        return taken

    def take_all(self) -> list[Caller]:
        """Everyone who waits: they will hear something else."""
        return [write.caller for write in self.take(len(self._waiting))]

    def forget(self, routing_id: bytes) -> list[Caller]:
        """Drop what came by that connection: nobody reads the answers."""
        dropped = [write.caller for write in self._waiting if write.caller.routing_id == routing_id]
        for write in self.take(len(self._waiting)):
            if write.caller.routing_id != routing_id:
                self.add(write)
        return dropped
