"""The keys in order, for scans: a few sorted runs instead of one big sorted list.

Adding to a sorted list of a million keys costs 7 µs, more than all the rest of a write; sorting a million keys at the
first scan would stop the node for a second. So new keys gather in a short list that becomes a sorted run when full,
and runs of like size are merged up to a limit (as in a log-structured merge tree): 0.5 µs a key, a few ms at a time.
Removed keys are taken out one run at a time as well, those first that have been removed longest.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

FRESH_KEYS_MAX = 4096
RUN_KEYS_MAX = 16 * FRESH_KEYS_MAX


class KeyIndex:
    """A set of keys with ordered scans. A removed key stays in its run for a while, and scans step over it."""

    def __init__(self) -> None:
        self._fresh: list[bytes] = []
        # Each sorted; no key is in two of them, nor in _fresh as well. Tuples, as the garbage collector soon leaves
        # tuples of bytes alone, but looks at every key of a list in each full collection.
        self._runs: list[tuple[bytes, ...]] = []
        # No longer members, but still in a run or in _fresh; in the order of removal, so that every run has its turn.
        self._removed: dict[bytes, None] = {}
        self._removals = 0  # since a run was swept last

    def add(self, key: bytes) -> None:
        """Take in a key that is no member."""
        if key in self._removed:
            del self._removed[key]
            return
        self._fresh.append(key)
        if len(self._fresh) == FRESH_KEYS_MAX:
            self._push(tuple(sorted(self._fresh)))
            self._fresh = []

    def remove(self, key: bytes) -> None:
        """Forget a member; about FRESH_KEYS_MAX removed keys stay in each run."""
        self._removed[key] = None
        self._removals += 1
        if self._removals >= FRESH_KEYS_MAX:
            self._removals = 0
            self._sweep(next(iter(self._removed)))

    def scan(self, prefix: bytes, after: bytes) -> Iterator[bytes]:
        """The members that start with `prefix` and are greater than `after`, in order."""
        self._fresh.sort()  # nearly sorted since the last scan, which costs next to nothing
        for key in heapq.merge(*(_tail(run, prefix, after) for run in (*self._runs, self._fresh))):
            if not key.startswith(prefix):
                return
            if key not in self._removed:
                yield key

    def _push(self, run: tuple[bytes, ...]) -> None:
        """Add a run and merge it with its neighbours, so that runs are either large or get smaller quickly."""
        self._runs.append(run)
        while len(self._runs) > 1:
            older, newer = self._runs[-2:]
            if len(older) > 2 * len(newer) or len(older) + len(newer) > RUN_KEYS_MAX:
                return
            self._runs[-2:] = [tuple(sorted(older + newer))]  # of two sorted runs, so the sort is one merge

    def _sweep(self, removed: bytes) -> None:
        """Take all removed keys out of the run where that one is, and put what is left with a neighbour if it fits."""
        number = next((number for number, run in enumerate(self._runs) if _holds(run, removed)), None)
        if number is None:
            self._fresh = self._without_removed(self._fresh)
            return
        left = tuple(self._without_removed(self._runs[number]))
        for neighbour in (number - 1, number + 1):
            if 0 <= neighbour < len(self._runs) and len(self._runs[neighbour]) + len(left) <= RUN_KEYS_MAX:
                self._runs[neighbour] = tuple(sorted(self._runs[neighbour] + left))
                del self._runs[number]
                return
        self._runs[number] = left

    def _without_removed(self, run: Sequence[bytes]) -> list[bytes]:
        """What is left of that run; the removed keys that it had are forgotten."""
        gone = self._removed.keys() & run
        for key in gone:
            del self._removed[key]
        return [key for key in run if key not in gone]


def _holds(run: Sequence[bytes], key: bytes) -> bool:
    position = bisect_left(run, key)
    return position < len(run) and run[position] == key


def _tail(run: Sequence[bytes], prefix: bytes, after: bytes) -> Iterator[bytes]:
    start = bisect_left(run, prefix) if prefix > after else bisect_right(run, after)
    for position in range(start, len(run)):
        yield run[position]
