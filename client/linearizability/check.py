"""A whole history, key by key: it is linearizable exactly when each key's part of it is (Herlihy & Wing 1990)."""

from collections.abc import Iterable, Sequence

import msgspec

from client.linearizability.explain import Explanation, explain
from client.linearizability.history import Operation
from client.linearizability.model import Action, to_action
from client.linearizability.search import Outcome, Search

STEPS_MAX = 20_000_000  # for each key; some twenty seconds. An ordinary key takes a few steps an operation.


class KeyVerdict(msgspec.Struct, frozen=True):
    """What was found out about one key; `steps` is the work it took."""

    key: str
    operations: int
    outcome: Outcome
    steps: int
    explanation: Explanation | None


def check_history(operations: Iterable[Operation], steps_max: int = STEPS_MAX) -> list[KeyVerdict]:
    """Judge every key of the history; keys do not exist when it begins."""
    keys: dict[str, list[Operation]] = {}
    for operation in operations:
        keys.setdefault(operation.key, []).append(operation)
    return [check_key(key, keys[key], steps_max) for key in sorted(keys)]


def check_key(key: str, operations: Sequence[Operation], steps_max: int = STEPS_MAX) -> KeyVerdict:
    """Judge the operations of one key."""
    required, optional = split(operations)
    search = Search(required, optional, steps_max)
    outcome = search.run(initial=None)
    explanation = explain(key, required, optional) if outcome is Outcome.NOT_LINEARIZABLE else None
    return KeyVerdict(key, len(operations), outcome, search.steps, explanation)


def split(operations: Iterable[Operation]) -> tuple[list[Action], list[Action]]:
    """Those with an answer, and the writes without one. Failed operations and unanswered reads say nothing."""
    required: list[Action] = []
    optional: list[Action] = []
    for operation in operations:
        if operation.result == "ok":
            required.append(to_action(operation))
        elif operation.result == "unknown" and operation.is_write:
            optional.append(to_action(operation))
    return required, optional
