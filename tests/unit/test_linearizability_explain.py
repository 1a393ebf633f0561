"""The explanation of a failure: few operations, the value before them, and who wrote what."""

from client.linearizability import Explanation, Operation, check_history
from tests.unit.histories import operation, recorded


def explain(history: list[Operation]) -> Explanation:
    [explanation] = [verdict.explanation for verdict in check_history(history) if verdict.explanation]
    return explanation


def with_stale_read(before: int) -> list[Operation]:
    """`before` puts one after the other, then a read that shows the last but one."""
    puts = [operation("a", number, "put", 10 * number, 10 * number + 5, value=f"v{number}") for number in range(before)]
    stale = operation("b", 1, "get", 10 * before, 10 * before + 5, output=f"v{before - 2}")
    return [*puts, stale]


def test_a_stale_read_is_told_with_the_agreed_value_and_both_writers() -> None:
    explanation = explain(with_stale_read(100))
    assert explanation.before == "v99"
    assert [one.name for one in explanation.operations] == ["b#1"]
    assert [one.name for one in explanation.writers] == ["a#98", "a#99"]
    assert explanation.others == 98
    text = "\n".join(explanation.lines())
    assert "key k held 'v99'" in text
    assert "b#1 get k: 'v98'" in text


def test_operations_after_the_failure_are_not_listed() -> None:
    history = [*with_stale_read(5), operation("b", 2, "get", 100, 110, output="v4")]
    assert explain(history).stuck.name == "b#1"


def test_of_two_swaps_of_one_value_both_are_listed() -> None:
    explanation = explain(
        [
            operation("a", 1, "put", 0, 1, value="x"),
            operation("b", 1, "cas", 2, 10, expected="x", value="y", output=True),
            operation("c", 1, "cas", 2, 12, expected="x", value="z", output=True),
            operation("d", 1, "get", 20, 21, output="y"),
        ]
    )
    assert explanation.before == "x"
    assert [one.name for one in explanation.operations] == ["b#1", "c#1"]


def test_a_long_mixed_history_is_cut_down_to_the_fault() -> None:
    history = recorded(3, operations=600, clients=6, keys=1, unknown=0.01)
    end = max(one.return_ or one.call for one in history)
    history.append(operation("z", 1, "get", end + 1, end + 2, key="k0", output="never written"))
    explanation = explain(history)
    assert [one.name for one in explanation.operations] == ["z#1"]
    assert explanation.others >= 590


def test_a_write_that_can_be_explained_is_not_blamed() -> None:
    explanation = explain(
        [
            operation("a", 1, "put", 0, 1, value="start"),
            operation("a", 2, "get", 2, 3, output="start"),
            operation("b", 1, "put", 4, 50, value="aaaaaaaa"),
            operation("c", 1, "cas", 5, 50, expected="aaaaaaaa", value="b", output=True),
            operation("d", 1, "get", 6, 50, output="zzz"),
            operation("e", 1, "append", 7, 50, value="c", output=2),
        ]
    )
    assert [one.name for one in explanation.operations] == ["d#1"]
