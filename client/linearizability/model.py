"""One key as a state machine: what each operation does to it and answers.

The state of a key is its value in bytes, or None while it does not exist. It says the same as the key-value store of
the nodes, in a few lines, so that one can be held against the other.
"""

import math
from typing import NamedTuple

from client.linearizability.history import Name, Operation

State = bytes | None
Output = bytes | int | bool | None

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
INTEGER_DIGITS_MAX = 20  # in bytes, with the sign


class Action(NamedTuple):
    """An operation made ready for the search. `ret` is infinite where the operation may take effect at any time."""

    op: Name
    value: bytes
    amount: int
    expected: State
    output: Output
    call: float
    ret: float
    source: Operation

    @property
    def blind(self) -> bool:
        """Whether the state it leaves does not depend on the state it finds."""
        return self.op in ("put", "delete")

    @property
    def changes_nothing(self) -> bool:
        """Whether its answer proves that it left the key as it was."""
        refused = self.output is None if self.op == "incr" else self.output is False
        return self.op == "get" or (refused and self.op in ("cas", "delete", "incr"))


def to_action(operation: Operation) -> Action:
    """The operation as the search wants it: values as bytes, times as numbers."""
    known = operation.result == "ok" and operation.return_ is not None
    answer = operation.output
    output = _bytes(answer) if isinstance(answer, str) else answer
    return Action(
        op=operation.op,
        value=b"" if operation.op == "incr" else _bytes(operation.value),
        amount=int(operation.value or 0) if operation.op == "incr" else 0,
        expected=_bytes(operation.expected) if isinstance(operation.expected, str) else None,
        output=output if known and operation.op != "put" and isinstance(output, bytes | int) else None,
        call=operation.call,
        ret=operation.return_ if known and operation.return_ is not None else math.inf,
        source=operation,
    )


def effect(state: State, action: Action) -> tuple[State, Output]:
    """The state after the action, and its answer. An `incr` that cannot be done answers None and changes nothing."""
    op = action.op
    if op == "get":
        return state, state
    if op == "put":
        return action.value, None
    if op == "cas":
        return (action.value, True) if state == action.expected else (state, False)
    if op == "append":
        longer = (state or b"") + action.value
        return longer, len(longer)
    if op == "delete":
        return None, state is not None
    return _increment(state, action.amount)


def integer(state: State) -> int | None:
    """The number a key holds: 0 while it does not exist, None when its value is no decimal integer."""
    if state is None:
        return 0
    if len(state) > INTEGER_DIGITS_MAX or not state.removeprefix(b"-").isdigit():
        return None
    return int(state)


def _increment(state: State, amount: int) -> tuple[State, Output]:
    number = integer(state)
    if number is None or not INTEGER_MIN <= number + amount <= INTEGER_MAX:
        return state, None
    return b"%d" % (number + amount), number + amount


def _bytes(value: str | int | None) -> bytes:
    return str(value if value is not None else "").encode("utf-8", "surrogatepass")
