"""Closed-loop load: N clients, each with one request under way, over a few connections, in one thread.

Latencies are taken from the submission of a request to the arrival of its answer, so they include every wait in this
client, retries and changes of leader among them. Counting is per microsecond, exactly; the HDR histogram, which costs
more per value than a request does, is filled from the counts afterwards.

Only what did what it was asked for has a latency. A closed loop asks nothing new while it waits, so a cluster that
stands still shows in few latencies or none: therefore the age of the oldest request under way at the end is told, and
errors are told by their kind.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Sequence

import msgspec
from hdrh.histogram import HdrHistogram

from client.loop import ClosedLoop, decode_outcome
from raft_zmq.client.calls import Call
from raft_zmq.client.engine import Engine
from raft_zmq.client.errors import NotDoneError, RefusedError
from raft_zmq.core.errors import OutcomeUnknownError, RaftLabError
from raft_zmq.wire.commands import Get, Outcome, Put

LATENCY_US_MAX = 600_000_000
SIGNIFICANT_DIGITS = 3

# What an error is counted as when it is no refusal, which has a kind of its own.
NO_ANSWER, OPERATION_FAILED, NOTHING_READ, OTHER = "no_answer", "operation_failed", "nothing_read", "other"

_encode = msgspec.msgpack.Encoder().encode
_DONE = _encode(Outcome())


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure; `op` is write, read or mixed (one half each)."""

    op: str
    clients: int
    size: int
    seconds: float
    warmup_s: float
    timeout_s: float
    lanes: int


class Figures(msgspec.Struct, frozen=True):
    """What was measured, in the shape that is printed.

    `errors` are those that certainly did not do what they were asked for, openings of sessions among them. Each client
    still waited for an answer when the measurement ended, the longest for `under_way_max_ms`.
    """

    op: str
    clients: int
    size: int
    seconds: float
    ops: int
    ops_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    errors: int
    unknown: int
    errors_by_kind: dict[str, int]
    under_way_max_ms: float

    @property
    def answered(self) -> bool:
        """Whether the cluster certainly said anything, be it that it would not."""
        return self.ops > 0 or any(kind not in (NO_ANSWER, OTHER) for kind in self.errors_by_kind)


class Tally:
    """What has ended since the last `reset`; `latencies` counts by whole microseconds, `errors` by their kind."""

    __slots__ = ("errors", "latencies", "ops", "unknown")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start counting anew."""
        self.ops = self.unknown = 0
        self.latencies: dict[int, int] = {}
        self.errors: Counter[str] = Counter()

    def note(self, error: RaftLabError) -> None:
        """Count a request that ended without its answer."""
        if isinstance(error, OutcomeUnknownError):
            self.unknown += 1
        elif isinstance(error, RefusedError):
            self.errors[error.kind] += 1
        else:
            self.errors[NO_ANSWER if isinstance(error, NotDoneError) else OTHER] += 1


class BenchClient(ClosedLoop):
    """Writes or reads one key of its own, again and again."""

    def __init__(self, engine: Engine, load: Load, number: int, tally: Tally) -> None:
        super().__init__(engine, load.timeout_s, number % load.lanes)
        key = f"bench/{number}".encode()
        value = os.urandom(load.size)
        self._put = Put(key, value)
        self._get = _encode(Get(key))
        self._value = _encode(Outcome(value))
        self._expected = _DONE
        self._tally = tally
        self._read_share = {"write": 0.0, "read": 1.0, "mixed": 0.5}[load.op]
        self._rng = random.Random(number)
        self._written = False
        self.begun_s = time.perf_counter()  # what is under way

    def go(self) -> None:
        """Submit the next request. The first one writes, so that reads find a value of the right size."""
        share = self._read_share
        self.begun_s = time.perf_counter()
        if self._written and (share == 1.0 or (share and self._rng.random() < share)):
            self._expected = self._value
            self.engine.read(self._get, self.timeout_s, self._ended, self.lane)
        else:
            assert self.session is not None, "next() has opened one"
            self._expected = _DONE
            self.engine.write(self.session.next_command(self._put), self.timeout_s, self._ended, self.lane)

    def note(self, error: RaftLabError) -> None:
        """Count it as well, be it of a request or of the opening of a session; whatever comes next begins now."""
        self._tally.note(error)
        self.begun_s = time.perf_counter()
        super().note(error)

    def _ended(self, call: Call) -> None:
        tally = self._tally
        if call.error is not None:
            self.note(call.error)
        # To compare costs less than to decode, which only what is not as expected needs.
        elif call.body != self._expected and (failure := self._failure(call.body)):
            tally.errors[failure] += 1
        else:
            microseconds = int((time.perf_counter() - self.begun_s) * 1e6)
            tally.ops += 1
            tally.latencies[microseconds] = tally.latencies.get(microseconds, 0) + 1
            self._written = True
        self.next()

    def _failure(self, body: bytes) -> str:
        """What is wrong with an answer, if anything is: another program may have written another value."""
        outcome = decode_outcome(body)
        if outcome.error is not None:
            return OPERATION_FAILED
        return NOTHING_READ if self._expected is self._value and outcome.output is None else ""


def run(engine: Engine, load: Load) -> tuple[Figures, float]:
    """Warm up, measure, and return the figures and the CPU seconds that this client spent while measuring."""
    tally = Tally()
    clients = [BenchClient(engine, load, number, tally) for number in range(load.clients)]
    for client in clients:
        client.next()
    _turn_until(engine, clients, time.perf_counter() + load.warmup_s)
    tally.reset()
    started, cpu_started = time.perf_counter(), time.process_time()
    _turn_until(engine, clients, started + load.seconds)
    ended, cpu_s = time.perf_counter(), time.process_time() - cpu_started
    return _figures(load, tally, ended - started, [ended - client.begun_s for client in clients]), cpu_s


def _turn_until(engine: Engine, clients: list[BenchClient], moment: float) -> None:
    while (left_s := moment - time.perf_counter()) > 0:
        engine.turn(left_s)
    for client in clients:
        if client.trouble is not None:
            raise client.trouble


def _figures(load: Load, tally: Tally, elapsed_s: float, under_way_s: Sequence[float]) -> Figures:
    histogram = HdrHistogram(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS)
    for microseconds, count in tally.latencies.items():
        histogram.record_value(min(max(microseconds, 1), LATENCY_US_MAX), count)

    highest = max(tally.latencies, default=0)

    def percentile_ms(percentile: float) -> float:
        # The histogram answers with the upper end of a bucket, which may lie above everything that was measured.
        return min(float(histogram.get_value_at_percentile(percentile)), highest) / 1000

    return Figures(
        op=load.op,
        clients=load.clients,
        size=load.size,
        seconds=round(elapsed_s, 3),
        ops=tally.ops,
        ops_per_s=round(tally.ops / elapsed_s, 1),
        p50_ms=percentile_ms(50),
        p90_ms=percentile_ms(90),
        p99_ms=percentile_ms(99),
        p999_ms=percentile_ms(99.9),
        max_ms=highest / 1000,
        errors=tally.errors.total(),
        unknown=tally.unknown,
        errors_by_kind=dict(tally.errors),
        under_way_max_ms=round(max(under_way_s, default=0.0) * 1000, 3),
    )
