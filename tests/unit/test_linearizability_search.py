"""The checker against histories whose answer is known, and against a second, naive checker."""

import itertools
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.linearizability import Operation, Outcome, check_history
from client.linearizability.check import split
from client.linearizability.model import Action, State, effect, to_action
from tests.unit.histories import operation, recorded

GOOD = {
    "an empty key is read as null": [operation("a", 1, "get", 0, 1)],
    "concurrent puts in either order": [
        operation("a", 1, "put", 0, 10, value="x"),
        operation("b", 1, "put", 0, 10, value="y"),
        operation("c", 1, "get", 11, 12, output="x"),
    ],
    "a put without an answer takes effect late": [
        operation("a", 1, "put", 0, None, value="x"),
        operation("b", 1, "get", 10, 11),
        operation("b", 2, "get", 100, 110, output="x"),
    ],
    "a put without an answer never takes effect": [
        operation("a", 1, "put", 0, None, value="x"),
        operation("b", 1, "put", 10, 11, value="y"),
        operation("b", 2, "get", 100, 110, output="y"),
    ],
    "an unanswered put explains why a swap was refused": [
        operation("a", 1, "put", 0, 1, value="x"),
        operation("b", 1, "put", 2, None, value="y"),
        operation("c", 1, "cas", 5, 6, expected="x", value="z", output=False),
    ],
    "an unanswered put explains why a delete found something": [
        operation("b", 1, "put", 2, None, value="y"),
        operation("c", 1, "delete", 5, 6, output=True),
    ],
    "an unanswered append before an answered one, told by the length and the content": [
        operation("a", 1, "append", 0, None, value="ab"),
        operation("b", 1, "append", 5, 6, value="cd", output=4),
        operation("b", 2, "get", 7, 8, output="abcd"),
    ],
    "an unanswered put of equal length, told only by a later read": [
        operation("a", 1, "put", 0, 1, value="yy"),
        operation("b", 1, "put", 2, None, value="zz"),
        operation("c", 1, "append", 5, 6, value="c", output=3),
        operation("c", 2, "get", 7, 8, output="zzc"),
    ],
    "an unanswered swap for something shorter before an append": [
        operation("a", 1, "put", 0, None, value="aaaaaaaa"),
        operation("b", 1, "cas", 1, None, expected="aaaaaaaa", value="b"),
        operation("c", 1, "append", 5, 6, value="c", output=2),
        operation("c", 2, "get", 7, 8, output="bc"),
    ],
    "an unanswered increment to fewer digits before an append": [
        operation("a", 1, "put", 0, None, value="100"),
        operation("b", 1, "incr", 1, None, value=-95),
        operation("c", 1, "append", 5, 6, value="x", output=2),
        operation("c", 2, "get", 7, 8, output="5x"),
    ],
    "two unanswered increments, one applied": [
        operation("a", 1, "incr", 0, None, value=1),
        operation("b", 1, "incr", 0, None, value=1),
        operation("c", 1, "incr", 5, 6, value=1, output=2),
        operation("c", 2, "get", 7, 8, output="2"),
    ],
    "an increment of something that is no number": [
        operation("a", 1, "put", 0, 1, value="x"),
        operation("a", 2, "incr", 2, 3, value=1, output=None),
        operation("a", 3, "get", 4, 5, output="x"),
    ],
    "a put of the value that is there takes effect after a delete": [
        operation("a", 1, "put", 0, 1, value="x"),
        operation("b", 1, "put", 2, 20, value="x"),
        operation("c", 1, "delete", 2, 10, output=True),
        operation("c", 2, "get", 11, 12),
        operation("c", 3, "get", 21, 22, output="x"),
    ],
    "keys are apart": [
        operation("a", 1, "put", 0, 1, value="x"),
        operation("a", 2, "get", 2, 3, key="other"),
    ],
    "a failed put did nothing": [
        operation("a", 1, "put", 0, 1, value="x", result="fail"),
        operation("a", 2, "get", 2, 3),
    ],
}

