"""A snapshot while the loop goes on.

The leader writes a snapshot of 200 MB of state and cuts its log; all the while, and for a second more, two probes ask
it, one after the other without a pause: one for its status, which the loop answers at once, and one for a write. The
longest answer to the first is the longest stop of the loop as it can be seen from outside; the same time without a
snapshot is the measure of what else holds it up.
"""

import time
from collections.abc import Callable, Iterator

from raft_zmq.client.calls import Call, State
from raft_zmq.client.engine import Engine
from raft_zmq.wire.client_messages import Status, TakeSnapshot
from raft_zmq.wire.commands import Operation, Put
from tests.performance.cluster import Cluster
from tests.performance.figures import Figure, Measured
from tests.performance.filled import LOG_BYTES, fill
from tests.performance.load import Writes, percentile, raise_trouble, turn_until
from tests.performance.plan import Plan

STOP_MS = 50
PATIENCE_S = 120.0
AFTERWARDS_S = 1.0  # the log is cut after a snapshot, in the turn that answers


def measure(plan: Plan) -> Measured:
    state_bytes, rounds = plan.choose(200_000_000, 40_000_000), plan.choose(3, 1)
    seen: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    with plan.cluster(snapshot_log_bytes=LOG_BYTES) as cluster:
        fill(cluster, state_bytes)
        for _ in range(rounds):
            with_one = _probe_during_snapshot(cluster)
            seen["with"].append(with_one)
            seen["without"].append(_probe_for(cluster, with_one["seconds"]))
    worst = max(found["status_max_ms"] for found in seen["with"])
    quiet = max(found["status_max_ms"] for found in seen["without"])
    took_s = max(found["seconds"] for found in seen["with"])
    size = f"{state_bytes / 1e6:,.0f} MB"
    figures = [
        Figure(
            what=f"longest stop of the loop while {size} are written",
            value=worst,
            unit="ms",
            at_most=STOP_MS,
            note=f"without a snapshot {quiet:.1f} ms; {rounds} snapshots, the slowest in {took_s:.1f} s",
        ),
        Figure(
            what="longest write meanwhile",
            value=max(found["write_max_ms"] for found in seen["with"]),
            unit="ms",
            note=f"without a snapshot {max(found['write_max_ms'] for found in seen['without']):.1f} ms",
        ),
    ]
    return Measured(figures=figures, raw={"state_bytes": state_bytes, **seen})


class StatusProbe:
    """Asks one node for its status, again and again."""

    def __init__(self, engine: Engine, address: str) -> None:
        self._engine = engine
        self._address = address
        self._begun_s = 0.0
        self.latencies_s: list[float] = []

    def next(self) -> None:
        self._begun_s = time.perf_counter()
        self._engine.ask(Status, PATIENCE_S, self._answered, address=self._address)

    def _answered(self, call: Call) -> None:
        if call.error is not None:
            raise call.error
        self.latencies_s.append(time.perf_counter() - self._begun_s)
        self.next()


def _probe_during_snapshot(cluster: Cluster) -> dict[str, float]:
    address = cluster.address(cluster.leader())

    def begin(engine: Engine) -> Callable[[], bool]:
        taken = engine.ask(TakeSnapshot, PATIENCE_S, _raise_error, address=address, retry=False)
        return lambda: taken.state is State.ENDED

    return _probe(cluster, address, begin)


def _probe_for(cluster: Cluster, seconds: float) -> dict[str, float]:
    def begin(_engine: Engine) -> Callable[[], bool]:
        ends_s = time.monotonic() + seconds
        return lambda: time.monotonic() > ends_s

    return _probe(cluster, cluster.address(cluster.leader()), begin)


def _probe(cluster: Cluster, address: str, begin: Callable[[Engine], Callable[[], bool]]) -> dict[str, float]:
    engine = cluster.engine()
    try:
        write, status = Writes(engine, _forever()), StatusProbe(engine, address)
        write.next()
        status.next()
        turn_until(engine, lambda: len(write.latencies_s) > 100)
        write.latencies_s.clear()
        status.latencies_s.clear()
        begun_s = time.perf_counter()
        ended = begin(engine)
        turn_until(engine, ended)
        seconds = time.perf_counter() - begun_s
        _go_on(engine, write, status)
        raise_trouble([write])
        found = {"seconds": seconds}
        for name, latencies_s in (("status", status.latencies_s), ("write", write.latencies_s)):
            found[f"{name}_max_ms"] = 1000 * max(latencies_s, default=seconds)
            found[f"{name}_p99_ms"] = 1000 * percentile(latencies_s or [seconds], 0.99)
        return found
    finally:
        engine.close()


def _go_on(engine: Engine, write: Writes, status: StatusProbe) -> None:
    """Ask for a while longer, and until what is asked by then is answered: a stop shows only where it ends."""
    ends_s = time.monotonic() + AFTERWARDS_S
    turn_until(engine, lambda: time.monotonic() > ends_s)
    asked = len(write.latencies_s), len(status.latencies_s)
    turn_until(engine, lambda: len(write.latencies_s) > asked[0] and len(status.latencies_s) > asked[1])


def _forever() -> Iterator[Operation]:
    number = 0
    while True:
        number += 1
        yield Put(b"probe", b"%016d" % number)


def _raise_error(call: Call) -> None:
    if call.error is not None:
        raise call.error
