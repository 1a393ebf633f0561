"""Clusters of real processes on loopback, stopped and checked at the end of each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raft_zmq import local
from raft_zmq.client import config
from raft_zmq.client.client import RaftClient

StartCluster = Callable[..., "RunningCluster"]


class RunningCluster:
    """A cluster in its folder, with the few things that tests do to it."""

    def __init__(self, directory: Path, names: list[str], settings: dict[str, str | int | float | bool]) -> None:
        self.directory = directory
        self.names = names
        local.up(directory, names, settings)

    @property
    def config_file(self) -> Path:
        return self.directory / "client.yaml"

    def client(self, timeout_s: float = 10.0) -> RaftClient:
        return RaftClient(config.load(self.config_file), timeout_s=timeout_s)

    def leader(self) -> str:
        """The node that says it leads, in the highest term of those that do."""
        led = [
            (report.status["term"], report.node_id)
            for report in local.status(self.directory)
            if report.status is not None and report.status["role"] == "leader"
        ]
        return str(max(led)[1])

    def followers(self) -> list[str]:
        leader = self.leader()
        return [name for name in self.names if name != leader]

    def kill(self, *names: str) -> None:
        for name in names:
            local.kill(self.directory, name)

    def start(self, *names: str) -> None:
        for name in names:
            local.start(self.directory, name)


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[StartCluster]:
    """Call it with node names (or a number of nodes) and settings for all of them."""
    started: list[RunningCluster] = []

    def start(nodes: int = 3, **settings: str | int | float | bool) -> RunningCluster:
        names = [f"n{number}" for number in range(1, nodes + 1)]
        cluster = RunningCluster(tmp_path / f"cluster{len(started)}", names, settings)
        started.append(cluster)
        return cluster

    yield start
    for cluster in started:
        local.down(cluster.directory)
