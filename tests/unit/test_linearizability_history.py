"""Reading histories: what is taken, and the one clear line for what is not."""

import json
from typing import Any

import pytest

from client.linearizability import HistoryError, read_history

GOOD: dict[str, Any] = {
    "client": "c1",
    "id": 1,
    "op": "put",
    "key": "k",
    "value": "v",
    "expected": None,
    "call": 10,
    "return": 20,
    "result": "ok",
    "output": None,
}


def read(*lines: dict[str, Any] | str) -> list[Any]:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return read_history((f"history.jsonl:{number}", text) for number, text in enumerate(texts, start=1))


def test_operations_come_sorted_by_call() -> None:
    history = read({**GOOD, "id": 2, "call": 15}, GOOD, {**GOOD, "id": 3, "return": None, "result": "unknown"})
    assert [operation.id for operation in history] == [1, 3, 2]
    assert history[0].name == "c1#1"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "one JSON object"),
        ('{"client": "c1"}', "one JSON object"),
        ({**GOOD, "op": "swap"}, "swap"),
        ({**GOOD, "call": "ten"}, "$.call"),
        ({**GOOD, "return": 9}, "return at or after call 10, found 9"),
        ({**GOOD, "return": None}, "return null"),
        ({**GOOD, "value": None}, "a value that is a string, found None"),
        ({**GOOD, "op": "cas", "output": None}, "(bool), found None"),
        ({key: value for key, value in {**GOOD, "op": "cas"}.items() if key != "expected"}, "`expected`"),
        ({key: value for key, value in {**GOOD, "op": "get"}.items() if key != "output"}, "found none"),
        ({**GOOD, "op": "incr", "value": "x"}, "an integer of 64 bits, found 'x'"),
        ({**GOOD, "op": "append", "output": True}, "(int), found True"),
    ],
)
def test_bad_line_is_named_with_its_place(line: dict[str, Any] | str, named: str) -> None:
    with pytest.raises(HistoryError) as raised:
        read({**GOOD, "id": 0}, line)
    assert str(raised.value).startswith("history.jsonl:2: ")
    assert named in str(raised.value)
    assert raised.value.exit_code == 1


def test_an_operation_recorded_twice_is_named_with_both_places() -> None:
    with pytest.raises(HistoryError, match=r"history\.jsonl:2: .*c1#1 here and at history\.jsonl:1"):
        read(GOOD, GOOD)
