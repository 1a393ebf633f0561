"""Spurious elections under full load.

1,024 closed-loop clients, writes and reads by halves, on three nodes with default timeouts, which keeps all cores busy;
then the nodes' logs are searched for elections, and for pre-candidates: followers that heard nothing for an election
timeout.
"""

from tests.performance import machine
from tests.performance.figures import Figure, Measured
from tests.performance.load import bench
from tests.performance.plan import Plan

KINDS = ("became_leader", "became_candidate", "became_pre_candidate", "stepped_down", "slow_disk")


def measure(plan: Plan) -> Measured:
    seconds = plan.length_s(10, 15.0)
    with plan.cluster() as cluster:
        before, busy_before = cluster.count_events(*KINDS), machine.busy_s()
        load = bench(cluster.config_file, op="mixed", clients=1024, size=256, seconds=seconds, timeout_s=30)
        busy = machine.busy_share(busy_before, machine.busy_s())
        after = cluster.count_events(*KINDS)
    new = {kind: after[kind] - before[kind] for kind in KINDS}
    length = f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} s"
    figures = [
        Figure(what=f"elections in {length}", value=new["became_leader"], at_most=0),
        Figure(
            what="followers that heard nothing for an election timeout",
            value=new["became_pre_candidate"],
            note=f"{new['slow_disk']} syncs were reported as slow_disk",
        ),
        Figure(what="share of all cores in use", value=busy),
        Figure(
            what="operations/s meanwhile",
            value=load["ops_per_s"],
            note=f"p99 {load['p99_ms']:.0f} ms, max {load['max_ms']:.0f} ms, errors {load['errors'] + load['unknown']}",
        ),
    ]
    return Measured(figures=figures, raw={"events": new, "load": load, "busy": busy})
