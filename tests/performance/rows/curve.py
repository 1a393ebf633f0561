"""What CURVE costs.

Two clusters of three, one with CURVE (the default), one without, both up all the time and loaded in turns with 64
clients and 256-byte values. The cost is what is missing to the throughput without CURVE, the median over the pairs.
"""

import statistics
from typing import Any

from tests.performance.figures import Figure, Measured
from tests.performance.load import bench
from tests.performance.plan import Plan

COST_PERCENT = 15


def measure(plan: Plan) -> Measured:
    rounds, seconds = plan.choose(6, 2), plan.choose(3.0, 1.0)
    runs: dict[str, list[dict[str, dict[str, Any]]]] = {}
    costs: dict[str, float] = {}
    with plan.cluster(name="curve") as curve, plan.cluster(name="plain", auth="none") as plain:
        for op in ("write", "read"):
            ratios = []
            for number in range(rounds):
                pair = [curve, plain] if number % 2 else [plain, curve]
                found = {
                    side.directory.name: bench(side.config_file, op=op, clients=64, size=256, seconds=seconds)
                    for side in pair
                }
                ratios.append(found["curve"]["ops_per_s"] / found["plain"]["ops_per_s"])
                runs.setdefault(op, []).append(found)
            costs[op] = 100 * (1 - statistics.median(ratios))
    figures = [
        Figure(what=f"of the {op}s/s at 64 clients", value=cost, unit="%", at_most=COST_PERCENT)
        for op, cost in costs.items()
    ]
    return Measured(figures=figures, raw={"pairs": runs})
