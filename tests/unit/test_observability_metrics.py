"""Metrics, read back as Prometheus reads them."""

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from raft_zmq.core.messages import DiskState
from raft_zmq.observability.metrics import BOUNDS_S, Histogram, Metrics
from raft_zmq.wire.client_messages import StageTotal
from tests.unit.node_status import STATUS

TRANSPORT = {"peer_messages_sent": 12, "keys_refused": {"unknown": 2, "revoked": 1}, "requests_refused": {}}


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


def test_gauges_come_from_the_status():
    found = samples(Metrics(lambda: STATUS, lambda: {}))
    for name, want in {
        "raft_term": 4,
        "raft_commit_index": 21,
        "raft_last_applied_index": 20,
        "raft_last_log_index": 22,
        "raft_snapshot_index": 10,
        "raft_ready": 1,
        "raft_wal_bytes": 16 << 20,
        "raft_sessions": 3,
        "raft_keys": 7,
        "raft_uptime_seconds": 1.5,
    }.items():
        assert found[name, ()] == want
    assert found["raft_peer_match_index", ("n3",)] == 5
    assert (found["raft_peer_active", ("n2",)], found["raft_peer_active", ("n3",)]) == (1, 0)


def test_the_role_is_one_of_four():
    found = samples(Metrics(lambda: STATUS, lambda: {}))
    roles = {labels[0]: value for (name, labels), value in found.items() if name == "raft_role"}
    assert roles == {"follower": 0, "pre_candidate": 0, "candidate": 0, "leader": 1}


def test_the_disk_is_in_one_of_four_states():
    found = samples(Metrics(lambda: msgspec.structs.replace(STATUS, disk="filling"), lambda: {}))
    disks = {labels[0]: value for (name, labels), value in found.items() if name == "raft_disk"}
    assert disks == {state.name.lower(): state is DiskState.FILLING for state in DiskState}


def test_counters_grow_with_what_the_loop_counts():
    metrics = Metrics(lambda: STATUS, lambda: TRANSPORT)
    metrics.counters.proposals += 5
    metrics.counters.elections += 1
    found = samples(metrics)
    assert (found["raft_proposals_total", ()], found["raft_elections_total", ()], found["raft_reads_total", ()]) == (
        5,
        1,
        0,
    )
    assert found["raft_transport_peer_messages_sent_total", ()] == 12
    assert found["raft_transport_keys_refused_total", ("unknown",)] == 2
    assert found["raft_transport_keys_refused_total", ("revoked",)] == 1


def test_without_a_status_the_counters_are_still_there():
    found = samples(Metrics(lambda: None, lambda: TRANSPORT))
    assert ("raft_proposals_total", ()) in found
    assert ("raft_term", ()) not in found


def test_a_loop_that_does_not_turn_is_told_to_the_caller():
    def status():
        raise TimeoutError

    with pytest.raises(TimeoutError):
        Metrics(status, lambda: {}).render()


def test_histograms_show_what_was_observed():
    metrics = Metrics(lambda: STATUS, lambda: {})
    for seconds in (0.0001, 0.0003, 7.0):
        metrics.sync_s.observe(seconds)
    found = samples(metrics)
    assert found["raft_sync_seconds_bucket", ("0.0001",)] == 1, "a bound belongs to its bucket"
    assert found["raft_sync_seconds_bucket", ("0.0005",)] == 2
    assert found["raft_sync_seconds_bucket", ("5.0",)] == 2
    assert found["raft_sync_seconds_bucket", ("+Inf",)] == 3
    assert found["raft_sync_seconds_count", ()] == 3
    assert found["raft_sync_seconds_sum", ()] == pytest.approx(7.0004)
    assert found["raft_commit_seconds_count", ()] == 0


def test_the_stages_of_a_write_are_told_apart():
    metrics = Metrics(lambda: STATUS, lambda: {})
    metrics.stages.queue_s.observe(0.25)
    metrics.stages.queue_s.observe(0.5)
    metrics.sync_s.observe(2.0)
    found = samples(metrics)
    assert found["raft_stage_seconds_sum", ("queue",)] == pytest.approx(0.75)
    assert found["raft_stage_seconds_count", ("sync",)] == 1
    assert found["raft_stage_seconds_count", ("answer",)] == 0
    assert list(metrics.stage_totals()) == ["queue", "append", "sync", "replicate", "commit", "apply", "answer"]
    assert metrics.stage_totals()["queue"] == StageTotal(2, 0.75)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.floats(0, 10), max_size=50))
def test_a_bucket_counts_all_observations_up_to_its_bound(observed):
    histogram = Histogram()
    for seconds in observed:
        histogram.observe(seconds)
    want = [sum(seconds <= bound for seconds in observed) for bound in BOUNDS_S]
    assert [count for _, count in histogram.buckets()] == [*want, len(observed)]


def test_the_process_is_measured_too():
    found = samples(Metrics(lambda: STATUS, lambda: {}))
    assert found["process_resident_memory_bytes", ()] > 1 << 20
    assert found["process_start_time_seconds", ()] < time.time()
