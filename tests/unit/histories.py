"""Histories for the tests: written by hand, or recorded from a simulated atomic store with random concurrency."""

import heapq
import random
from typing import Any

from client.linearizability import Operation


def operation(client: str, number: int, op: str, call: int, back: int | None, **fields: Any) -> Operation:
    """One operation on key "k" unless `fields` say otherwise; without `back` its result is unknown."""
    result = "unknown" if back is None else "ok"
    if op == "get":
        fields.setdefault("output", None)
    values: dict[str, Any] = {"key": "k", "result": result, **fields}
    return Operation(client=client, id=number, op=op, call=call, return_=back, **values)


class AtomicStore:
    """The keys as they are at one moment. It shares no code with the judge's model, on purpose."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def apply(self, op: str, key: str, value: Any, expected: str | None) -> Any:
        held = self.values.get(key)
        match op:
            case "put":
                self.values[key] = value
                return None
            case "get":
                return held
            case "delete":
                self.values.pop(key, None)
                return held is not None
            case "cas":
                if held == expected:
                    self.values[key] = value
                return held == expected
            case "append":
                self.values[key] = (held or "") + value
                return len(self.values[key])
        try:
            total = int(held or 0) + value
        except ValueError:
            return None
        self.values[key] = str(total)
        return total


def recorded(
    seed: int,
    operations: int,
    clients: int,
    keys: int,
    unknown: float = 0.0,
    ops: str = "put get get cas append incr delete",
) -> list[Operation]:
    """What `clients` record while they call an atomic store: each call takes effect at one moment before its answer.

    `unknown` is the share of calls whose answer is lost; half of those have taken effect.
    """
    draw = random.Random(seed)
    store = AtomicStore()
    history = []
    for effect_at, call, back, client, number in sorted(_calls(draw, operations, clients)):
        del effect_at
        op, key = draw.choice(ops.split()), f"k{draw.randrange(keys)}"
        value = (
            1 if op == "incr" else f"{'+' if op == 'append' else ''}c{client}.{number}" if op in WITH_VALUE else None
        )
        held = store.values.get(key)
        expected = (held if draw.random() < 0.7 else draw.choice([None, "other"])) if op == "cas" else None
        lost = draw.random() < unknown
        output = None if lost and draw.random() < 0.5 else store.apply(op, key, value, expected)
        history.append(
            Operation(
                client=f"c{client}",
                id=number,
                op=op,
                key=key,
                value=value,
                expected=expected,
                call=call,
                return_=None if lost else back,
                result="unknown" if lost else "ok",
                output=None if lost else output,
            )
        )
    return sorted(history, key=lambda recorded_operation: recorded_operation.call)


WITH_VALUE = ("put", "cas", "append")


def _calls(draw: random.Random, operations: int, clients: int) -> list[tuple[float, int, int, int, int]]:
    """(moment of effect, call, return, client, number) of closed-loop clients, times in nanoseconds."""
    free = [(draw.randrange(1_000_000), client, 0) for client in range(clients)]
    heapq.heapify(free)
    calls = []
    for _ in range(operations):
        call, client, number = heapq.heappop(free)
        takes = 1 + int(draw.expovariate(1 / 1_000_000))
        calls.append((call + takes * draw.random(), call, call + takes, client, number))
        heapq.heappush(free, (call + takes + draw.randrange(1, 100_000), client, number + 1))
    return calls
