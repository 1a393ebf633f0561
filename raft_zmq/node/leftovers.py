"""Entries that the log has let go, freed a few at a time: all at once would stop the loop for as long as it takes."""

from collections.abc import Sequence

from raft_zmq.core.messages import Entry

FREED_AT_ONCE = 1024  # more than a turn adds to the log; a tenth of a millisecond


class Leftovers:
    """To be told what nobody needs any more; `free_some` is for every turn of the loop."""

    def __init__(self) -> None:
        self._waiting: list[list[Entry]] = []

    def add(self, lists: Sequence[list[Entry]]) -> None:
        """Take over these lists, and with them what is in no other."""
        self._waiting += lists

    def free_some(self) -> None:
        """Let the next few go."""
        if self._waiting:
            entries = self._waiting[-1]
            del entries[-FREED_AT_ONCE:]
            if not entries:
                self._waiting.pop()
