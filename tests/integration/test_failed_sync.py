"""A failed sync is fatal (rule 25): the process ends, and what it had promised is kept by the others."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from raft_zmq.core.errors import RaftLabError
from tests.integration.conftest import RunningCluster, StartCluster
from tests.integration.waiting import wait_until

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def on_a_failing_disk(cluster: RunningCluster, name: str, failing: Path) -> "Iterator[subprocess.Popen[str]]":
    """That node as a process of its own whose syncs fail while that file exists."""
    arguments = [str(failing), "--config", str(cluster.directory / f"{name}.yaml")]
    command = [sys.executable, "-m", "tests.integration.failing_node", *arguments]
    with (cluster.directory / f"{name}.log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


def test_a_leader_whose_sync_fails_ends_and_nothing_is_lost(start_cluster: StartCluster, tmp_path: Path) -> None:
    cluster = start_cluster(3)
    failing = tmp_path / "failing"
    cluster.kill("n1")

    def leads() -> bool:
        with cluster.client() as client, contextlib.suppress(RaftLabError):
            client.transfer("n1")
        return {cluster.status(name).get("leader_id") for name in ("n2", "n3")} == {"n1"}

    with cluster.workload(clients=4, ops_per_s=200) as load:
        with on_a_failing_disk(cluster, "n1", failing) as process:
            wait_until(leads, "the node with that disk to lead")
            load.wait_for_answers(50)
            failing.touch()
            assert process.wait(10) == 1
            assert process.stderr is not None
            assert "expected the write to reach the disk, found: [Errno 5] Input/output error" in process.stderr.read()
        (stopped,) = cluster.events("n1", "node_stopped")
        assert "The node stops" in stopped["reason"]
        cluster.wait_for_leader_among(["n2", "n3"])
        load.wait_for_answers(50)
        failing.unlink()
        cluster.start("n1")
        load.wait_for_answers(50)
    cluster.wait_until_equal()
    cluster.judge()
