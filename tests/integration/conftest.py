"""Clusters of real processes on loopback, stopped and checked at the end of each test."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client.verify.gather import gather
from client.verify.rules import judge
from raft_zmq import local
from raft_zmq.client import config
from raft_zmq.client.client import RaftClient
from raft_zmq.core.errors import RaftLabError
from tests.integration.background import Background
from tests.integration.disks import small_disk  # noqa: F401  (a fixture)
from tests.integration.waiting import wait_until

StartCluster = Callable[..., "RunningCluster"]
Setting = str | int | float | bool


class RunningCluster:
    """A cluster in its folder, with the few things that tests do to it."""

    def __init__(self, directory: Path, names: list[str], settings: dict[str, Setting]) -> None:
        self.directory = directory
        self.names = names
        self._workloads = 0
        local.up(directory, names, settings)

    @property
    def config_file(self) -> Path:
        return self.directory / "client.yaml"

    # Asking

    def client(self, *, timeout_s: float = 10.0) -> RaftClient:
        return RaftClient(config.load(self.config_file), timeout_s=timeout_s)

    def raftctl(self, *arguments: str, timeout_s: float = 30) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "raft_zmq.cli.ctl", "--config", str(self.config_file), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)

    def workload(self, **load: float) -> Background:
        """Random clients for the length of a `with` block; `judge` looks at what they saw."""
        self._workloads += 1
        return Background(self.config_file, self.directory / f"history-{self._workloads}.jsonl", **load)

    def statuses(self) -> dict[str, dict[str, Any]]:
        """What each node that answers says of itself."""
        reports = local.status(self.directory)
        return {report.node_id: report.status for report in reports if report.status is not None}

    def status(self, name: str) -> dict[str, Any]:
        """What that node says of itself; {} while it does not answer."""
        return self.statuses().get(name, {})

    def pid(self, name: str) -> int:
        return next(report.pid for report in local.status(self.directory) if report.node_id == name)

    def leader(self) -> str:
        """The node that says it leads, in the highest term of those that do; waits for one."""
        found: list[tuple[int, str]] = []

        def leads() -> bool:
            found[:] = [(said["term"], name) for name, said in self.statuses().items() if said["role"] == "leader"]
            return bool(found)

        wait_until(leads, "a leader")
        return max(found)[1]

    def followers(self) -> list[str]:
        leader = self.leader()
        return [name for name in self.names if name != leader]

    def events(self, name: str, *kinds: str) -> list[dict[str, Any]]:
        """That node's log lines of these kinds."""
        lines = (self.directory / f"{name}.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in found if event["event"] in kinds]

    # Doing

    def kill(self, *names: str) -> None:
        for name in names:
            local.kill(self.directory, name)

    def start(self, *names: str) -> None:
        for name in names:
            local.start(self.directory, name)

    def wipe(self, name: str) -> None:
        """Take away the disk of a node that does not run."""
        shutil.rmtree(self.directory / name)

    def pause(self, name: str) -> None:
        local.stop(self.directory, name)

    def resume(self, name: str) -> None:
        local.cont(self.directory, name)

    def start_outside(self, *names: str) -> list[str]:
        """Start nodes that wait to be added; returns what `raftctl members add` takes."""
        servers = []
        for name in names:
            node = local.add(self.directory, name)
            self.names.append(name)
            servers.append(f"{name}={local.HOST}:{node.peer_port}:{node.client_port}")
        return servers

    def change_members(self, *arguments: str) -> None:
        """`raftctl members ...`, again while a change that the cluster makes by itself is under way."""

        def done() -> bool:
            result = self.raftctl("members", *arguments)
            assert result.returncode == 0 or "in progress" in result.stderr or "not ready" in result.stderr, result
            return result.returncode == 0

        wait_until(done, f"raftctl members {' '.join(arguments)} to go through")

    def transfer(self, target: str = "") -> str:
        """Hand leadership over, again until it has happened; the new leader."""
        before = self.leader()

        def moved() -> bool:
            with contextlib.suppress(RaftLabError):  # "not now", or "unknown": the look at the leader tells
                client.transfer(target)
            return self.leader() == target if target else self.leader() != before

        with self.client() as client:
            wait_until(moved, f"leadership to move to {target or 'another node'}")
        return self.leader()

    def partition(self, *groups: list[str]) -> None:
        """Only nodes of the same group hear each other."""
        with self.client() as client:
            for group in groups:
                for name in group:
                    others = [other for other_group in groups if other_group is not group for other in other_group]
                    client.fault(self.address(name), "partition", others)

    def heal(self) -> None:
        """End all injected faults."""
        with self.client() as client:
            for name in self.statuses():
                client.fault(self.address(name), "clear")

    def address(self, name: str) -> str:
        """Where clients reach that node."""
        return next(report.client_address for report in local.status(self.directory) if report.node_id == name)

    # Waiting and judging

    def wait_for_leader_among(self, names: list[str]) -> str:
        """The leader that all of them name, in the same term."""
        named: set[tuple[str, int]] = set()

        def agreed() -> bool:
            said = [self.status(name) for name in names]
            named.clear()
            named.update((status.get("leader_id", ""), status.get("term", 0)) for status in said)
            return len(named) == 1 and next(iter(named))[0] in names

        wait_until(agreed, f"one leader that {', '.join(names)} agree on")
        return next(iter(named))[0]

    def wait_for_voters(self, *names: str) -> None:
        """Until those, and no others, vote, and each of them knows it."""

        def settled() -> bool:
            said = self.statuses()
            return all(
                name in said
                and (said[name]["voters"], said[name]["outgoing"], said[name]["learners"]) == (sorted(names), [], [])
                for name in names
            )

        wait_until(settled, f"the voters {', '.join(names)}")

    def wait_until_equal(self, *names: str) -> None:
        """Until these nodes (or all) have applied the same entries; the cluster must be at rest."""
        names = names or tuple(self.names)

        def equal() -> bool:
            said = self.statuses()
            applied = {(said[name]["last_applied"], said[name]["digest"]) for name in names if name in said}
            return len(applied) == 1 and all(name in said for name in names)

        wait_until(equal, f"equal states of {', '.join(names)}")

    def judge(self) -> None:
        """Hold all logs and histories so far to every property that they can show (client/verify)."""
        verdict = judge(gather(self.directory))
        for check in verdict.checks:
            assert check.status != "fail", f"{check.name} ({check.section}): {check.violations}"
        if self._workloads:
            passed = {check.name for check in verdict.checks if check.status == "pass"}
            assert {"Linearizability", "No acknowledged write lost", "State Machine Safety"} <= passed


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[StartCluster]:
    """Call it with a number of nodes and settings for all of them."""
    started: list[RunningCluster] = []

    def start(nodes: int = 3, **settings: Setting) -> RunningCluster:
        cluster = RunningCluster(tmp_path / f"cluster{len(started)}", _names(nodes), settings)
        started.append(cluster)
        return cluster

    yield start
    for cluster in started:
        local.down(cluster.directory)


@pytest.fixture(scope="module")
def cluster_of_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """One cluster for all tests of a file that only ask, and leave it as it was."""
    cluster = RunningCluster(tmp_path_factory.mktemp("shared"), _names(3), {})
    yield cluster
    local.down(cluster.directory)


def _names(nodes: int) -> list[str]:
    return [f"n{number}" for number in range(1, nodes + 1)]
