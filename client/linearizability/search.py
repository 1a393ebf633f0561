"""Looking for one order of a key's operations that explains every answer (Wing & Gong 1993, Lowe 2017).

The search takes one operation after the other, always one that no other unplaced operation must precede, and goes back
when it is stuck. What it has already tried is a set of (operations placed, state), so nothing is tried twice. Four
observations keep it short; none of them loses an order:

1. An operation that fits now, and whose answer proves that it changed nothing wherever it stood, may be placed at once:
   whatever order has it later can have it here.
2. An operation without an answer ("optional") may wait for ever, so it is placed only where the next answer needs it.
3. Optional operations that do the same are interchangeable: the one called first goes first.
4. A value that is still to be seen, and that nothing left can make again, must not be left behind (sightings.py).
"""

import math
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from client.linearizability.model import Action, State, effect, integer
from client.linearizability.sightings import Sightings

DIGITS = frozenset(b"%c" % character for character in b"-0123456789")
ANY_NUMBER = b"0"  # stands for whatever increments lead to


class Outcome(Enum):
    """What the search found."""

    LINEARIZABLE = "linearizable"
    NOT_LINEARIZABLE = "not linearizable"
    UNDECIDED = "undecided"


class Placed(NamedTuple):
    """How far an order has come: required operations before `base`, those at `base + i` for each bit i of `ahead`,
    the optional ones of the bits in `used`, and the state they left.
    """

    base: int
    ahead: int
    used: int
    state: State


class _OutOfStepsError(Exception):
    """The search has used up its steps."""