BAD = {
    "a stale read": [
        operation("a", 1, "put", 0, 1, value="x"),
        operation("a", 2, "put", 2, 3, value="y"),
        operation("b", 1, "get", 4, 5, output="x"),
    ],
    "a lost write": [
        operation("a", 1, "put", 0, 1, value="x"),
        operation("b", 1, "get", 2, 3),
    ],
    "an increment applied twice": [
        operation("a", 1, "incr", 0, 1, value=1, output=1),
        operation("b", 1, "get", 2, 3, output="2"),
    ],
    "an append applied twice": [
        operation("a", 1, "append", 0, 1, value="x", output=1),
        operation("b", 1, "get", 2, 3, output="xx"),
    ],
    "two swaps of one value": [
        operation("a", 1, "put", 0, 1, value="x"),
        operation("b", 1, "cas", 2, 10, expected="x", value="y", output=True),
        operation("c", 1, "cas", 2, 10, expected="x", value="z", output=True),
    ],
    "a value nobody wrote": [operation("a", 1, "get", 0, 1, output="x")],
    "a failed put that is read": [
        operation("a", 1, "put", 0, 1, value="x", result="fail"),
        operation("a", 2, "get", 2, 3, output="x"),
    ],
    "an unanswered put read before it was called": [
        operation("b", 1, "get", 0, 1, output="x"),
        operation("a", 1, "put", 2, None, value="x"),
    ],
    "an unanswered put that takes effect twice": [
        operation("a", 1, "put", 0, None, value="x"),
        operation("b", 1, "get", 1, 2, output="x"),
        operation("b", 2, "put", 3, 4, value="y"),
        operation("b", 3, "get", 5, 6, output="x"),
    ],
    "reads that see two writes in different orders": [
        operation("a", 1, "put", 0, 100, value="x"),
        operation("b", 1, "put", 0, 100, value="y"),
        operation("c", 1, "get", 10, 11, output="x"),
        operation("c", 2, "get", 12, 13, output="y"),
        operation("c", 3, "get", 14, 15, output="x"),
    ],
    "a deleted value that is still there": [
        operation("a", 1, "put", 0, 1, value="x"),
        operation("a", 2, "delete", 2, 3, output=True),
        operation("a", 3, "get", 4, 5, output="x"),
    ],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD.keys())
def test_history_with_an_order_is_accepted(history: list[Operation]) -> None:
    assert all(verdict.outcome is Outcome.LINEARIZABLE for verdict in check_history(history))


@pytest.mark.parametrize("history", BAD.values(), ids=BAD.keys())
def test_history_without_an_order_is_refused(history: list[Operation]) -> None:
    [verdict] = check_history(history)
    assert verdict.outcome is Outcome.NOT_LINEARIZABLE
    assert verdict.explanation is not None


@pytest.mark.parametrize("seed", range(30))
def test_what_an_atomic_store_answers_is_linearizable(seed: int) -> None:
    history = recorded(seed, operations=400, clients=2 + seed % 7, keys=1 + seed % 3, unknown=0.02)
    assert {verdict.outcome for verdict in check_history(history)} == {Outcome.LINEARIZABLE}


