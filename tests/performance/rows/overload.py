"""Four times more than the leader takes.

So many closed-loop clients write 256 bytes each that four times more is under way than `uncommitted_bytes_max` lets
in (set to 1 MiB here, so that one process can overload it); a client that is told "busy" comes again after the time
it was given, as the client library does. How long a busy answer takes is measured in the client, from the sending of
the request. Memory is the leader's, before and at its most.
"""

import itertools
import os
import time
from collections.abc import Iterator

from raft_zmq.client import config
from raft_zmq.client.engine import Engine
from raft_zmq.client.links import Link
from raft_zmq.transport.dealer import ClientConnection
from raft_zmq.wire.client_messages import Answer, Busy
from raft_zmq.wire.commands import Operation, Put
from tests.performance import machine
from tests.performance.cluster import Cluster
from tests.performance.figures import Figure, Measured
from tests.performance.load import Writes, percentile, raise_trouble
from tests.performance.plan import Plan

BUSY_MS = 10
UNCOMMITTED_BYTES_MAX = 1 << 20
SIZE = 256
COMMAND_BYTES = SIZE + 40  # with session, number and key
OVERLOAD = 4
WARM_UP_S = 2.0


def measure(plan: Plan) -> Measured:
    clients = OVERLOAD * UNCOMMITTED_BYTES_MAX // COMMAND_BYTES
    seconds = plan.choose(20.0, 4.0)
    with plan.cluster(uncommitted_bytes_max=UNCOMMITTED_BYTES_MAX) as cluster:
        found = _flood(cluster, clients, seconds)
        elections = cluster.count_events("became_leader")["became_leader"] - 1
    p99_ms, growth_mb = found["busy_p99_ms"], (found["resident_max"] - found["resident_before"]) / 1e6
    figures = [
        Figure(
            what=f"p99 until the answer busy, {clients:,} clients",
            value=p99_ms,
            unit="ms",
            at_most=BUSY_MS,
            note=f"median {found['busy_p50_ms']:.1f} ms, {found['busy']:,.0f} busy answers",
        ),
        Figure(what="memory that the leader takes for it", value=growth_mb, unit="MB"),
        Figure(
            what="writes/s that are acknowledged meanwhile",
            value=found["writes"] / seconds,
            note=f"{found['errors']:,.0f} errors, {elections} elections",
        ),
    ]
    return Measured(figures=figures, raw={**found, "clients": clients, "elections": elections})


class WatchingEngine(Engine):
    """Takes the time of each busy answer, from the sending of the request."""

    def watch(self) -> None:
        self.busy_s: list[float] = []

    def _take(self, link: Link, answers: list[Answer]) -> None:
        now_s = time.monotonic()
        for answer in answers:
            if type(answer) is Busy and (call := self._calls.get(answer.request_id)) is not None:
                self.busy_s.append(now_s - call.sent_at)
        super()._take(link, answers)


def _flood(cluster: Cluster, clients: int, seconds: float) -> dict[str, float]:
    loaded = config.load(cluster.config_file)
    pid = cluster.pid(cluster.leader())
    resident_before = machine.usage(pid).resident_bytes
    engine = WatchingEngine(loaded.endpoints, lambda address: ClientConnection(address, loaded.keys, loaded.cluster_id))
    engine.watch()
    try:
        writers = [Writes(engine, _puts(number), number % 4) for number in range(clients)]
        for writer in writers:
            writer.next()
        _turn_for(engine, WARM_UP_S)
        engine.watch()
        for writer in writers:
            writer.latencies_s.clear()
        resident_max = _turn_for(engine, seconds, pid)
        raise_trouble(writers)
    finally:
        engine.close()
    busy_s = engine.busy_s or [0.0]
    return {
        "busy": len(engine.busy_s),
        "busy_p50_ms": 1000 * percentile(busy_s, 0.5),
        "busy_p99_ms": 1000 * percentile(busy_s, 0.99),
        "busy_max_ms": 1000 * max(busy_s),
        "writes": sum(len(writer.latencies_s) for writer in writers),
        "errors": sum(writer.errors for writer in writers),
        "resident_before": resident_before,
        "resident_max": resident_max,
    }


def _turn_for(engine: Engine, seconds: float, pid: int = 0) -> int:
    """Go on for so long; the most memory that process had."""
    resident_max, look_at_s, ends_s = 0, 0.0, time.monotonic() + seconds
    while (now_s := time.monotonic()) < ends_s:
        engine.turn(0.05)
        if pid and now_s >= look_at_s:
            resident_max = max(resident_max, machine.usage(pid).resident_bytes)
            look_at_s = now_s + 0.1
    return resident_max


def _puts(number: int) -> Iterator[Operation]:
    return itertools.repeat(Put(b"overload/%d" % number, os.urandom(SIZE)))
