"""From SIGKILL of the leader to the next acknowledged write.

One closed-loop client that knows all three nodes writes for a second, then the leader is killed between two of its
writes, and the clock runs until the next one is acknowledged. The killed node is started again and has to catch up
before the next round. etcd's figure, with its own 1 s election timeout, is a reference and no race.
"""

import statistics
import time

from raft_zmq.client.client import RaftClient
from tests.performance.cluster import Cluster
from tests.performance.figures import Figure, Measured
from tests.performance.plan import Plan, peers_there, run_peers

MEDIAN_S = 0.4
WORST_S = 0.8
QUIET_S = 1.0
VALUE = b"v" * 256


def measure(plan: Plan) -> Measured:
    rounds = plan.choose(20, 3)
    with plan.cluster() as cluster, cluster.client() as client:
        gaps_s = [_round(cluster, client) for _ in range(rounds)]
        elected = cluster.count_events("became_leader")["became_leader"]
    figures = [
        Figure(what=f"median of {rounds}", value=statistics.median(gaps_s), unit="s", at_most=MEDIAN_S),
        Figure(what=f"worst of {rounds}", value=max(gaps_s), unit="s", at_most=WORST_S),
        Figure(
            what="elections beyond one for each kill and the first",
            value=elected - rounds - 1,
            at_most=0,
        ),
    ]
    raw: dict[str, object] = {"gaps_s": [round(gap, 4) for gap in gaps_s], "elections": elected}
    if peers_there():
        etcd = run_peers(plan, "failover", "etcd", "--runs", str(plan.choose(5, 2)), timeout_s=600)
        raw["etcd"] = etcd
        figures.append(Figure(what="etcd's median, its election timeout being 1 s", value=etcd["median_s"], unit="s"))
    return Measured(figures=figures, raw=raw)


def _round(cluster: Cluster, client: RaftClient) -> float:
    quiet_until_s = time.monotonic() + QUIET_S
    while time.monotonic() < quiet_until_s:
        client.put(b"failover", VALUE)
    leader = cluster.leader()
    pid = cluster.pid(leader)
    client.put(b"failover", VALUE)
    begun_s = time.perf_counter()
    cluster.kill_at_once(pid)
    client.put(b"failover", VALUE)
    gap_s = time.perf_counter() - begun_s
    cluster.start(leader)
    cluster.wait_until_level()
    return gap_s
