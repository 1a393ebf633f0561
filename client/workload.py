"""Concurrent random operations on a few keys, recorded so that the history can be judged."""

import random
import time
from collections import Counter
from collections.abc import Iterator

import msgspec

from client.history import Asked, HistoryWriter, Record, Result, now_ns
from client.loop import ClosedLoop, decode_outcome
from client.operations import HistoryOutput, to_history, to_wire
from raft_zmq.client.calls import Call
from raft_zmq.client.engine import Engine
from raft_zmq.client.errors import NotDoneError, RefusedError
from raft_zmq.core.errors import RaftLabError
from raft_zmq.wire.commands import Get

# Weights of the operations on a key that holds text, and on one that holds a number.
TEXT_WEIGHTS = {"get": 40, "put": 20, "cas": 20, "append": 12, "delete": 8}
NUMBER_WEIGHTS = {"get": 40, "incr": 60}
NUMBER_KEYS_SHARE = 5  # one key in so many holds a number

_encode = msgspec.msgpack.Encoder().encode


class Keys:
    """The keys of one run, whose names no other run uses, and the values last seen in them."""

    def __init__(self, count: int, tag: str) -> None:
        numbers = 0 if count < 2 else max(1, count // NUMBER_KEYS_SHARE)
        self.texts = [f"{tag}/t{number}" for number in range(count - numbers)]
        self.numbers = [f"{tag}/n{number}" for number in range(numbers)]
        self.seen: dict[str, str | None] = {}

    def all(self) -> list[str]:
        """Every key."""
        return [*self.texts, *self.numbers]

    def draw(self, rng: random.Random, value: str) -> Asked:
        """A random operation; `value` is what it writes, if it writes text."""
        key = rng.choice(self.all())
        if key in self.numbers:
            (op,) = rng.choices(list(NUMBER_WEIGHTS), list(NUMBER_WEIGHTS.values()))
            return Asked("incr", key, rng.randint(-9, 99)) if op == "incr" else Asked("get", key)
        (op,) = rng.choices(list(TEXT_WEIGHTS), list(TEXT_WEIGHTS.values()))
        if op == "get":
            return Asked("get", key)
        if op == "delete":
            return Asked("delete", key)
        if op == "cas":
            return Asked("cas", key, value, self.seen.get(key))
        return Asked("put" if op == "put" else "append", key, value)

    def saw(self, asked: Asked, output: HistoryOutput) -> None:
        """Remember what the key holds now, as far as this answer tells: the next cas expects it."""
        if asked.op == "get":
            self.seen[asked.key] = output if isinstance(output, str) else None
        elif asked.op == "delete":
            self.seen[asked.key] = None
        elif asked.op == "put" or (asked.op == "cas" and output is True):
            self.seen[asked.key] = str(asked.value)
        elif asked.op == "append":
            whole = f"{self.seen.get(asked.key) or ''}{asked.value}"
            if len(whole) == output:
                self.seen[asked.key] = whole


class Recorder:
    """Writes histories and counts: `counts[op, result]`."""

    def __init__(self, history: HistoryWriter) -> None:
        self.counts: Counter[tuple[str, Result]] = Counter()
        self._history = history

    def record(
        self, client: str, number: int, asked: Asked, called_ns: int, result: Result, output: HistoryOutput = None
    ) -> None:
        """One operation that has just ended."""
        returned_ns = None if result == "unknown" else now_ns()
        self.counts[asked.op, result] += 1
        self._history.write(
            Record(
                client=client,
                id=number,
                op=asked.op,
                key=asked.key,
                value=asked.value,
                expected=asked.expected,
                call=called_ns,
                return_=returned_ns,
                result=result,
                output=output,
            )
        )


def result_of(asked: Asked, error: RaftLabError) -> Result:
    """What a history says of an operation that ended with this error.

    "fail" is for a write that can never have entered a log. A session that had ended is found out by applying an entry,
    so that refusal is no such proof.
    """
    declined = isinstance(error, RefusedError) and error.kind != "session_expired"
    return "fail" if asked.op != "get" and (declined or isinstance(error, NotDoneError)) else "unknown"


class RandomClient(ClosedLoop):
    """One client of a workload: asks the operations it is given, until there are no more or it is stopped."""

    def __init__(
        self,
        engine: Engine,
        timeout_s: float,
        lane: int,
        name: str,
        recorder: Recorder,
        keys: Keys,
        operations: Iterator[Asked],
        *,
        writes: bool = True,
    ) -> None:
        super().__init__(engine, timeout_s, lane, writes=writes)
        self.name = name
        self._recorder = recorder
        self._keys = keys
        self._operations = operations
        self._number = 0
        self._under_way: tuple[Asked, int, int] | None = None  # what was asked, its number, and when

    def go(self) -> None:
        """Ask the next operation."""
        asked = next(self._operations, None)
        if asked is None:
            self.ended = True
            return
        self._number += 1
        called_ns, number = now_ns(), self._number
        self._under_way = asked, number, called_ns
        wire = to_wire(asked)

        def ended(call: Call) -> None:
            self._ended(asked, number, called_ns, call)

        if isinstance(wire, Get):
            self.engine.read(_encode(wire), self.timeout_s, ended, self.lane)
        else:
            assert self.session is not None, "next() has opened one"
            self.engine.write(self.session.next_command(wire), self.timeout_s, ended, self.lane)

    def give_up(self) -> None:
        """Record what is under way as of unknown outcome: it may have happened, and others may have seen it."""
        if self._under_way is not None:
            asked, number, called_ns = self._under_way
            self._recorder.record(self.name, number, asked, called_ns, "unknown")
            self._under_way = None

    def _ended(self, asked: Asked, number: int, called_ns: int, call: Call) -> None:
        self._under_way = None
        if call.error is not None:
            self.note(call.error)
            self._recorder.record(self.name, number, asked, called_ns, result_of(asked, call.error))
        else:
            output = to_history(decode_outcome(call.body))
            self._recorder.record(self.name, number, asked, called_ns, "ok", output)
            self._keys.saw(asked, output)
        self.next()


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """How much of it: `tag` is in the names of clients and keys and in the values, and no other run may have it."""

    tag: str
    clients: int
    keys: int
    seconds: float
    seed: str
    timeout_s: float
    lanes: int = 1


def run(engine: Engine, workload: Workload, history: HistoryWriter) -> Counter[tuple[str, Result]]:
    """Run it and return the counts by operation and result; raises the error of a client that cannot go on."""
    recorder = Recorder(history)
    keys = Keys(workload.keys, workload.tag)
    clients = [
        RandomClient(
            engine,
            workload.timeout_s,
            number % workload.lanes,
            f"{workload.tag}-{number}",
            recorder,
            keys,
            _drawn(keys, f"{workload.tag}-{number}", random.Random(f"{workload.seed}/{number}")),
        )
        for number in range(workload.clients)
    ]
    _run_until(engine, clients, time.monotonic() + workload.seconds)
    # Every key gets a read behind everything else: what the writes have left is part of the history.
    gets = iter([Asked("get", key) for key in keys.all()])
    reader = RandomClient(engine, workload.timeout_s, 0, f"{workload.tag}-reader", recorder, keys, gets, writes=False)
    _run_until(engine, [reader], None)
    return recorder.counts


def _drawn(keys: Keys, name: str, rng: random.Random) -> Iterator[Asked]:
    number = 0
    while True:
        number += 1
        yield keys.draw(rng, f"{name}.{number}")


def _run_until(engine: Engine, clients: list[RandomClient], moment: float | None) -> None:
    """Let them work until that moment (None: until they have nothing more to ask), then wait for their last answers."""
    try:
        for client in clients:
            client.next()
        while not all(client.ended for client in clients):
            left_s = None if moment is None else moment - time.monotonic()
            if left_s is not None and left_s <= 0:
                for client in clients:
                    client.stopping = True
                moment = None
                continue
            engine.turn(left_s)
    finally:  # an error of one client, or Ctrl-C, ends all of them
        for client in clients:
            client.give_up()
    for client in clients:
        if client.trouble is not None:
            raise client.trouble
