"""An idle cluster.

Three fresh nodes, ten writes, and then nobody asks anything. CPU time and resident memory of each node's process, from
/proc; the table shows the node that uses most. What a wake-up costs depends on the machine and its hour, so behind it
a Python process is measured that does nothing but wake up twenty times a second.
"""

import subprocess
import sys

from tests.performance.figures import Figure, Measured
from tests.performance.plan import Plan
from tests.performance.waiting import rest

CPU_PERCENT = 1.5
RESIDENT_MB = 60
WAKE_UPS_PER_S = 20
_WAKE_UP = """
import sys, threading, time
never, begun_s = threading.Event(), time.process_time()
for _ in range(int(sys.argv[1])):
    never.wait(float(sys.argv[2]))
print(time.process_time() - begun_s)
"""


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
    bare_percent = 100 * _wake_up(seconds / 3) / (seconds / 3)
    percent = {name: round(100 * (after[name].cpu_s - before[name].cpu_s) / seconds, 2) for name in after}
    resident_mb = {name: round(after[name].resident_bytes / 1e6, 1) for name in after}
    figures = [
        Figure(what="CPU of a node", value=max(percent.values()), unit="% of a core", at_most=CPU_PERCENT),
        Figure(
            what=f"a Python process that only wakes up, {WAKE_UPS_PER_S} times a second",
            value=bare_percent,
            unit="% of a core",
        ),
        Figure(what="resident memory of a node", value=max(resident_mb.values()), unit="MB", at_most=RESIDENT_MB),
    ]
    raw = {"cpu_percent": percent, "bare_percent": bare_percent, "resident_mb": resident_mb, "seconds": seconds}
    return Measured(figures=figures, raw=raw)


def _wake_up(seconds: float) -> float:
    """The CPU time in seconds of a process that does nothing else for so long."""
    command = [sys.executable, "-c", _WAKE_UP, str(round(seconds * WAKE_UPS_PER_S)), str(1 / WAKE_UPS_PER_S)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
