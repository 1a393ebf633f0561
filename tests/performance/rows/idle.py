"""An idle cluster.

Three fresh nodes, ten writes, and then nobody asks anything. CPU time and resident memory of each node's process, from
/proc; the table shows the node that uses most.
"""

from tests.performance.figures import Figure, Measured
from tests.performance.plan import Plan
from tests.performance.waiting import rest

CPU_PERCENT = 1.5
RESIDENT_MB = 60


def measure(plan: Plan) -> Measured:
    seconds = plan.choose(30.0, 5.0)
    with plan.cluster() as cluster:
        with cluster.client() as client:
            for number in range(10):
                client.put(b"idle/%d" % number, b"v" * 256)
        cluster.wait_until_level()
        rest(2.0)
        before = cluster.usage()
        rest(seconds)
        after = cluster.usage()
    percent = {name: round(100 * (after[name].cpu_s - before[name].cpu_s) / seconds, 2) for name in after}
    resident_mb = {name: round(after[name].resident_bytes / 1e6, 1) for name in after}
    figures = [
        Figure(what="CPU of a node", value=max(percent.values()), unit="% of a core", at_most=CPU_PERCENT),
        Figure(what="resident memory of a node", value=max(resident_mb.values()), unit="MB", at_most=RESIDENT_MB),
    ]
    return Measured(figures=figures, raw={"cpu_percent": percent, "resident_mb": resident_mb, "seconds": seconds})
