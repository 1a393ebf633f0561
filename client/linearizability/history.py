"""The recorded operations of a run: one JSON object a line, checked as they are read."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from raft_zmq.core.errors import RaftLabError

Name = Literal["put", "get", "delete", "cas", "append", "incr"]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class HistoryError(RaftLabError):
    """A history that cannot be judged: a line that is no operation, or that contradicts itself or another line."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One call of one client: what it asked, when, and what it was told.

    `call` and `return_` are nanoseconds of one monotonic clock; `return_` is None where no answer came. `result` "fail"
    is "certainly not applied", "unknown" is "applied at any one time since the call, or never".
    """

    client: str | int
    id: str | int
    op: Name
    key: str
    value: str | int | None = None
    expected: str | UnsetType | None = UNSET
    call: Int64
    return_: Int64 | None = msgspec.field(name="return")
    result: Literal["ok", "fail", "unknown"]
    output: str | int | bool | UnsetType | None = UNSET

    @property
    def name(self) -> str:
        """What a person calls it: client and number."""
        return f"{self.client}#{self.id}"

    @property
    def is_write(self) -> bool:
        """Whether it may change its key."""
        return self.op != "get"

    def __str__(self) -> str:
        argument = {
            "get": "",
            "delete": "",
            "cas": f" {self.expected!r} to {self.value!r}",
        }.get(self.op, f" {self.value!r}")
        answer = "no answer" if self.result == "unknown" else "ok" if self.op == "put" else repr(self.output)
        return f"{self.name} {self.op} {self.key}{argument}: {answer}"


OUTPUTS: dict[Name, tuple[type, ...]] = {
    "get": (str, type(None)),
    "delete": (bool,),
    "cas": (bool,),
    "append": (int,),
    "incr": (int, type(None)),  # null: the key held no integer, or the sum left the range, so nothing changed
}

_decoder = msgspec.json.Decoder(Operation)


def read_history(lines: Iterable[tuple[str, str]]) -> list[Operation]:
    """The operations in `lines`, which are pairs of place ("history.jsonl:7") and text, sorted by call.

    Raises HistoryError naming the place: a line that is no operation, an answer before its question, an operation that
    is there twice.
    """
    operations: list[Operation] = []
    places: dict[tuple[str, str], str] = {}
    for place, operation in _decoded(lines):
        identity = (str(operation.client), str(operation.id))
        if identity in places:
            raise HistoryError(
                f"{place}: expected each (client, id) once over all history files, found {operation.name} here and at "
                f"{places[identity]}. Give every client of the run its own name; a retry stays on its first line."
            )
        places[identity] = place
        operations.append(operation)
    return sorted(operations, key=lambda operation: operation.call)


def _decoded(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Operation]]:
    for place, text in lines:
        try:
            operation = _decoder.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise HistoryError(
                f"{place}: expected an operation as one JSON object, found {text[:80]!r} ({error}). "
                "Take the file from the workload as it was written."
            ) from None
        trouble = _contradiction(operation)
        if trouble:
            raise HistoryError(f"{place}: {operation.name} ({operation.op}): {trouble}. The recording is unsound.")
        yield place, operation


def _contradiction(operation: Operation) -> str:
    """What is wrong with the fields of an operation taken together; "" if nothing is."""
    if operation.return_ is not None and operation.return_ < operation.call:
        return f"expected return at or after call {operation.call}, found {operation.return_}"
    if operation.result == "ok" and operation.return_ is None:
        return "expected the time of the answer of an ok operation, found return null"
    return _wrong_argument(operation) or _wrong_output(operation)


def _wrong_argument(operation: Operation) -> str:
    if operation.op in ("put", "append", "cas") and not isinstance(operation.value, str):
        return f"expected a value that is a string, found {operation.value!r}"
    if operation.op == "cas" and operation.expected is UNSET:
        return "expected the field `expected` (null for an absent key), found none"
    if operation.op == "incr":
        try:
            msgspec.convert(operation.value, Int64, strict=False)
        except msgspec.ValidationError:
            return f"expected a value that is an integer of 64 bits, found {str(operation.value)[:80]!r}"
    return ""


def _wrong_output(operation: Operation) -> str:
    allowed = OUTPUTS.get(operation.op)
    if operation.result != "ok" or allowed is None:
        return ""
    # bool is an int to isinstance, but "true" is no length and no number
    if type(operation.output) not in allowed:
        found = "none" if operation.output is UNSET else repr(operation.output)
        wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
        return f"expected the output of an ok {operation.op} ({wanted}), found {found}"
    return ""