@pytest.mark.parametrize("seed", range(30))
def test_an_answer_from_an_earlier_time_is_found(seed: int) -> None:
    history = recorded(seed, operations=300, clients=4, keys=1, ops="put get", unknown=0.02)
    reads = [place for place, read in enumerate(history) if read.op == "get" and read.result == "ok"]
    old = history[reads[len(reads) // 3]].output
    late = reads[len(reads) * 2 // 3]
    history[late] = msgspec.structs.replace(history[late], output=old)
    [verdict] = check_history(history)
    assert verdict.outcome is Outcome.NOT_LINEARIZABLE
    assert verdict.explanation is not None
    assert len(verdict.explanation.operations) <= 6, verdict.explanation.lines()


def brute_force(history: list[Operation]) -> bool:
    """Try every subset of the unanswered writes in every order that time allows."""
    required, optional = split(history)
    return any(
        _explains(order)
        for count in range(len(optional) + 1)
        for chosen in itertools.combinations(optional, count)
        for order in itertools.permutations([*required, *chosen])
    )


def _explains(order: tuple[Action, ...]) -> bool:
    state: State = None
    for place, action in enumerate(order):
        if any(later.ret < action.call for later in order[place + 1 :]):
            return False
        state, output = effect(state, action)
        if action.source.result == "ok" and output != action.output:
            return False
    return True


# Some begin with others and some are numbers, so that swaps, appends and increments lead to and fro between them.
TEXTS = ["", "1", "2", "12", "100", "a", "ab", "b", "aaaa"]
texts = st.sampled_from(TEXTS)


def arguments(draw: st.DrawFn, op: str, held: State) -> dict[str, Any]:
    """What to ask of a key that holds `held`."""
    if op == "cas":
        found = None if held is None else held.decode()
        return {"value": draw(texts), "expected": draw(st.just(found) | st.none() | texts)}
    if op == "incr":
        return {"value": draw(st.sampled_from([1, 2, -95]))}
    return {"value": draw(texts)} if op in ("put", "append") else {}


def wrong_answers(op: str) -> st.SearchStrategy[Any]:
    return {
        "put": st.none(),
        "get": st.none() | texts | st.sampled_from(["3", "1a", "aba"]),
        "cas": st.booleans(),
        "append": st.integers(0, 5),
        "incr": st.none() | st.integers(-2, 5),
        "delete": st.booleans(),
    }[op]


@st.composite
def small_histories(draw: st.DrawFn, right: bool) -> list[Operation]:
    """Up to six operations, which have taken effect one after the other; half the changes have no answer.

    Unless it is to be a `right` history, some answers are drawn rather than taken from the store.
    """
    history = []
    state: State = None
    for number in range(draw(st.integers(1, 6))):
        unanswered = draw(st.booleans())
        op = draw(st.sampled_from(["put", "cas", "append", "incr", *([] if unanswered else ["get", "delete"])]))
        moment = 10 * number
        call = moment - draw(st.sampled_from([0, 5, 15, 25]))
        back = None if unanswered else moment + draw(st.sampled_from([0, 5, 15, 25]))
        asked = operation("c", number, op, call, back, **arguments(draw, op, state))
        state, output = effect(state, to_action(asked))
        if not right and draw(st.integers(0, 3)) == 0:
            output = draw(wrong_answers(op))
        history.append(msgspec.structs.replace(asked, output=output.decode() if isinstance(output, bytes) else output))
    return sorted(history, key=lambda one: one.call)


@settings(max_examples=2000, deadline=None, derandomize=True)
@given(small_histories(right=True))
def test_accepts_what_has_an_order(history: list[Operation]) -> None:
    [verdict] = check_history(history)
    assert verdict.outcome is Outcome.LINEARIZABLE


@settings(max_examples=700, deadline=None, derandomize=True)
@given(small_histories(right=False))
def test_agrees_with_trying_every_order(history: list[Operation]) -> None:
    [verdict] = check_history(history)
    assert (verdict.outcome is Outcome.LINEARIZABLE) == brute_force(history)
    if verdict.explanation is not None:
        assert verdict.explanation.stuck in verdict.explanation.operations


def test_gives_up_when_the_steps_are_used_up() -> None:
    [verdict] = check_history(recorded(1, operations=50, clients=4, keys=1), steps_max=10)
    assert verdict.outcome is Outcome.UNDECIDED


@pytest.mark.slow
def test_judges_20_000_operations_of_16_clients_on_20_keys() -> None:
    history = recorded(7, operations=20_000, clients=16, keys=20, unknown=0.003)
    start = time.perf_counter()
    verdicts = check_history(history)
    took_s = time.perf_counter() - start
    unanswered = sum(one.result == "unknown" for one in history)
    print(f"{len(history)} operations, {unanswered} unanswered, {len(verdicts)} keys: {took_s:.2f} s")
    assert {verdict.outcome for verdict in verdicts} == {Outcome.LINEARIZABLE}
