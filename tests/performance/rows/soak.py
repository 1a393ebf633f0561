"""Leaders killed for twenty minutes.

Every 30 s the leader is killed and started again. 16 clients load the cluster all the while; beside them 8 clients
whose operations are recorded do random ones on 20 keys. At the end the verifier judges all logs and the history.
Memory is that of the three nodes together, its mean over the minutes four to six, and over the last two.
"""

import statistics
import time

from client.verify.gather import gather
from client.verify.rules import judge
from client.verify.verdict import Verdict
from raft_zmq.core.errors import RaftLabError
from tests.integration.background import Background
from tests.performance.cluster import Cluster
from tests.performance.figures import Figure, Measured
from tests.performance.load import bench_command, under_load
from tests.performance.plan import Plan
from tests.performance.waiting import rest

KILL_EVERY_S = 30.0
GROWTH_MAX = 1.1
SAMPLE_EVERY_S = 1.0
LOST = "No acknowledged write lost"


def measure(plan: Plan) -> Measured:
    seconds = plan.length_s(20, 40.0)
    with plan.cluster() as cluster:
        history = cluster.directory / "history-1.jsonl"
        with (
            under_load(_load(cluster, seconds + KILL_EVERY_S + 60)),
            Background(cluster.config_file, history, clients=8, keys=20, ops_per_s=80.0) as recorded,
        ):
            samples, kills = _kill_and_sample(plan, cluster, seconds)
        verdict, silence_s = judge(gather(cluster.directory)), recorded.longest_silence_s()
        cluster.wait_until_level()
    early, late = _mean(samples, 240, 360, seconds), _mean(samples, seconds - 120, seconds, seconds)
    figures = [
        *verdict_figures(verdict, kills),
        Figure(
            what="memory at the end ÷ at minute five",
            value=late / early,
            at_most=GROWTH_MAX,
            note=f"{early / 1e6:.0f} MB and {late / 1e6:.0f} MB, all nodes together",
        ),
        Figure(what="longest time without an acknowledged write", value=silence_s, unit="s"),
    ]
    checks = {check.name: check.status for check in verdict.checks}
    return Measured(figures=figures, raw={"kills": kills, "resident": samples, "checks": checks, "seconds": seconds})


def verdict_figures(verdict: Verdict, kills: int) -> list[Figure]:
    """What the verifier found: a check that fails is a figure, not the end of the measurement."""
    lost = next(check for check in verdict.checks if check.name == LOST)
    failed = [check.name for check in verdict.checks if check.status == "fail"]
    if lost.status == "vacuous":
        raise RaftLabError(f"soak: expected acknowledged writes to look for, found: {lost.detail}")
    return [
        Figure(what="acknowledged writes lost", value=len(lost.violations), at_most=0, note=f"{kills} kills"),
        Figure(what="checks of the verifier that failed", value=len(failed), at_most=0, note=", ".join(failed)),
    ]


def _load(cluster: Cluster, seconds: float) -> list[str]:
    return bench_command(cluster.config_file, op="mixed", clients=16, size=256, seconds=seconds, timeout_s=30)


def _kill_and_sample(plan: Plan, cluster: Cluster, seconds: float) -> tuple[list[tuple[float, int]], int]:
    """(seconds since the beginning, resident bytes of all nodes) each second, and how often a leader was killed."""
    begun_s, kills = time.monotonic(), 0
    samples: list[tuple[float, int]] = []
    while (at_s := time.monotonic() - begun_s) < seconds:
        if at_s >= (kills + 1) * KILL_EVERY_S:
            leader = cluster.leader()
            cluster.kill(leader)
            cluster.start(leader)
            cluster.wait_until_level()
            kills += 1
            plan.say(f"{at_s / 60:.1f} min: killed {leader}, {samples[-1][1] / 1e6:.0f} MB before")
        samples.append((round(at_s, 1), sum(used.resident_bytes for used in cluster.usage().values())))
        rest(SAMPLE_EVERY_S)
    return samples, kills


def _mean(samples: list[tuple[float, int]], begin_s: float, end_s: float, whole_s: float) -> float:
    """The mean of the samples in that time; of a run too short for it, of its first or last third."""
    if whole_s < 2 * 360:
        begin_s, end_s = (whole_s / 3, 2 * whole_s / 3) if begin_s == 240 else (2 * whole_s / 3, whole_s)
    return statistics.mean(resident for at_s, resident in samples if begin_s <= at_s <= end_s)
