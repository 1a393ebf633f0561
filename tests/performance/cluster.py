"""The cluster that is measured: real node processes, on the disk of the checkout, with default settings."""

import contextlib
import json
import os
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raft_zmq import local
from raft_zmq.client import config
from raft_zmq.client.client import RaftClient, open_engine
from raft_zmq.client.engine import Engine
from raft_zmq.core.errors import RaftLabError
from tests.performance import machine
from tests.performance.waiting import wait_until

Setting = str | int | float | bool


class Cluster:
    """A running cluster in its folder."""

    def __init__(self, directory: Path, names: list[str]) -> None:
        self.directory = directory
        self.names = names

    @property
    def config_file(self) -> Path:
        return self.directory / "client.yaml"

    def client(self, timeout_s: float = 30.0) -> RaftClient:
        return RaftClient(config.load(self.config_file), timeout_s=timeout_s)

    def engine(self) -> Engine:
        return open_engine(config.load(self.config_file))

    def reports(self) -> dict[str, local.NodeReport]:
        return {report.node_id: report for report in local.status(self.directory)}

    def statuses(self) -> dict[str, dict[str, Any]]:
        """What each node that answers says of itself."""
        return {name: report.status for name, report in self.reports().items() if report.status is not None}

    def leader(self) -> str:
        """The node that leads in the highest term; waits for one."""
        found: list[tuple[int, str]] = []

        def leads() -> bool:
            found[:] = [(said["term"], name) for name, said in self.statuses().items() if said["role"] == "leader"]
            return bool(found)

        wait_until(leads, "a leader")
        return max(found)[1]

    def followers(self) -> list[str]:
        leader = self.leader()
        return [name for name in self.names if name != leader]

    def address(self, name: str) -> str:
        """Where that node listens for clients."""
        return self.reports()[name].client_address

    def pid(self, name: str) -> int:
        return self.reports()[name].pid

    def usage(self) -> dict[str, machine.Usage]:
        """What each running node uses."""
        return {name: machine.usage(report.pid) for name, report in self.reports().items() if report.pid}

    def kill_at_once(self, pid: int) -> None:
        """SIGKILL and nothing else, so that a measurement can begin with it."""
        os.kill(pid, signal.SIGKILL)

    def kill(self, name: str) -> None:
        local.kill(self.directory, name)

    def start(self, name: str) -> None:
        local.start(self.directory, name)

    def wait_until_level(self, timeout_s: float = 60.0) -> None:
        """Until every node is ready and has applied what the leader had committed by now."""
        wait_until(lambda: any(said["role"] == "leader" for said in self.statuses().values()), "a leader")
        committed = max(said["commit_index"] for said in self.statuses().values())

        def level() -> bool:
            said = self.statuses()
            return all(name in said and said[name]["ready"] for name in self.names) and all(
                status["last_applied"] >= committed for status in said.values()
            )

        wait_until(level, "every node to catch up", timeout_s)

    def count_events(self, *kinds: str) -> dict[str, int]:
        """How many lines of each kind the nodes have logged so far."""
        counts = dict.fromkeys(kinds, 0)
        for name in self.names:
            for line in (self.directory / f"{name}.log").read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError):
                    event = json.loads(line).get("event")
                    if event in counts:
                        counts[event] += 1
        return counts

    def metrics(self, name: str) -> dict[str, float]:
        """GET /metrics of that node: each sample by its name with labels."""
        with urllib.request.urlopen(f"http://{self.reports()[name].http_address}/metrics", timeout=5) as response:
            lines = response.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {sample: float(value) for sample, _, value in samples}


@contextlib.contextmanager
def running(directory: Path, nodes: int = 3, settings: dict[str, Setting] | None = None) -> Iterator[Cluster]:
    """A fresh cluster for the length of a `with` block; its folder is removed unless something went wrong."""
    if (directory / "cluster.yaml").exists():
        local.down(directory)  # what a run that was killed has left
    shutil.rmtree(directory, ignore_errors=True)
    names = [f"n{number}" for number in range(1, nodes + 1)]
    local.up(directory, names, settings)
    try:
        yield Cluster(directory, names)
    except (OSError, RaftLabError) as error:
        raise RaftLabError(f"{error} (the nodes' logs are in {directory})") from error
    else:
        local.down(directory)
        shutil.rmtree(directory)
    finally:
        if directory.exists():
            local.down(directory)
