"""Four times as many clients as the leader has room for.

Two processes of `client bench` write 256 bytes each with four times as many clients as `requests_max` lets in (set to
1,500 here, so that two processes can overload it). They run at the lowest priority, for clients have machines of their
own. Who is told "busy" comes again, ever more rarely, so that the leader is offered less than four times what it takes.
Beside them eight probes, each with a connection of its own, write one thing at a time: how long the leader takes to
tell them "busy". Memory is the leader's, before and at its most. Then the same once more with a leader whose every sync
takes 50 ms longer (a fault on demand).
"""

import itertools
import os
import random
import time

import zmq

from client.loop import decode_outcome
from raft_zmq.client import config
from raft_zmq.client.session import Session, opening
from raft_zmq.core.errors import OutcomeUnknownError
from raft_zmq.transport import sockets
from raft_zmq.transport.dealer import ClientConnection
from raft_zmq.wire.client_messages import Answer, Busy, Done, Write
from raft_zmq.wire.commands import Put
from tests.performance import machine
from tests.performance.cluster import Cluster
from tests.performance.figures import Figure, Measured
from tests.performance.load import bench_command, percentile, under_load
from tests.performance.plan import Plan
from tests.performance.waiting import wait_until

BUSY_MS = 10
REQUESTS_MAX = 1_500
SIZE = 256
OVERLOAD = 4
PROCESSES = 2
PROBES = 8
REST_S_MAX = 0.02  # of a probe between an answer and its next write; they are not to come all at once
PATIENCE_S = 10.0
SLOW_SYNC_S = 0.05
LOOK_S = 0.1  # between two looks at the leader's memory

# `nice` counts among the processes of one session only, where the kernel groups by sessions; so the group is told too.
_AT_LOWEST_PRIORITY = (
    "sh",
    "-c",
    'if [ -w /proc/self/autogroup ]; then echo 19 > /proc/self/autogroup; fi; exec nice -n 19 "$@"',
    "sh",
)


def measure(plan: Plan) -> Measured:
    clients = OVERLOAD * REQUESTS_MAX // PROCESSES
    seconds, slow_seconds = plan.choose(40.0, 4.0), plan.choose(15.0, 4.0)
    with plan.cluster(requests_max=REQUESTS_MAX, fault_injection=True) as cluster:
        leader = cluster.leader()
        pid, before = cluster.pid(leader), cluster.metrics(leader)
        resident_before = machine.usage(pid).resident_bytes
        with under_load(_flood(cluster, clients, seconds + slow_seconds + 30), PROCESSES, own_session=True):
            wait_until(lambda: cluster.metrics(leader)["raft_busy_total"] > before["raft_busy_total"], "overload")
            begun, begun_s = cluster.metrics(leader), time.monotonic()
            busy_s, done_s, resident_max = _probe_all(cluster, leader, seconds, pid)
            ended, elapsed_s = cluster.metrics(leader), time.monotonic() - begun_s
            elections = cluster.count_events("became_leader")["became_leader"] - 1
            with cluster.client() as client:
                client.fault(cluster.address(leader), "slow_disk", seconds=SLOW_SYNC_S)
            slow_busy_s, _, _ = _probe_all(cluster, leader, slow_seconds, pid)
    busy = ended["raft_busy_total"] - begun["raft_busy_total"]
    writes = ended["raft_proposals_total"] - begun["raft_proposals_total"]
    under_way = f"{PROCESSES * clients:,} clients"
    figures = [
        Figure(
            what=f"p99 until the answer busy, {under_way}",
            value=1000 * percentile(busy_s, 0.99),
            unit="ms",
            at_most=BUSY_MS,
            note=f"median {1000 * percentile(busy_s, 0.5):.1f} ms, {len(busy_s)} of {len(busy_s) + len(done_s)} probes",
        ),
        Figure(what="requests offered ÷ taken in meanwhile", value=(writes + busy) / writes),
        Figure(what="memory that the leader takes for it", value=(resident_max - resident_before) / 1e6, unit="MB"),
        Figure(
            what="writes/s that the leader takes in meanwhile",
            value=writes / elapsed_s,
            note=f"{busy / elapsed_s:,.0f} busy answers/s, {elections} elections",
        ),
        Figure(
            what=f"p99 until the answer busy while each sync of the leader takes {1000 * SLOW_SYNC_S:g} ms longer",
            value=1000 * percentile(slow_busy_s, 0.99),
            unit="ms",
            at_most=BUSY_MS,
            note=f"median {1000 * percentile(slow_busy_s, 0.5):.1f} ms, {len(slow_busy_s)} answers",
        ),
    ]
    raw = {
        "clients": PROCESSES * clients,
        "busy_ms": [round(1000 * latency, 2) for latency in busy_s],
        "slow_busy_ms": [round(1000 * latency, 2) for latency in slow_busy_s],
        "done_ms": [round(1000 * latency, 2) for latency in done_s],
        "resident_before": resident_before,
        "resident_max": resident_max,
        "elections": elections,
    }
    return Measured(figures=figures, raw=raw)


