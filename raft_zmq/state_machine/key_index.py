"""The keys in order, for scans: a few sorted runs instead of one big sorted list.

Adding to a sorted list of a million keys costs 7 µs, more than all the rest of a write; sorting a million keys at the
first scan would stop the node for a second. So new keys gather in a short list that becomes a sorted run when full,
and runs of like size are merged up to a limit (as in a log-structured merge tree): 0.5 µs a key, a few ms at a time.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence

FRESH_KEYS_MAX = 4096
RUN_KEYS_MAX = 16 * FRESH_KEYS_MAX


class KeyIndex:
    """A set of keys with ordered scans. `live` is who really is a member: removed keys stay in the runs for a while."""

    def __init__(self, live: Collection[bytes]) -> None:
        self._live = live
        self._fresh: list[bytes] = []
        # Each sorted; no key is in two of them, nor in _fresh as well. Tuples, as the garbage collector soon leaves
        # tuples of bytes alone, but looks at every key of a list in each full collection.
        self._runs: list[tuple[bytes, ...]] = []
        self._removed: set[bytes] = set()  # no longer live, but still in a run or in _fresh

    def add(self, key: bytes) -> None:
        """Take in a key that was not live until now."""
        if key in self._removed:
            self._removed.remove(key)
            return
        self._fresh.append(key)
        if len(self._fresh) == FRESH_KEYS_MAX:
            self._push(tuple(sorted(self._fresh)))
            self._fresh = []

    def remove(self, key: bytes) -> None:
        """Forget a key that is no longer live; the removed ones never outnumber the others by much."""
        self._removed.add(key)
        if len(self._removed) > FRESH_KEYS_MAX and len(self._removed) > len(self._live):
            self._sweep()

    def scan(self, prefix: bytes, after: bytes) -> Iterator[bytes]:
        """The live keys that start with `prefix` and are greater than `after`, in order."""
        self._fresh.sort()  # nearly sorted since the last scan, which costs next to nothing
        for key in heapq.merge(*(_tail(run, prefix, after) for run in (*self._runs, self._fresh))):
            if not key.startswith(prefix):
                return
            if key in self._live:
                yield key

    def _push(self, run: tuple[bytes, ...]) -> None:
        """Add a run and merge it with its neighbours, so that runs are either large or get smaller quickly."""
        self._runs.append(run)
        while len(self._runs) > 1:
            older, newer = self._runs[-2:]
            if len(older) > 2 * len(newer) or len(older) + len(newer) > RUN_KEYS_MAX:
                return
            self._runs[-2:] = [tuple(sorted(older + newer))]  # of two sorted runs, so the sort is one merge

    def _sweep(self) -> None:
        """Take the removed keys out of the runs."""
        runs, self._runs = self._runs, []
        self._removed.clear()
        self._fresh = [key for key in self._fresh if key in self._live]
        for run in runs:
            self._push(tuple(key for key in run if key in self._live))


def _tail(run: Sequence[bytes], prefix: bytes, after: bytes) -> Iterator[bytes]:
    start = bisect_left(run, prefix) if prefix > after else bisect_right(run, after)
    for position in range(start, len(run)):
        yield run[position]
