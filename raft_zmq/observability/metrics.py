"""Figures of a node for Prometheus: counted in the node's loop as plain numbers, put into words only when asked.

Names begin with `raft_` and end with their unit. Gauges come from the same NodeStatus as GET /status.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector

from raft_zmq.wire.client_messages import NodeStatus, StageTotal

DISK_STATES: Final = ("good", "slow", "filling", "full")
ROLES: Final = ("follower", "pre_candidate", "candidate", "leader")
BOUNDS_S: Final = (50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

# Counts by name; where there are several reasons for counting, counts by reason.
TransportCounts = Mapping[str, int | Mapping[str, int]]

_GAUGES: Final = {
    "term": ("raft_term", "Current term (Figure 2)"),
    "commit_index": ("raft_commit_index", "The last entry known to be committed (Figure 2)"),
    "last_applied": ("raft_last_applied_index", "The last entry the state machine has applied (Figure 2)"),
    "first_log_index": ("raft_first_log_index", "The first entry the log still holds"),
    "last_log_index": ("raft_last_log_index", "The last entry of the log"),
    "snapshot_index": ("raft_snapshot_index", "The last entry in the newest snapshot"),
    "ready": ("raft_ready", "1 if the node knows a leader and has caught up"),
    "wal_bytes": ("raft_wal_bytes", "Size of the write-ahead log on disk"),
    "sessions": ("raft_sessions", "Live client sessions (thesis 6.3)"),
    "keys": ("raft_keys", "Keys in the state machine"),
    "uptime_s": ("raft_uptime_seconds", "Time since the node started"),
}


class Counters(msgspec.Struct):
    """What the node's loop counts; numbers that only grow. Each name, after `raft_`, is a metric."""

    proposals: int = 0  # commands put into the log by this node as leader
    reads: int = 0  # linearizable reads answered
    busy: int = 0  # requests answered busy
    elections: int = 0  # terms started as a candidate
    snapshots: int = 0  # snapshots written of the own state


class Histogram:
    """Observations in seconds, counted by upper bound: 0.2 µs each."""

    __slots__ = ("bounds_s", "counts", "sum_s")

    def __init__(self, bounds_s: tuple[float, ...] = BOUNDS_S) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)  # the last one is for whatever lies above all bounds
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, observations up to it) for each bound, as Prometheus wants them."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(repr, self.bounds_s), "+Inf"), self.counts.copy(), strict=True):
            total += count
            buckets.append((bound, total))
        return buckets


class Stages:
    """Where the time of a write goes on the leader: one observation for each batch of writes, not for each write.

    `replicate` runs at the same time as `sync`; what a request waits in its socket before the loop wakes up is in none
    of them, but in the turn before.
    """

    def __init__(self, sync_s: Histogram, commit_s: Histogram) -> None:
        self.woke_s = 0.0  # when the present turn of the loop began
        self.queue_s = Histogram()  # from the beginning of the turn the oldest came in until the core has the commands
        self.append_s = Histogram()  # until they are in the log in memory and on their way to the followers
        self.sync_s = sync_s
        self.replicate_s = Histogram()  # from there until the leader knows that a majority has them
        self.commit_s = commit_s  # all of it up to here
        self.apply_s = Histogram()  # entries to the state machine
        self.answer_s = Histogram()  # answers into the clients' socket

    def by_name(self) -> dict[str, Histogram]:
        """The histograms in the order of a write's way: queue, append, sync, replicate, commit, apply, answer."""
        return {name.removesuffix("_s"): found for name, found in vars(self).items() if isinstance(found, Histogram)}


