"""Three, five and seven nodes.

Clusters one after the other, in rounds of changing order, all on this one machine and disk; 64 clients and one client,
256-byte values.
"""

import statistics
from typing import Any

from tests.performance.figures import Figure, Measured
from tests.performance.load import bench
from tests.performance.plan import Plan

SIZES = (3, 5, 7)


def measure(plan: Plan) -> Measured:
    rounds, seconds = plan.choose(3, 1), plan.choose(3.0, 1.0)
    runs: dict[int, list[dict[str, Any]]] = {size: [] for size in SIZES}
    for number in range(rounds):
        for size in SIZES if number % 2 == 0 else reversed(SIZES):
            with plan.cluster(size, name=f"nodes-{size}") as cluster:
                many = bench(cluster.config_file, op="write", clients=64, size=256, seconds=seconds)
                one = bench(cluster.config_file, op="write", clients=1, size=256, seconds=seconds)
                runs[size].append({"many": many, "one": one})
    figures = []
    for size in SIZES:
        rate = statistics.median(run["many"]["ops_per_s"] for run in runs[size])
        p50_ms = statistics.median(run["one"]["p50_ms"] for run in runs[size])
        note = f"one client's p50 {p50_ms:.2f} ms"
        figures.append(Figure(what=f"writes/s at 64 clients, {size} nodes", value=rate, note=note))
    return Measured(figures=figures, raw={str(size): found for size, found in runs.items()})
