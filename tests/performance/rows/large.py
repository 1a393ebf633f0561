"""Values of 1 MiB.

16 clients write 1 MiB each; all three nodes share one disk, so each byte is to be written there three times. The
disk's own rate is that of 1 MiB pwrite + fdatasync, one after the other, before and after. The processors' own rate is
what they could take in if they did nothing but bring each copy over an encrypted connection, checksum, write and sync
it: on a fast disk that is the nearer bound. A heartbeat is missed where a follower hears nothing for an election
timeout, or the leader changes.
"""

import statistics

from tests.performance import processor
from tests.performance.disk import synced_bytes_per_s
from tests.performance.figures import Figure, Measured
from tests.performance.load import bench
from tests.performance.plan import Plan

SHARE = 0.6
VALUE_BYTES = 1 << 20
KINDS = ("became_leader", "became_pre_candidate", "slow_disk")


def measure(plan: Plan) -> Measured:
    rounds, seconds = plan.choose(3, 1), plan.choose(8.0, 3.0)
    rates, runs = [], []
    with plan.cluster() as cluster:
        before = cluster.count_events(*KINDS)
        for _ in range(rounds):
            rates.append(synced_bytes_per_s(plan.folder, 2.0))
            runs.append(bench(cluster.config_file, op="write", clients=16, size=VALUE_BYTES, seconds=seconds))
        rates.append(synced_bytes_per_s(plan.folder, 2.0))
        after = cluster.count_events(*KINDS)
        copies = len(cluster.names)
    possible = statistics.median(processor.bytes_per_s(plan.folder, copies) for _ in range(rounds))
    new = {kind: after[kind] - before[kind] for kind in KINDS}
    ours, disk = statistics.median(run["ops_per_s"] * VALUE_BYTES for run in runs), statistics.median(rates)
    figures = [
        Figure(
            what=f"bytes acknowledged a second ÷ (rate of the disk ÷ {copies} copies)",
            value=ours / (disk / copies),
            at_least=SHARE,
            note=f"ours {ours / 1e6:,.0f} MB/s, the disk {disk / 1e6:,.0f} MB/s",
        ),
        Figure(
            what="bytes acknowledged a second ÷ rate of the processors",
            value=ours / possible,
            note=f"{possible / 1e6:,.0f} MB/s for {copies} times encrypted, decrypted, checksummed and written",
        ),
        Figure(
            what="heartbeats missed",
            value=new["became_pre_candidate"] + new["became_leader"],
            at_most=0,
            note=f"{new['slow_disk']} syncs were reported as slow_disk",
        ),
        Figure(what="p99 of a write", value=statistics.median(run["p99_ms"] for run in runs), unit="ms"),
    ]
    return Measured(
        figures=figures, raw={"disk_bytes_per_s": rates, "processor_bytes_per_s": possible, "runs": runs, "events": new}
    )