def _flood(cluster: Cluster, clients: int, seconds: float) -> list[str]:
    """The command of one of the processes that overload the leader."""
    load = {"op": "write", "clients": clients, "size": SIZE, "seconds": seconds, "warmup_s": 0, "timeout_s": 60}
    return [*_AT_LOWEST_PRIORITY, *bench_command(cluster.config_file, **load)]


class _Probe:
    """A client that writes one thing at a time; its latencies by the kind of the answer."""

    def __init__(self, address: str, loaded: config.ClientConfig) -> None:
        self._connection = ClientConnection(address, loaded.keys, loaded.cluster_id)
        self._numbers = itertools.count(1)
        self._session: Session | None = None
        self._command = opening(os.urandom(16))
        self._asked: int | None = None
        self._asked_s = 0.0
        self._rests_until_s = 0.0
        self.latencies_s: dict[type[Answer], list[float]] = {Busy: [], Done: []}

    @property
    def socket(self) -> sockets.Socket:
        """To be polled for answers."""
        return self._connection.socket

    def waits(self) -> bool:
        """Whether an answer is awaited; raises OutcomeUnknownError when it has not come for too long."""
        if self._asked is None:
            return False
        if time.perf_counter() - self._asked_s > PATIENCE_S:
            raise OutcomeUnknownError(f"expected an answer within {PATIENCE_S:g} s, found none")
        return True

    def ask(self, now_s: float) -> None:
        """Write, unless an answer is awaited or it rests."""
        if not self.waits() and now_s >= self._rests_until_s:
            self._asked = next(self._numbers)
            self._asked_s = time.perf_counter()
            self._connection.send([Write(self._asked, self._command)])

    def hear(self) -> None:
        """Take in the answer."""
        come_s = time.perf_counter()
        for answer in self._connection.receive():
            if answer.request_id != self._asked or type(answer) not in self.latencies_s:
                raise OutcomeUnknownError(f"expected the leader to take a write or be busy, found {answer}")
            if self._session is not None:
                self.latencies_s[type(answer)].append(come_s - self._asked_s)
            if isinstance(answer, Done):
                self._command = self._next_command(answer)
            self._asked = None
            self._rests_until_s = time.monotonic() + random.uniform(0, REST_S_MAX)

    def close(self) -> None:
        """End."""
        self._connection.close()

    def _next_command(self, answer: Done) -> bytes:
        if self._session is None:
            session_id = decode_outcome(answer.body).output
            assert isinstance(session_id, int)
            self._session = Session(session_id)
        return self._session.next_command(Put(b"probe", os.urandom(SIZE)))


def _probe_all(cluster: Cluster, leader: str, seconds: float, pid: int) -> tuple[list[float], list[float], int]:
    """The latencies of the answers busy and done to all probes, and the most memory the leader had.

    One thread asks for all of them: of several, each would have to wait for the others' interpreter lock.
    """
    loaded = config.load(cluster.config_file)
    probes = [_Probe(cluster.address(leader), loaded) for _ in range(PROBES)]
    poller = zmq.Poller()
    for probe in probes:
        poller.register(probe.socket, zmq.POLLIN)
    resident_max, look_at_s, ends_s = 0, 0.0, time.monotonic() + seconds
    try:
        while (now_s := time.monotonic()) < ends_s or any(probe.waits() for probe in probes):
            for probe in probes if now_s < ends_s else ():
                probe.ask(now_s)
            if now_s >= look_at_s:
                look_at_s = now_s + LOOK_S
                resident_max = max(resident_max, machine.usage(pid).resident_bytes)
            readable = dict(poller.poll(1))
            for probe in probes:
                if probe.socket in readable:
                    probe.hear()
    finally:
        for probe in probes:
            probe.close()
    busy_s, done_s = ([s for probe in probes for s in probe.latencies_s[kind]] for kind in (Busy, Done))
    if not busy_s:
        raise OutcomeUnknownError("expected some of the probes to be told busy, found none")
    return busy_s, done_s, resident_max