class Search:
    """One search: whether `required` (with answers) and any of `optional` (without) fit in one order.

    After `run`, `steps` is the work it took and `explored` are the orders it has looked at. Without `foresight`
    (observation 4) dead orders are followed to the operation that does not fit, which is what an explanation wants.
    """

    def __init__(
        self, required: Sequence[Action], optional: Sequence[Action], steps_max: int, foresight: bool = True
    ) -> None:
        self.foresight = foresight
        self.required = sorted(required, key=lambda action: action.call)
        self.classes = _alike(optional)
        self.sightings = Sightings(self.required, [pair for alike in self.classes for pair in alike])
        self.goals = frozenset(action.expected for action in optional if action.op == "cas")
        self.optional_increments = any(action.op == "incr" for action in optional)
        self.optional_digits = any(action.op == "append" and action.value.isdigit() for action in optional)
        self.explored: set[Placed] = set()
        self.steps = 0
        self.steps_max = steps_max

    def run(self, initial: State) -> Outcome:
        """Look for an order that starts at `initial`."""
        try:
            return self._run(Placed(0, 0, 0, initial))
        except _OutOfStepsError:
            return Outcome.UNDECIDED

    def _run(self, start: Placed) -> Outcome:
        self.explored.add(start)
        if not self.required:
            return Outcome.LINEARIZABLE
        branches = [self.next_orders(start)]
        while branches:
            placed = next(branches[-1], None)
            if placed is None:
                branches.pop()
            elif placed.base == len(self.required):
                return Outcome.LINEARIZABLE
            elif placed not in self.explored:
                self.explored.add(placed)
                branches.append(self.next_orders(placed))
        return Outcome.NOT_LINEARIZABLE

    def next_orders(self, placed: Placed) -> Iterator[Placed]:
        """Every order that is one required operation longer; just one where the first observation holds."""
        candidates, deadline = self.candidates(placed)
        fitting: list[tuple[int, State]] = []
        for number in candidates:
            self.count_step()
            action = self.required[number]
            state, output = effect(placed.state, action)
            if output == action.output:
                if action.changes_nothing:
                    yield _with(placed, number, placed.used, state)
                    return
                fitting.append((number, state))
        # A fitting answer that depends on the state is evidence; else what must be done first was likely done first.
        fitting.sort(key=lambda pair: (self.required[pair[0]].blind, self.required[pair[0]].ret))
        for number, state in fitting:
            yield from self.if_alive(placed, number, placed.used, state)
        if self.classes:
            fits = {number for number, _ in fitting}
            for number in candidates:
                # Of an append only the length is known, so a different content of equal length has to be tried too.
                if number not in fits or self.required[number].op == "append":
                    yield from self.helped_orders(placed, number, deadline)

    def if_alive(self, placed: Placed, number: int, used: int, state: State) -> Iterator[Placed]:
        """The order with `number` at its end, unless it has lost a value that must still be seen."""
        longer = _with(placed, number, used, state)
        if self.foresight and self.sightings.dead(placed.state, number, longer.base, longer.ahead, used, state):
            return
        yield longer

    def candidates(self, placed: Placed) -> tuple[list[int], float]:
        """The required operations that no unplaced one must precede, and when the first of them was answered."""
        found: list[int] = []
        deadline = math.inf
        ahead = placed.ahead
        for number in range(placed.base, len(self.required)):
            action = self.required[number]
            if action.call > deadline:
                break
            if not ahead & 1:
                found.append(number)
                deadline = min(deadline, action.ret)
            ahead >>= 1
        return found, deadline

    def helped_orders(self, placed: Placed, number: int, deadline: float) -> Iterator[Placed]:
        """Orders in which optional operations come first and make required operation `number` fit."""
        action = self.required[number]
        waiting = [(placed.state, placed.used)]
        tried = set(waiting)
        while waiting:
            before, used_before = waiting.pop()
            for state, used in self.optional_steps(before, used_before, deadline, first=used_before == placed.used):
                if (state, used) in tried:
                    continue
                tried.add((state, used))
                after, output = effect(state, action)
                fits = output == action.output
                if fits:
                    yield from self.if_alive(placed, number, used, after)
                if (not fits or action.op == "append") and self.may_lead_to(state, action):
                    waiting.append((state, used))

    def optional_steps(self, state: State, used: int, deadline: float, first: bool) -> Iterator[tuple[State, int]]:
        """What one more optional operation can make of the state; a blind one only as the first: it hides others."""
        for alike in self.classes:
            for bit, action in alike:
                if used & bit:
                    continue
                self.count_step()
                if action.call <= deadline and (first or not action.blind):
                    after, _ = effect(state, action)
                    if after != state:
                        yield after, used | bit
                break

    def may_lead_to(self, state: State, action: Action) -> bool:
        """Whether optional operations that build on `state` might still make `action` fit; True when in doubt."""
        output = action.output
        if action.op == "append":
            fits_yet = isinstance(output, int) and len(state or b"") <= output - len(action.value)
            return fits_yet or self._reaches(state, {ANY_NUMBER, *self.goals})  # these can shorten a value
        if action.op == "get" and not isinstance(output, int):
            return self._reaches(state, {output, *self.goals})
        if action.op == "cas" and output is True:
            return self._reaches(state, {action.expected, *self.goals})
        if action.op == "incr" and isinstance(output, int):
            return self.optional_digits or self._reaches(state, {b"%d" % (output - action.amount), *self.goals})
        # A refused swap fits after any change, a delete after any write or after another delete: one step is enough.
        return action.op == "incr"

    def _reaches(self, state: State, targets: set[State]) -> bool:
        """Appends only lengthen a value and increments lead from number to number: whether that could hit a target."""
        if state is None:
            return True
        numeric = state in (b"", b"-") or integer(state) is not None
        return any(
            target is not None
            and (target.startswith(state) or (numeric and self.optional_increments and target[:1] in DIGITS))
            for target in targets
        )

    def unused(self, placed: Placed) -> list[Action]:
        """The optional operations that the order has not placed."""
        return [action for alike in self.classes for bit, action in alike if not placed.used & bit]

    def count_step(self) -> None:
        """Keep within `steps_max`."""
        self.steps += 1
        if self.steps > self.steps_max:
            raise _OutOfStepsError


def _with(placed: Placed, number: int, used: int, state: State) -> Placed:
    """The order with required operation `number` at its end."""
    ahead = placed.ahead | 1 << (number - placed.base)
    leading = (~ahead & (ahead + 1)).bit_length() - 1  # how many in a row are placed from `base` on
    return Placed(placed.base + leading, ahead >> leading, used, state)


def _alike(optional: Sequence[Action]) -> list[list[tuple[int, Action]]]:
    """Optional operations in classes that do the same, each with its bit, first called first."""
    classes: dict[tuple[object, ...], list[tuple[int, Action]]] = {}
    for number, action in enumerate(sorted(optional, key=lambda action: action.call)):
        identity = (action.op, action.value, action.amount, action.expected)
        classes.setdefault(identity, []).append((1 << number, action))
    return list(classes.values())