class Metrics:
    """All figures of one node: its loop counts in `counters`, `turn_s` and `stages`, another thread calls `render`.

    `status` is as in HttpServer. `transport` gives the transport's counts, `levels` what is under way right now, by
    name; both may be called from any thread.
    """

    def __init__(
        self,
        status: Callable[[], NodeStatus | None],
        transport: Callable[[], TransportCounts],
        levels: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.counters = Counters()
        self.sync_s = Histogram()  # one for each sync of the log
        self.commit_s = Histogram()  # one for each batch of commands, from its arrival at the leader to its commit
        self.turn_s = Histogram()  # one for each turn of the loop, the waiting for its beginning left out
        self.stages = Stages(self.sync_s, self.commit_s)
        self._registry = CollectorRegistry()
        self._registry.register(_NodeCollector(self, status, transport, levels))
        ProcessCollector(registry=self._registry)

    def stage_totals(self) -> dict[str, StageTotal]:
        """How often each stage was gone through and the time that took, for NodeStatus."""
        return {
            name: StageTotal(sum(histogram.counts), histogram.sum_s)
            for name, histogram in self.stages.by_name().items()
        }

    def render(self) -> bytes:
        """The page of GET /metrics, in Prometheus' text format. Raises TimeoutError if `status` does."""
        return generate_latest(self._registry)


class _NodeCollector(Collector):
    """Turns the plain numbers into metric families each time Prometheus asks."""

    def __init__(
        self,
        metrics: Metrics,
        status: Callable[[], NodeStatus | None],
        transport: Callable[[], TransportCounts],
        levels: Callable[[], Mapping[str, int]],
    ) -> None:
        self._metrics = metrics
        self._status = status
        self._transport = transport
        self._levels = levels

    def collect(self) -> Iterator[Metric]:
        """All families; without those of the status while there is none."""
        status = self._status()
        if status is not None:
            yield from _of_status(status)
        yield from _of_counts("raft_", msgspec.structs.asdict(self._metrics.counters))
        yield from _of_counts("raft_transport_", self._transport())
        for name, level in self._levels().items():
            yield GaugeMetricFamily(f"raft_{name}", f"{name.replace('_', ' ').capitalize()} right now", value=level)
        for name, histogram, text in (
            ("raft_sync_seconds", self._metrics.sync_s, "Syncs of the log to disk"),
            ("raft_commit_seconds", self._metrics.commit_s, "Commands, from their arrival at the leader to the commit"),
            ("raft_turn_seconds", self._metrics.turn_s, "Turns of the node's loop"),
        ):
            yield HistogramMetricFamily(name, text, buckets=histogram.buckets(), sum_value=histogram.sum_s)
        stages = HistogramMetricFamily("raft_stage_seconds", "Stages of a write on the leader", labels=["stage"])
        for stage, histogram in self._metrics.stages.by_name().items():
            stages.add_metric([stage], histogram.buckets(), histogram.sum_s)
        yield stages


def _of_status(status: NodeStatus) -> Iterator[Metric]:
    info = {"version": status.version, "cluster_id": status.cluster_id, "incarnation": status.incarnation}
    yield InfoMetricFamily("raft_node", "Which node this is", value={"node_id": status.node_id, **info})
    yield StateSetMetricFamily("raft_role", "The role (§5.1)", value={role: role == status.role for role in ROLES})
    disk = {state: state == status.disk for state in DISK_STATES}
    yield StateSetMetricFamily("raft_disk", "The disk: slow, or filling and then full (docs/storage.md)", value=disk)
    for field, (name, text) in _GAUGES.items():
        yield GaugeMetricFamily(name, text, value=float(getattr(status, field)))
    match_index = GaugeMetricFamily("raft_peer_match_index", "The leader's matchIndex (Figure 2)", labels=["peer"])
    active = GaugeMetricFamily("raft_peer_active", "1 if the leader hears from that peer", labels=["peer"])
    for peer in status.peers:
        match_index.add_metric([peer.node_id], peer.match_index)
        active.add_metric([peer.node_id], float(peer.active))
    yield match_index
    yield active


def _of_counts(prefix: str, counts: TransportCounts) -> Iterator[Metric]:
    for name, count in counts.items():
        text = f"{name.replace('_', ' ').capitalize()} since the node started"
        if isinstance(count, int):
            yield CounterMetricFamily(prefix + name, text, value=count)
            continue
        family = CounterMetricFamily(prefix + name, f"{text}, by reason", labels=["reason"])
        for reason, number in dict(count).items():  # a copy: the node's loop may add a reason meanwhile
            family.add_metric([reason], number)
        yield family
