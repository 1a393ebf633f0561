"""Work that answers requests and may take long, done a little in each turn of the loop, for each client in its turn.

A scan may read ten thousand keys, a look at the log ten thousand entries, and a client may send thousands of these at
once. Heartbeats and the other clients wait for no more than one of them and WORK_S.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

WORK_S = 0.01  # in one turn
ANSWER_BYTES_MAX = 32 << 20  # in one turn: answers gather until its end
ITEMS_IN_TURN = 64  # of one client, before the next one's

T = TypeVar("T")


class Work(Generic[T]):
    """Items by connection; `do` does one and returns about how many bytes its answer has."""

    def __init__(self, do: Callable[[T], int]) -> None:
        self._do = do
        self._waiting: dict[bytes, deque[T]] = {}  # the first has its turn
        self._worked_s = 0.0
        self._answered_bytes = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, routing_id: bytes, item: T) -> None:
        """Put an item behind the others of that connection."""
        waiting = self._waiting.get(routing_id)
        if waiting is None:
            waiting = self._waiting[routing_id] = deque()
        waiting.append(item)

    def go_on(self) -> None:
        """Do what this turn has time for."""
        begun_s = time.monotonic()
        while self._waiting and not self._turn_is_full(time.monotonic() - begun_s):
            routing_id, waiting = next(iter(self._waiting.items()))
            del self._waiting[routing_id]
            for _ in range(min(ITEMS_IN_TURN, len(waiting))):
                self._answered_bytes += self._do(waiting.popleft())
                if self._turn_is_full(time.monotonic() - begun_s):
                    break
            if waiting:
                self._waiting[routing_id] = waiting
        self._worked_s += time.monotonic() - begun_s

    def turn_begins(self) -> None:
        """There is time again, and the answers so far have been sent."""
        self._worked_s = 0.0
        self._answered_bytes = 0

    def forget(self, routing_id: bytes) -> list[T]:
        """The connection is gone, and nobody reads the answers: returns what is not to be done."""
        return list(self._waiting.pop(routing_id, ()))

    def _turn_is_full(self, working_s: float) -> bool:
        return self._worked_s + working_s > WORK_S or self._answered_bytes > ANSWER_BYTES_MAX
