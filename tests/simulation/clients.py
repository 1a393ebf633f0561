"""Clients of a simulated cluster: one operation at a time, retried under the same number, all of it written down."""

import random
from typing import TYPE_CHECKING, Any

import msgspec

from raft_zmq.wire.commands import (
    Append,
    CompareAndSwap,
    Delete,
    Get,
    Increment,
    OpenSession,
    Operation,
    Outcome,
    Put,
    SessionCommand,
)
from tests.simulation.service import Reply

if TYPE_CHECKING:
    from tests.simulation.world import World

ATTEMPT_S = 0.4  # before asking another server
STRAY = 0.15  # the chance that a request goes to any server, whoever leads
OPERATION_S = 3.0  # before calling the outcome unknown

_encode = msgspec.msgpack.Encoder().encode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode

Record = dict[str, Any]  # one line of a history, as `python -m client workload` writes it


class Client:
    """One client with a session of its own (thesis 6.3)."""

    def __init__(self, world: "World", client_id: str) -> None:
        self.world = world
        self.client_id = client_id
        self.rng = random.Random(f"{world.seed}/{client_id}")
        self.history: list[Record] = []
        self.idle = True  # nothing under way; it stays so once the world has stopped its clients
        self._session_id = 0
        self._number = 0
        self._acknowledged = 0
        self._unanswered: set[int] = set()
        self._target = ""
        self._attempt = 0  # the newest one; answers to others come too late
        self._record: Record | None = None  # None while a session is being opened
        self._payload = b""
        self._is_read = False
        self._may_have_happened = False
        self._deadline_s = 0.0
        self._known: dict[str, str | None] = {}  # what keys held, for compares that have a chance

    def start(self) -> None:
        """Think, then do the next operation."""
        self.world.at(self.rng.expovariate(1 / self.world.options.think_s), self._next)

    # -- what to ask for -----------------------------------------------------------------------------------------------

    def _next(self) -> None:
        if self.world.clients_stopped:
            return
        self.idle = False
        if self._session_id:
            self._begin(*self._draw())
        else:
            self._record = None
            self._submit(_encode(OpenSession(f"{self.client_id}/{self.world.now_s}".encode())), is_read=False)

    def _draw(self) -> tuple[str, str, str | None, str | None]:
        """(op, key, value, expected) of the next operation."""
        rng = self.rng
        op = rng.choice(["get", "get", "put", "append", "cas", "cas", "incr", "delete"])
        if op == "incr":
            return op, "c0", "1", None
        key = f"k{rng.randrange(self.world.options.keys)}"
        value = f"{self.client_id}.{self._number + 1}"
        if op in ("get", "delete"):
            return op, rng.choice([key, key, "c0"]) if op == "get" else key, None, None
        if op == "cas":
            return op, key, value, self._known.get(key)
        return op, key, value + ";" * (op == "append"), None

    def read(self, key: str, target: str) -> None:
        """Ask that server for one key, whether clients are stopped or not."""
        self.idle = False
        self._target = target
        self._begin("get", key, None, None)

    def _begin(self, op: str, key: str, value: str | None, expected: str | None) -> None:
        self._number += 1
        self._record = {
            "client": self.client_id,
            "id": self._number,
            "op": op,
            "key": key,
            "value": value,
            "expected": expected,
            "call": self.world.now_ns(),
            "return": None,
            "result": "unknown",
            "output": None,
        }
        self.history.append(self._record)
        if op == "get":
            self._submit(_encode(Get(key.encode())), is_read=True)
            return
        self._unanswered.add(self._number)
        self._acknowledged = max(self._acknowledged, min(self._unanswered) - 1)
        operation = _encode(_operation(op, key.encode(), (value or "").encode(), expected))
        command = SessionCommand(self._session_id, self._number, self._acknowledged, operation)
        self._submit(_encode(command), is_read=False)

    # -- asking and being answered -------------------------------------------------------------------------------------

    def _submit(self, payload: bytes, is_read: bool) -> None:
        self._payload, self._is_read = payload, is_read
        self._may_have_happened = False
        self._deadline_s = self.world.now_s + OPERATION_S
        self._ask()

    def _ask(self) -> None:
        self._attempt += 1
        stray = (
            self.rng.random() < STRAY and not self.world.clients_stopped
        )  # sometimes someone finds a leader that is none any more
        target = self.rng.choice(self.world.node_ids) if stray or not self._target else self._target
        self.world.client_asks(target, self._payload, self._is_read, self._answerer(self._attempt))
        self.world.at(ATTEMPT_S, self._give_up_waiting, self._attempt)

    def _answerer(self, attempt: int) -> Any:
        return lambda reply: self.world.answer_client(self._answered, attempt, reply)

    def _give_up_waiting(self, attempt: int) -> None:
        if attempt == self._attempt:
            self._may_have_happened = True
            self._target = ""
            self._retry()

    def _retry(self) -> None:
        if self.world.now_s >= self._deadline_s:
            self._finish("unknown" if self._may_have_happened else "fail", None)
        else:
            self._ask()

    def _answered(self, attempt: int, reply: Reply) -> None:
        if attempt != self._attempt:
            if reply.kind != "refused":
                self._may_have_happened = True
            return
        self._attempt += 1  # later answers to this attempt, and its timeout, mean nothing
        if reply.kind == "done":
            self._done(_decode_outcome(reply.output))
        elif reply.kind == "expired":
            self._session_id = 0
            self._finish("unknown" if self._may_have_happened else "fail", None)
        else:
            self._may_have_happened |= reply.kind == "unknown"
            self._target = reply.leader_id
            self.world.at(self.rng.uniform(0.01, 0.1), self._retry)

    def _done(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            raise AssertionError(f"{self.client_id} got the error {outcome.error!r} for {self._record}")
        if self._record is None:
            assert isinstance(outcome.output, int)
            self._session_id, self._number, self._acknowledged = outcome.output, self._number, self._number
            self._unanswered.clear()
            self._rest()
            return
        output = outcome.output.decode() if isinstance(outcome.output, bytes) else outcome.output
        if self._record["op"] == "get":
            self._known[self._record["key"]] = output if isinstance(output, str) else None
        self._finish("ok", output)

    def _finish(self, result: str, output: object) -> None:
        if self._record is not None:
            self._record["result"], self._record["output"] = result, output
            self._record["return"] = self.world.now_ns() if result != "unknown" else None
            if result != "unknown":
                self._unanswered.discard(self._record["id"])
                self._acknowledged = max(self._acknowledged, min(self._unanswered, default=self._number + 1) - 1)
            self.world.note(
                self.client_id, result, *(self._record[name] for name in ("id", "op", "key", "value")), output
            )
        self._rest()

    def _rest(self) -> None:
        self._attempt += 1
        self.idle = True
        if not self.world.clients_stopped:
            self.start()


def _operation(op: str, key: bytes, value: bytes, expected: str | None) -> Operation:
    if op == "put":
        return Put(key, value)
    if op == "append":
        return Append(key, value)
    if op == "cas":
        return CompareAndSwap(key, None if expected is None else expected.encode(), value)
    if op == "incr":
        return Increment(key, int(value))
    assert op == "delete"
    return Delete(key)
