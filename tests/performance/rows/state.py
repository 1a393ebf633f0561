"""A large state.

Values of 4 KiB until the state has that size, and a snapshot of it. Then the same load as on an empty cluster, 64
clients with 256-byte values, and how long a follower that was killed takes from its start until it is ready. The log
may grow to 4 GiB here, so that filling writes no snapshots.
"""

import time

from tests.performance.figures import Figure, Measured
from tests.performance.filled import LOG_BYTES, fill
from tests.performance.load import bench
from tests.performance.plan import Plan
from tests.performance.waiting import wait_until


def measure(plan: Plan) -> Measured:
    state_bytes, seconds = plan.choose(1_000_000_000, 50_000_000), plan.choose(5.0, 1.0)
    with plan.cluster(snapshot_log_bytes=LOG_BYTES) as cluster:
        empty = bench(cluster.config_file, op="write", clients=64, size=256, seconds=seconds)
        begun_s = time.perf_counter()
        keys = fill(cluster, state_bytes)
        filled_s = time.perf_counter() - begun_s
        plan.say(f"{state_bytes / 1e6:,.0f} MB of state in {filled_s:.0f} s")
        follower = cluster.followers()[0]
        begun_s = time.perf_counter()
        with cluster.client(timeout_s=600.0) as client:
            for name in cluster.names:
                client.snapshot(cluster.address(name))
        snapshots_s = time.perf_counter() - begun_s
        full = bench(cluster.config_file, op="write", clients=64, size=256, seconds=seconds)
        resident_bytes = max(used.resident_bytes for used in cluster.usage().values())
        cluster.kill(follower)
        begun_s = time.perf_counter()
        cluster.start(follower)
        wait_until(lambda: cluster.statuses().get(follower, {}).get("ready", False), f"{follower} to be ready", 300.0)
        ready_s = time.perf_counter() - begun_s
    size = f"{state_bytes / 1e6:,.0f} MB"
    figures = [
        Figure(
            what=f"writes/s at 64 clients with {size} of state ÷ with none",
            value=full["ops_per_s"] / empty["ops_per_s"],
            note=f"{full['ops_per_s']:,.0f}/s and {empty['ops_per_s']:,.0f}/s",
        ),
        Figure(what="restart of a follower until it is ready", value=ready_s, unit="s"),
        Figure(what="one snapshot", value=snapshots_s / len(cluster.names), unit="s"),
        Figure(what="resident memory of a node ÷ size of the state", value=resident_bytes / state_bytes),
    ]
    raw = {"keys": keys, "filled_s": filled_s, "empty": empty, "full": full, "resident_bytes": resident_bytes}
    return Measured(figures=figures, raw={**raw, "ready_s": ready_s, "snapshots_s": snapshots_s})
