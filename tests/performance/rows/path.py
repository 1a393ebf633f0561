"""Where the time of a write goes.

The means of the leader's histogram `raft_stage_seconds` at one client and at 64, the CPU time and the system calls of
leader and follower for each write (from /proc, and by `strace -c`, which slows the node down and is left out of the
times; the other follower is down while one is counted, so that it has to keep up), and how many writes share a sync.
256-byte values.
"""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raft_zmq.core.errors import RaftLabError
from tests.performance.cluster import Cluster
from tests.performance.figures import Figure, Measured
from tests.performance.load import bench
from tests.performance.plan import Plan
from tests.performance.waiting import rest, wait_until

STAGES = ("queue", "append", "sync", "replicate", "commit", "apply", "answer")
CLIENTS = (1, 64)
_CALLS = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", re.MULTILINE)


def measure(plan: Plan) -> Measured:
    seconds = plan.choose(5.0, 1.5)
    figures: list[Figure] = []
    raw: dict[str, Any] = {}
    with plan.cluster() as cluster:
        for clients in CLIENTS:
            times = _times(cluster, clients, seconds)
            calls = _system_calls(cluster, plan.folder, clients, seconds)
            raw[str(clients)] = {"times": times, "system_calls": calls}
            figures += _figures(clients, times, calls)
    return Measured(figures=figures, raw=raw)


def _times(cluster: Cluster, clients: int, seconds: float) -> dict[str, Any]:
    leader, follower = cluster.leader(), cluster.followers()[0]
    bench(cluster.config_file, op="write", clients=clients, size=256, seconds=0.5)
    before, used_before = cluster.metrics(leader), cluster.usage()
    load = bench(cluster.config_file, op="write", clients=clients, size=256, seconds=seconds)
    after, used = cluster.metrics(leader), cluster.usage()

    def grown(sample: str) -> float:
        return after.get(sample, 0.0) - before.get(sample, 0.0)

    writes = grown("raft_proposals_total")
    return {
        "load": load,
        "stages_us": {stage: 1e6 * _mean(grown, f'raft_stage_seconds_%s{{stage="{stage}"}}') for stage in STAGES},
        "turn_us": 1e6 * _mean(grown, "raft_turn_seconds_%s"),
        "writes_a_sync": writes / max(1.0, grown("raft_sync_seconds_count")),
        "cpu_us": {
            "leader": 1e6 * (used[leader].cpu_s - used_before[leader].cpu_s) / writes,
            "follower": 1e6 * (used[follower].cpu_s - used_before[follower].cpu_s) / writes,
        },
    }


def _mean(grown: Any, samples: str) -> float:
    count: float = grown(samples % "count")
    total: float = grown(samples % "sum")
    return total / count if count else 0.0


def _system_calls(cluster: Cluster, folder: Path, clients: int, seconds: float) -> dict[str, dict[str, float]]:
    """Calls for each write, by the node's role and the call's name; {} where there is no strace."""
    if shutil.which("strace") is None:
        return {}
    leader, (follower, other) = cluster.leader(), cluster.followers()
    of_leader = _count(cluster, leader, folder, clients, seconds)
    cluster.kill(other)
    try:
        of_follower = _count(cluster, follower, folder, clients, seconds)
    finally:
        cluster.start(other)
        cluster.wait_until_level()
    return {"leader": of_leader, "follower": of_follower}


def _count(cluster: Cluster, name: str, folder: Path, clients: int, seconds: float) -> dict[str, float]:
    """That node's calls for each write, by the call's name."""
    leader, report = cluster.leader(), folder / f"strace-{name}"
    with _traced(cluster.pid(name), report):
        before = cluster.metrics(leader)["raft_proposals_total"]
        bench(cluster.config_file, op="write", clients=clients, size=256, seconds=seconds, warmup_s=0.1)
        writes = cluster.metrics(leader)["raft_proposals_total"] - before
    calls = {call: round(int(count) / writes, 3) for count, call in _CALLS.findall(report.read_text())}
    calls.pop("total", None)
    report.unlink()
    return calls


@contextlib.contextmanager
def _traced(pid: int, report: Path) -> Iterator[None]:
    """Count the system calls of all threads of a process for the length of the block."""
    command = ["strace", "-f", "-c", "-p", str(pid), "-o", str(report)]
    tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: tracer.poll() is not None or _is_traced(pid), "strace to attach")
        if tracer.poll() is not None:
            assert tracer.stderr is not None
            raise RaftLabError(f"strace: expected it to count, found: {tracer.stderr.read().decode().strip()}")
        yield
    finally:
        tracer.terminate()  # it detaches, and writes its table
        tracer.wait()


def _is_traced(pid: int) -> bool:
    rest(0.1)
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return not any("TracerPid:\t0\n" in status for status in statuses)


def _figures(clients: int, times: dict[str, Any], calls: dict[str, dict[str, float]]) -> list[Figure]:
    plural = "clients" if clients > 1 else "client"
    at = f"{clients} {plural}: "
    figures = [Figure(what=f"{at}{stage}", value=us, unit="µs") for stage, us in times["stages_us"].items()]
    figures += [
        Figure(
            what=f"{at}from submission to answer, in the client",
            value=1000 * times["load"]["p50_ms"],
            unit="µs",
            note="the median",
        ),
        Figure(what=f"{at}writes that share a sync", value=times["writes_a_sync"]),
    ]
    for role in ("leader", "follower"):
        by_name = sorted(calls.get(role, {}).items(), key=lambda item: -item[1])
        note = ", ".join(f"{name} {count:.2g}" for name, count in by_name if count >= 0.02)
        figures.append(Figure(what=f"{at}CPU of the {role} for a write", value=times["cpu_us"][role], unit="µs"))
        if by_name:
            total = sum(count for _, count in by_name)
            figures.append(Figure(what=f"{at}system calls of the {role} for a write", value=total, note=note))
    return figures
