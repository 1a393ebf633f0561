"""Values that an operation has seen, and the operations that can have made them.

An order that has moved on from a value which an unplaced operation still has to see, with nothing left to write that
value again, is dead. Values of a workload are unique, so this ends most wrong guesses at once.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence

from client.linearizability.model import Action, State


class Sightings:
    """For each seen value: who saw it, who can make it (positions in `required`), and the bits of optional makers."""

    def __init__(self, required: Sequence[Action], optional: Sequence[tuple[int, Action]]) -> None:
        self.seers: dict[State, list[int]] = {}
        for number, action in enumerate(required):
            if action.op == "get" and not isinstance(action.output, int):
                self.seers.setdefault(action.output, []).append(number)
            elif action.op == "cas" and action.output is True:
                self.seers.setdefault(action.expected, []).append(number)
        self.makers: dict[State, list[int]] = {value: [] for value in self.seers}
        self.optional_makers: dict[State, int] = dict.fromkeys(self.seers, 0)
        self.made_by: list[list[State]] = []
        makers = _Makers(self.seers, [*required, *(action for _, action in optional)])
        for number, action in enumerate(required):
            values = makers.makes(action)
            self.made_by.append(values)
            for value in values:
                self.makers[value].append(number)
        for bit, action in optional:
            for value in makers.makes(action):
                self.optional_makers[value] |= bit

    def dead(self, left: State, number: int, base: int, ahead: int, used: int, state: State) -> bool:
        """Whether placing `number`, which took the key from `left` to `state`, has lost a value for good."""
        return any(
            value != state
            and value in self.seers
            and _any_unplaced(self.seers[value], base, ahead)
            and not _any_unplaced(self.makers[value], base, ahead)
            and not self.optional_makers[value] & ~used
            for value in (left, *self.made_by[number])
        )


class _Makers:
    """Finds which of the seen values an action can make; when in doubt, it can."""

    def __init__(self, values: Collection[State], actions: Sequence[Action]) -> None:
        self.values = values
        self.numbers: list[State] = [value for value in values if value is not None and value.lstrip(b"-").isdigit()]
        self.by_ending: dict[bytes, list[State]] = {}
        for length in {len(action.value) for action in actions if action.op == "append"}:
            for value in values:
                if value is not None and len(value) >= length:
                    self.by_ending.setdefault(value[len(value) - length :], []).append(value)

    def makes(self, action: Action) -> list[State]:
        if action.op == "delete":
            return [None] if None in self.values else []
        if action.op == "append":
            return self.by_ending.get(action.value, [])
        if action.op == "incr":
            return self.numbers
        return [action.value] if action.op in ("put", "cas") and action.value in self.values else []


def _any_unplaced(numbers: list[int], base: int, ahead: int) -> bool:
    """Whether one of these sorted positions is neither before `base` nor among the bits of `ahead`."""
    return any(not ahead >> (numbers[at] - base) & 1 for at in range(bisect_left(numbers, base), len(numbers)))
