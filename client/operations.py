"""Between what a history says (text) and what goes over the wire (bytes)."""

from client.history import Asked
from raft_zmq.wire.commands import (
    Append,
    CompareAndSwap,
    Delete,
    Get,
    Increment,
    Operation,
    Outcome,
    Put,
)

HistoryOutput = str | int | bool | None


def to_wire(asked: Asked) -> Operation | Get:
    """The operation or query to send."""
    key = asked.key.encode()
    if asked.op == "get":
        return Get(key)
    if asked.op == "delete":
        return Delete(key)
    if asked.op == "incr":
        assert isinstance(asked.value, int)
        return Increment(key, asked.value)
    assert isinstance(asked.value, str)
    value = asked.value.encode()
    if asked.op == "put":
        return Put(key, value)
    if asked.op == "append":
        return Append(key, value)
    return CompareAndSwap(key, None if asked.expected is None else asked.expected.encode(), value)


def to_history(outcome: Outcome) -> HistoryOutput:
    """The `output` of an answer; an operation that the state machine could not do has none."""
    output = outcome.output
    if isinstance(output, bytes):
        return output.decode("utf-8", "backslashreplace")
    assert not isinstance(output, list), "no operation of a history answers with pairs"
    return output
