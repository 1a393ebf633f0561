"""Acknowledged writes that a later read does not know of, each by name.

Linearizability covers this and more; this says it in the words in which people ask. For each read, the value it shows
was made by one of a few operations (values are unique in a run). If a write was acknowledged before the read began, and
was called only after all those operations were answered, then the read shows what was there before the write.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import msgspec

from client.linearizability import Operation
from client.linearizability.model import integer

EVER = math.inf


class LostWrites(msgspec.Struct):
    """`checked` of the `acknowledged` writes were followed by a read of their key; `lost` has one line a lost write."""

    acknowledged: int = 0
    checked: int = 0
    lost: list[str] = []


def find_lost_writes(operations: Iterable[Operation]) -> LostWrites:
    """Look at every key of the history."""
    keys: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.result != "fail":
            keys.setdefault(operation.key, []).append(operation)
    found = LostWrites()
    for key in sorted(keys):
        _Key(keys[key]).judge(found)
    return found


class _Key:
    """The operations of one key, sorted by what the questions need."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.reads = sorted((one for one in operations if one.op == "get" and one.result == "ok"), key=_call)
        writes = [one for one in operations if one.is_write and not _did_nothing(one)]
        self.acknowledged = sorted((one for one in writes if one.result == "ok"), key=_end)
        self.ends = [_end(one) for one in self.acknowledged]
        # Of the writes answered up to each place: the one called last.
        self.latest = list(accumulate(self.acknowledged, _called_last))
        self.makers = _Makers(writes)
        replacing = sorted((one for one in writes if one.op != "append"), key=_call)
        self.replacing_calls = [one.call for one in replacing]
        self.replaced_until = list(accumulate(map(_end, replacing), max))
        self.appends = sorted((one for one in self.acknowledged if one.op == "append"), key=_call)
        self.append_calls = [one.call for one in self.appends]

    def judge(self, found: LostWrites) -> None:
        """Add what this key shows."""
        found.acknowledged += len(self.acknowledged)
        last_read = max(map(_call, self.reads), default=0)
        found.checked += sum(end < last_read for end in self.ends)
        lost: dict[str, str] = {}
        for read in self.reads:
            for write, why in (*self.undone(read), *self.left_out(read)):
                lost.setdefault(write.name, f"key {read.key}: {write} was acknowledged, then {read} {why}")
        found.lost += lost.values()

    def undone(self, read: Operation) -> Iterator[tuple[Operation, str]]:
        """The write that lies wholly between the making of the value read and the read."""
        place = bisect_left(self.ends, read.call) - 1
        if place < 0:
            return
        write = self.latest[place]
        makers = [one for one in self.makers.of(read.output) if one.call <= _end(read)]
        if all(_end(one) < write.call for one in makers):
            older = (
                f"shows the older value of {max(makers, key=_end).name}" if makers else "shows no value of any write"
            )
            yield write, older

    def left_out(self, read: Operation) -> Iterator[tuple[Operation, str]]:
        """Appends whose text is not in the value read, though nothing can have replaced the value since."""
        place = bisect_right(self.replacing_calls, _end(read)) - 1
        replaced_until = self.replaced_until[place] if place >= 0 else -1
        for one in self.appends[bisect_right(self.append_calls, replaced_until) :]:
            if one.call > read.call:
                return
            if _end(one) < read.call and str(one.value) not in str(read.output or ""):
                yield one, "does not contain it"


class _Makers:
    """For a value: the operations after which the key may have held it."""

    def __init__(self, writes: Iterable[Operation]) -> None:
        self.by_value: dict[str | None, list[Operation]] = {}
        self.appends: dict[str, list[Operation]] = {}
        self.increments: dict[int | None, list[Operation]] = {}
        for one in writes:
            if one.op == "append":
                self.appends.setdefault(str(one.value), []).append(one)
            elif one.op == "incr":
                number = one.output if one.result == "ok" and isinstance(one.output, int) else None
                self.increments.setdefault(number, []).append(one)
            else:
                self.by_value.setdefault(None if one.op == "delete" else str(one.value), []).append(one)
        self.append_lengths = {len(text) for text in self.appends}

    def of(self, value: object) -> list[Operation]:
        """Every operation that may have left exactly this value."""
        if not isinstance(value, str):
            return self.by_value.get(None, [])
        makers = list(self.by_value.get(value, []))
        for length in self.append_lengths:
            if length <= len(value):
                makers += self.appends.get(value[len(value) - length :], [])
        number = integer(value.encode("utf-8", "surrogatepass"))
        if number is not None:
            makers += [*self.increments.get(number, []), *self.increments.get(None, [])]
        return makers


def _did_nothing(operation: Operation) -> bool:
    """Whether the answer says that the key was left as it was."""
    refused = operation.output is None if operation.op == "incr" else operation.output is False
    return operation.result == "ok" and refused


def _called_last(one: Operation, other: Operation) -> Operation:
    return max(one, other, key=_call)


def _call(operation: Operation) -> int:
    return operation.call


def _end(operation: Operation) -> float:
    """When it had taken effect at the latest; without an answer it may still be to come."""
    return EVER if operation.return_ is None or operation.result == "unknown" else operation.return_
