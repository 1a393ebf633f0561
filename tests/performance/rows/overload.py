"""Four times more than the leader takes.

Two processes of `client bench` write 256 bytes each with so many clients that four times more is under way than
`requests_max` lets in (set to 1,500 here, so that two processes can overload it). They run at the lowest priority, for
clients have machines of their own. Who is told "busy" comes again, ever more rarely. Beside them eight probes, each
with a connection of its own, write one thing at a time: how long the leader takes to tell them "busy". Memory is the
leader's, before and at its most.
"""

import contextlib
import itertools
import os
import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import zmq

from client.loop import decode_outcome
from raft_zmq.client import config
from raft_zmq.client.session import Session, opening
from raft_zmq.core.errors import OutcomeUnknownError
from raft_zmq.transport.dealer import ClientConnection
from raft_zmq.wire.client_messages import Answer, Busy, Done, Write
from raft_zmq.wire.commands import Put
from tests.performance import machine
from tests.performance.cluster import Cluster
from tests.performance.figures import Figure, Measured
from tests.performance.load import bench_command, percentile
from tests.performance.plan import Plan
from tests.performance.waiting import rest, wait_until

BUSY_MS = 10
REQUESTS_MAX = 1_500
SIZE = 256
OVERLOAD = 4
PROCESSES = 2
PROBES = 8
REST_S_MAX = 0.02  # of a probe between an answer and its next write; they are not to come all at once
PATIENCE_MS = 10_000

# `nice` counts among the processes of one session only, where the kernel groups by sessions; so the group is told too.
_AT_LOWEST_PRIORITY = (
    "sh",
    "-c",
    'if [ -w /proc/self/autogroup ]; then echo 19 > /proc/self/autogroup; fi; exec nice -n 19 "$@"',
    "sh",
)


def measure(plan: Plan) -> Measured:
    clients = OVERLOAD * REQUESTS_MAX // PROCESSES
    seconds = plan.choose(20.0, 4.0)
    with plan.cluster(requests_max=REQUESTS_MAX) as cluster:
        leader = cluster.leader()
        pid, before = cluster.pid(leader), cluster.metrics(leader)
        resident_before = machine.usage(pid).resident_bytes
        with _flood(cluster, clients, seconds + 30):
            wait_until(lambda: cluster.metrics(leader)["raft_busy_total"] > before["raft_busy_total"], "overload")
            begun, begun_s = cluster.metrics(leader), time.monotonic()
            busy_s, done_s, resident_max = _probe_all(cluster, leader, seconds, pid)
            ended, elapsed_s = cluster.metrics(leader), time.monotonic() - begun_s
        elections = cluster.count_events("became_leader")["became_leader"] - 1
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
        Figure(what="memory that the leader takes for it", value=(resident_max - resident_before) / 1e6, unit="MB"),
        Figure(
            what="writes/s that the leader takes in meanwhile",
            value=writes / elapsed_s,
            note=f"{busy / elapsed_s:,.0f} busy answers/s, {elections} elections",
        ),
    ]
    raw = {
        "clients": PROCESSES * clients,
        "busy_ms": [round(1000 * latency, 2) for latency in busy_s],
        "done_ms": [round(1000 * latency, 2) for latency in done_s],
        "resident_before": resident_before,
        "resident_max": resident_max,
        "elections": elections,
    }
    return Measured(figures=figures, raw=raw)


@contextlib.contextmanager
def _flood(cluster: Cluster, clients: int, seconds: float) -> Iterator[None]:
    """Load from several processes for the length of the block."""
    command = bench_command(
        cluster.config_file, op="write", clients=clients, size=SIZE, seconds=seconds, warmup_s=0, timeout_s=60
    )
    running = [
        subprocess.Popen(
            [*_AT_LOWEST_PRIORITY, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(PROCESSES)
    ]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
            process.wait()


def _probe_all(cluster: Cluster, leader: str, seconds: float, pid: int) -> tuple[list[float], list[float], int]:
    """What all probes found, put together."""
    with ThreadPoolExecutor(PROBES) as threads:
        probes = [threads.submit(_probe, cluster, leader, seconds, pid) for _ in range(PROBES)]
    busy_s, done_s, resident = zip(*(probe.result() for probe in probes), strict=True)
    if not any(busy_s):
        raise OutcomeUnknownError("expected some of the probes to be told busy, found none")
    return list(itertools.chain(*busy_s)), list(itertools.chain(*done_s)), max(resident)


def _probe(cluster: Cluster, leader: str, seconds: float, pid: int) -> tuple[list[float], list[float], int]:
    """Latencies of the answers busy and done, and the most memory the leader had."""
    loaded = config.load(cluster.config_file)
    connection = ClientConnection(cluster.address(leader), loaded.keys, loaded.cluster_id)
    numbers = itertools.count(1)
    busy_s: list[float] = []
    done_s: list[float] = []
    resident_max, ends_s = 0, time.monotonic() + seconds
    try:
        session = _open_session(connection, numbers)
        command = session.next_command(Put(b"probe", os.urandom(SIZE)))
        while time.monotonic() < ends_s:
            begun_s = time.perf_counter()
            answer = _ask(connection, Write(next(numbers), command))
            latency_s = time.perf_counter() - begun_s
            if isinstance(answer, Busy):
                busy_s.append(latency_s)
            elif isinstance(answer, Done):
                done_s.append(latency_s)
                command = session.next_command(Put(b"probe", os.urandom(SIZE)))
            else:
                raise OutcomeUnknownError(f"expected the leader to take a write or be busy, found {answer}")
            resident_max = max(resident_max, machine.usage(pid).resident_bytes)
            rest(random.uniform(0, REST_S_MAX))
    finally:
        connection.close()
    return busy_s, done_s, resident_max


def _open_session(connection: ClientConnection, numbers: Iterator[int]) -> Session:
    command = opening(os.urandom(16))
    while True:
        answer = _ask(connection, Write(next(numbers), command))
        if isinstance(answer, Done):
            session_id = decode_outcome(answer.body).output
            assert isinstance(session_id, int)
            return Session(session_id)
        rest(0.005)


def _ask(connection: ClientConnection, request: Write) -> Answer:
    """The answer to one request; there is no other under way."""
    connection.send([request])
    while connection.socket.poll(PATIENCE_MS, zmq.POLLIN):
        for answer in connection.receive():
            if answer.request_id == request.request_id:
                return answer
    raise OutcomeUnknownError(f"expected an answer within {PATIENCE_MS / 1000:g} s, found none")
