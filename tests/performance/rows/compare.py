"""Beside etcd.

Three nodes of ours and three of etcd 3.6, both with synced disks on the same disk, both up all the time and loaded in
turns (A B, B A, …), 256-byte values; ours is driven by `client bench`, etcd by h2load, each as it does best and with
0.3 s to warm up: N clients of ours write N keys over one connection (three at 256) and send what waits together, those
of etcd write one key over √N connections with √N streams each. A ratio is the median over the pairs. The floor of one
write is one synced append and two loopback round trips, taken before and after.
"""

import shlex
import statistics
import sys
from typing import Any

from tests.performance.cluster import Cluster
from tests.performance.figures import Figure, Measured
from tests.performance.load import bench
from tests.performance.plan import PEERS, Plan, peers_there, run_peers

CLIENTS = (1, 16, 64, 256)
OPS = ("write", "read")
RATES = {("write", 16): 1.4, ("write", 64): 2.0, ("write", 256): 2.2} | {
    ("read", 16): 1.0,
    ("read", 64): 1.2,
    ("read", 256): 1.2,
}
P50_AT_1 = 0.9
P99_AT_256 = 0.6
WARM_UP_S = 0.3  # that of etcd's side


def measure(plan: Plan) -> Measured:
    seconds = plan.choose(3.0, 1.0)
    with plan.cluster() as cluster:
        if not peers_there():
            return _alone(plan, cluster, seconds)
        floors = [_floor(plan)]
        command = _compare_command(cluster, plan.choose(4, 1), seconds)
        report = run_peers(plan, *command, timeout_s=3600)
        floors.append(_floor(plan))
        costs = _own_costs(cluster, seconds)
    raw = {"compare": report, "floor": floors, "client_us": costs}
    figures = [*_figures(report, floors), *_cost_figures(costs)]
    shown = " ".join(shlex.quote(word) for word in [PEERS.name, *command]).replace(str(plan.folder), "DIR")
    return Measured(
        figures=figures,
        raw=raw,
        commands=[shown.replace(sys.executable, "python"), "../shared/peers/bench floor"],
        doubts=report["doubts"],
    )


def _compare_command(cluster: Cluster, rounds: int, seconds: float) -> list[str]:
    ours = (
        f"{shlex.quote(sys.executable)} -m client --config {shlex.quote(str(cluster.config_file))} bench "
        "--clients {clients} --op {op} --size {size} --seconds {seconds} --json"
        f" --warmup-s {WARM_UP_S:g}"
    )
    load = ["--clients", ",".join(map(str, CLIENTS)), "--op", ",".join(OPS)]
    return ["compare", "--rounds", str(rounds), "--seconds", f"{seconds:g}", *load, "--ours", ours]


def _floor(plan: Plan) -> dict[str, Any]:
    return run_peers(plan, "floor", timeout_s=60)


def _figures(report: dict[str, Any], floors: list[dict[str, Any]]) -> list[Figure]:
    cells = {(cell["op"], cell["clients"]): cell for cell in report["cells"]}
    figures = [_rate(cells[op, clients]) for op in OPS for clients in CLIENTS]
    alone, crowd = cells["write", 1], cells["write", 256]
    p50_ms, floor_ms = alone["ours"]["p50_ms"], statistics.mean(floor["floor_ms"] for floor in floors)
    figures += [
        Figure(
            what="one client's write p50, ours ÷ etcd",
            value=alone["ratio"]["p50_ms"],
            at_most=P50_AT_1,
            note=f"ours {p50_ms:.2f} ms, etcd {alone['etcd']['p50_ms']:.2f} ms",
        ),
        Figure(
            what="one client's write p50 as a multiple of the floor",
            value=p50_ms / floor_ms,
            note=f"the floor is {floor_ms:.3f} ms: one sync and two round trips",
        ),
        Figure(
            what="p99 of writes at 256 clients, ours ÷ etcd",
            value=crowd["ratio"]["p99_ms"],
            at_most=P99_AT_256,
            note=f"ours {crowd['ours']['p99_ms']:.1f} ms, etcd {crowd['etcd']['p99_ms']:.1f} ms",
        ),
    ]
    return figures


def _rate(cell: dict[str, Any]) -> Figure:
    op, clients = cell["op"], cell["clients"]
    plural = "clients" if clients > 1 else "client"
    errors = cell["ours"]["errors"]
    return Figure(
        what=f"{op}s/s at {clients} {plural}, ours ÷ etcd",
        value=cell["ratio"]["ops_per_s"],
        at_least=RATES.get((op, clients)),
        note=f"ours {cell['ours']['ops_per_s']:,.0f}/s, etcd {cell['etcd']['ops_per_s']:,.0f}/s"
        + (f"; {errors} errors" if errors else ""),
    )


def _own_costs(cluster: Cluster, seconds: float) -> dict[str, Any]:
    return {op: bench(cluster.config_file, op=op, clients=64, size=256, seconds=seconds)["client_us"] for op in OPS}


def _cost_figures(costs: dict[str, Any]) -> list[Figure]:
    return [
        Figure(what=f"CPU of `client bench` itself for a {op} at 64 clients", value=cost, unit="µs")
        for op, cost in costs.items()
        if cost is not None
    ]


def _alone(plan: Plan, cluster: Cluster, seconds: float) -> Measured:
    """Without etcd there are no ratios, and the rows say so."""
    plan.say(f"etcd is not set up ({PEERS} and its setup): ours is measured alone, without ratios")
    cells = [
        bench(cluster.config_file, op=op, clients=clients, size=256, seconds=seconds)
        for op in OPS
        for clients in CLIENTS
    ]
    figures = [
        Figure(
            what=f"{cell['op']}s/s at {cell['clients']} client{'s' * (cell['clients'] > 1)}, ours alone",
            value=cell["ops_per_s"],
            note=f"p50 {cell['p50_ms']:.2f} ms, p99 {cell['p99_ms']:.2f} ms; etcd was not there",
        )
        for cell in cells
    ]
    return Measured(figures=figures, raw={"alone": cells})
