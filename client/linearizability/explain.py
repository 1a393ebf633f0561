"""Why a key's history has no order, in as few operations as will do.

Every step keeps the argument sound: a history that has an order still has one when it ends earlier, when a read is left
out, and when a write may, but need not, have happened. So if what is left has no order, the whole had none.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from client.linearizability.history import Operation
from client.linearizability.model import Action, State
from client.linearizability.search import Outcome, Placed, Search

PREFIX_STEPS_MAX = 20_000_000  # for finding the shortest prefix that has no order, each time
LOOSEN_STEPS_MAX = 20_000  # for each attempt to leave something out; one that takes longer is not made
LOOSEN_ATTEMPTS_MAX = 500
PASTS_MAX = 200


class Explanation(msgspec.Struct, frozen=True):
    """`operations` cannot be ordered after a time when the key held `before` (None: it did not exist).

    `stuck` is the one at whose answer no order was left; `writers` are the operations that wrote the values concerned;
    `others` is how many operations of the key do not matter, however they took effect.
    """

    key: str
    before: str | None
    operations: tuple[Operation, ...]
    stuck: Operation
    writers: tuple[Operation, ...]
    others: int

    def lines(self) -> list[str]:
        """The explanation for a person; times in milliseconds since the first call listed."""
        listed = sorted({*self.operations, *self.writers}, key=lambda operation: operation.call)
        start = listed[0].call
        before = "did not exist" if self.before is None else f"held {self.before!r}"
        told = [f"key {self.key} {before}; from there no order explains all of:"]
        told += [f"  {_interval(operation, start)}  {operation}" for operation in self.operations]
        told.append(f"  no order is left once {self.stuck.name} is answered")
        for operation in self.writers:
            told.append(f"  written by: {_interval(operation, start).strip()}  {operation}")
        if self.others:
            told.append(f"  this holds however the other {self.others} operations of the key took effect")
        return told


class Past(NamedTuple):
    """A way in which the operations before a cut may have gone: what is still to be ordered, and the state it left."""

    required: list[Action]
    optional: list[Action]
    state: State


def explain(key: str, required: Sequence[Action], optional: Sequence[Action]) -> Explanation:
    """The short story of a history that the search has found to have no order."""
    prefix, open_ = _shortest_prefix(required, optional)
    search = Search(prefix, open_, PREFIX_STEPS_MAX // 10, foresight=False)
    if search.run(initial=None) is Outcome.UNDECIDED:
        search = Search(prefix, open_, PREFIX_STEPS_MAX)
        search.run(initial=None)
    pasts = _latest_agreed_pasts(search)
    needed = _needed(pasts)
    stuck = max(needed, key=lambda action: action.ret)
    before = pasts[0].state
    writers = _writers([*required, *optional], {before, _seen(stuck)} - {None})
    return Explanation(
        key=key,
        before=None if before is None else before.decode("utf-8", "replace"),
        operations=tuple(action.source for action in needed),
        stuck=stuck.source,
        writers=tuple(action.source for action in writers if action not in needed),
        others=len(required) + len(optional) - len({*needed, *writers}),
    )


def _shortest_prefix(required: Sequence[Action], optional: Sequence[Action]) -> tuple[list[Action], list[Action]]:
    """The history up to the first answer at which no order is left; what was under way then may have happened."""
    returns = sorted(action.ret for action in required)
    low, high = 0, len(returns) - 1  # the prefix up to returns[high] has no order
    while low < high:
        middle = (low + high) // 2
        if _has_no_order(*_prefix(required, optional, returns[middle]), None, PREFIX_STEPS_MAX):
            high = middle
        else:
            low = middle + 1
    return _prefix(required, optional, returns[high])


def _prefix(required: Sequence[Action], optional: Sequence[Action], end: float) -> tuple[list[Action], list[Action]]:
    answered = [action for action in required if action.ret <= end]
    open_ = [action for action in (*required, *optional) if action.call <= end < action.ret]
    return answered, [_may_have_happened(action) for action in open_ if action.op != "get"]


def _latest_agreed_pasts(search: Search) -> list[Past]:
    """All ways in which the history may have gone up to the latest call before which they all leave the same state.

    An order is a past at a call when it holds everything answered before that call and nothing called since. Whatever
    the right order were, it would begin with one of these pasts.
    """
    calls = [action.call for action in search.required]
    states: list[set[State]] = [set() for _ in calls]
    spans: list[tuple[Placed, int, int]] = []
    for placed in search.explored:
        first = placed.base + placed.ahead.bit_length()
        last = bisect_right(calls, search.candidates(placed)[1]) - 1
        spans.append((placed, first, last))
        for cut in range(first, last + 1):
            states[cut].add(placed.state)
    agreed = max(cut for cut in range(len(calls)) if len(states[cut]) == 1)
    merged: dict[tuple[int, int, State], int] = {}
    for placed, first, last in spans:
        if first <= agreed <= last:  # pasts that differ only in what is used up count as one that used what all used
            place = (placed.base, placed.ahead, placed.state)
            merged[place] = merged.get(place, placed.used) & placed.used
    return [_past(search, Placed(base, ahead, used, state)) for (base, ahead, state), used in merged.items()]


def _past(search: Search, placed: Placed) -> Past:
    unplaced = [
        action
        for number, action in enumerate(search.required)
        if number >= placed.base and not placed.ahead >> (number - placed.base) & 1
    ]
    return Past(unplaced, search.unused(placed), placed.state)


def _needed(pasts: Sequence[Past]) -> list[Action]:
    """The operations after the cut without those that can be loosened: large pieces first, then one by one."""
    needed = sorted({action for past in pasts for action in past.required}, key=_by_time)
    if len(pasts) > PASTS_MAX:
        return needed
    attempts = 0
    size = max(1, len(needed) // 2)
    while True:
        begin = 0
        while begin < len(needed) and attempts < LOOSEN_ATTEMPTS_MAX:
            kept = [*needed[:begin], *needed[begin + size :]]
            attempts += 1
            if kept and all(_still_has_no_order(past, kept) for past in pasts):
                needed = kept
            else:
                begin += size
        if size == 1 or attempts >= LOOSEN_ATTEMPTS_MAX:
            return needed
        size //= 2


def _still_has_no_order(past: Past, kept: Iterable[Action]) -> bool:
    """Whether the past cannot go on when only `kept` must be explained: other reads are left out, writes optional."""
    strict = set(kept)
    required = [action for action in past.required if action in strict]
    loose = [action for action in past.required if action not in strict and not action.changes_nothing]
    optional = [*past.optional, *(_may_have_happened(action) for action in loose)]
    return _has_no_order(required, optional, past.state, LOOSEN_STEPS_MAX)


def _has_no_order(required: Sequence[Action], optional: Sequence[Action], initial: State, steps_max: int) -> bool:
    return Search(required, optional, steps_max).run(initial) is Outcome.NOT_LINEARIZABLE


def _may_have_happened(action: Action) -> Action:
    return action._replace(ret=math.inf, output=None)


def _seen(action: Action) -> State:
    """The value the operation says it found, as far as its answer shows it."""
    if action.op == "get" and isinstance(action.output, bytes):
        return action.output
    return action.expected if action.op == "cas" and action.output is True else None


def _writers(actions: Iterable[Action], values: set[State]) -> list[Action]:
    """The puts and swaps that wrote these values, by call."""
    found = [action for action in actions if action.op in ("put", "cas") and action.value in values]
    return sorted((action for action in found if action.output is not False), key=lambda action: action.call)


def _by_time(action: Action) -> tuple[float, float]:
    return action.call, action.ret


def _interval(operation: Operation, start: int) -> str:
    """When it was under way, for example "   1.250 to    3.000 ms"."""
    call = f"{(operation.call - start) / 1e6:10.3f}"
    if operation.return_ is None:
        return f"{call} to     (open) ms"
    return f"{call} to {(operation.return_ - start) / 1e6:10.3f} ms"
