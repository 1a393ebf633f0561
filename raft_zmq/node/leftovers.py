"""Entries that the log has let go, freed a few at a time: all at once would stop the loop for as long as it takes."""

from collections.abc import Sequence

from raft_zmq.core.messages import Entry

FREED_AT_ONCE = 1024  # a tenth of a millisecond …
_SHARE = 64  # … or this part of all that waits: a follower with a slow disk takes in more than that in a turn


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
            count = max(FREED_AT_ONCE, sum(map(len, self._waiting)) // _SHARE)
            entries = self._waiting[-1]
            del entries[-count:]
            if not entries:
                self._waiting.pop()
