"""Closed-loop load: N clients, each with one request under way, over a few connections, in one thread.

Latencies are taken from the submission of a request to the arrival of its answer, so they include every wait in this
client, retries and changes of leader among them. Counting is per microsecond, exactly; the HDR histogram, which costs
more per value than a request does, is filled from the counts afterwards.
"""

import os
import random
import time

import msgspec
from hdrh.histogram import HdrHistogram

from client.loop import ClosedLoop
from raft_zmq.client.calls import Call
from raft_zmq.client.engine import Engine
from raft_zmq.core.errors import OutcomeUnknownError
from raft_zmq.wire.commands import Get, Put

LATENCY_US_MAX = 600_000_000
SIGNIFICANT_DIGITS = 3

_encode = msgspec.msgpack.Encoder().encode


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
    """What was measured, in the shape that is printed."""

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


class Tally:
    """What has ended since the last `reset`; `latencies` counts by whole microseconds."""

    __slots__ = ("errors", "latencies", "ops", "unknown")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start counting anew."""
        self.ops = self.errors = self.unknown = 0
        self.latencies: dict[int, int] = {}


class BenchClient(ClosedLoop):
    """Writes or reads one key of its own, again and again."""

    def __init__(self, engine: Engine, load: Load, number: int, tally: Tally) -> None:
        super().__init__(engine, load.timeout_s, number % load.lanes)
        key = f"bench/{number}".encode()
        self._put = Put(key, os.urandom(load.size))
        self._get = _encode(Get(key))
        self._tally = tally
        self._read_share = {"write": 0.0, "read": 1.0, "mixed": 0.5}[load.op]
        self._rng = random.Random(number)
        self._written = False
        self._started = 0.0

    def go(self) -> None:
        """Submit the next request. The first one writes, so that reads find a value of the right size."""
        share = self._read_share
        self._started = time.perf_counter()
        if self._written and (share == 1.0 or (share and self._rng.random() < share)):
            self.engine.read(self._get, self.timeout_s, self._ended, self.lane)
        else:
            assert self.session is not None, "next() has opened one"
            self.engine.write(self.session.next_command(self._put), self.timeout_s, self._ended, self.lane)

    def _ended(self, call: Call) -> None:
        tally = self._tally
        if call.error is None:
            microseconds = int((time.perf_counter() - self._started) * 1e6)
            tally.ops += 1
            tally.latencies[microseconds] = tally.latencies.get(microseconds, 0) + 1
            self._written = True
        elif isinstance(call.error, OutcomeUnknownError):
            tally.unknown += 1
            self.note(call.error)
        else:
            tally.errors += 1
            self.note(call.error)
        self.next()


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
    elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    return _figures(load, tally, elapsed_s), cpu_s


def _turn_until(engine: Engine, clients: list[BenchClient], moment: float) -> None:
    while (left_s := moment - time.perf_counter()) > 0:
        engine.turn(left_s)
    for client in clients:
        if client.trouble is not None:
            raise client.trouble


def _figures(load: Load, tally: Tally, elapsed_s: float) -> Figures:
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
        errors=tally.errors,
        unknown=tally.unknown,
    )
