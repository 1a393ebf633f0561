"""The same way without Raft.

What libraries, disk and processors take by themselves: four processes with the product's sockets, CURVE and as many
connections bring each record from a client over a leader to two followers, write and sync it three times in their
loops, and answer once two of the three have it. There is no term, no index, no checksum, no log in memory, no state
machine, no snapshot, no election, and nobody who asks who may connect (tests/performance/skeleton.py). It runs in turns
with ours, and with etcd as ours does above.
"""

import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from raft_zmq.core.errors import RaftLabError
from tests.performance.disk import synced_bytes_per_s
from tests.performance.figures import Figure, Measured
from tests.performance.load import bench
from tests.performance.plan import Plan, peers_there, run_peers

COPIES = 3
VALUE_BYTES = 1 << 20
COMMAND = [sys.executable, "-m", "tests.performance.skeleton"]


def measure(plan: Plan) -> Measured:
    rounds = plan.choose(4, 1)
    with plan.cluster() as cluster:
        alone, large, disk = [], [], []
        for number in range(rounds):
            alone.append(_pair(plan, cluster.config_file, number, 1, 256, plan.choose(3.0, 1.0)))
        for number in range(rounds):
            disk.append(synced_bytes_per_s(plan.folder, 2.0))
            large.append(_pair(plan, cluster.config_file, number, 16, VALUE_BYTES, plan.choose(8.0, 3.0)))
    report = _beside_etcd(plan, rounds) if peers_there() else None
    return Measured(
        figures=[*lone_figures(alone, report), *rate_figures(large, disk)],
        raw={"one client": alone, "1 MiB": large, "disk_bytes_per_s": disk, "compare": report},
        doubts=report["doubts"] if report else [],
    )


def _pair(plan: Plan, config_file: Path, number: int, clients: int, size: int, seconds: float) -> dict[str, Any]:
    """The figures of both, in an order that changes from round to round."""
    sides = {
        "ours": lambda: bench(config_file, op="write", clients=clients, size=size, seconds=seconds),
        "without": lambda: _run(plan, clients, size, seconds),
    }
    order = sorted(sides, reverse=bool(number % 2))
    return {side: sides[side]() for side in order}


def _run(plan: Plan, clients: int, size: int, seconds: float) -> dict[str, Any]:
    options = ["--clients", str(clients), "--size", str(size), "--seconds", f"{seconds:g}"]
    command = [*COMMAND, str(plan.folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise RaftLabError(f"skeleton: expected it to measure, found exit code {done.returncode}: {said}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _beside_etcd(plan: Plan, rounds: int) -> dict[str, Any]:
    command = shlex.join([*COMMAND, str(plan.folder)]) + " --clients {clients} --size {size} --seconds {seconds}"
    load = ["--clients", "1", "--op", "write", "--seconds", f"{plan.choose(3.0, 1.0):g}"]
    return run_peers(plan, "compare", "--rounds", str(rounds), *load, "--ours", command, timeout_s=600)


def lone_figures(pairs: list[dict[str, Any]], report: dict[str, Any] | None) -> list[Figure]:
    """What of a lone write's latency is not the libraries' and the disk's."""
    ours, without = (statistics.median(pair[side]["p50_ms"] for pair in pairs) for side in ("ours", "without"))
    ratio = statistics.median(pair["ours"]["p50_ms"] / pair["without"]["p50_ms"] for pair in pairs)
    note = f"ours {ours:.2f} ms, without {without:.2f} ms"
    figures = [Figure(what="one client's write p50, ours ÷ without Raft", value=ratio, note=note)]
    if report is not None:
        cell = report["cells"][0]
        note = f"without {cell['ours']['p50_ms']:.2f} ms, etcd {cell['etcd']['p50_ms']:.2f} ms"
        ratio = cell["ratio"]["p50_ms"]
        figures.append(Figure(what="one client's write p50, without Raft ÷ etcd", value=ratio, note=note))
    return figures


def rate_figures(pairs: list[dict[str, Any]], disk: list[float]) -> list[Figure]:
    """How near large values come to what the libraries allow, and these to the disk."""
    ours, without = (
        statistics.median(pair[side]["ops_per_s"] * VALUE_BYTES for pair in pairs) for side in ("ours", "without")
    )
    share = statistics.median(disk) / COPIES
    note = f"without {without / 1e6:,.0f} MB/s, a third of the disk {share / 1e6:,.0f} MB/s"
    return [
        Figure(
            what="bytes of 1 MiB values a second, ours ÷ without Raft",
            value=statistics.median(pair["ours"]["ops_per_s"] / pair["without"]["ops_per_s"] for pair in pairs),
            note=f"ours {ours / 1e6:,.0f} MB/s",
        ),
        Figure(
            what=f"the same without Raft ÷ (rate of the disk ÷ {COPIES} copies)",
            value=without / share,
            note=note,
        ),
    ]
