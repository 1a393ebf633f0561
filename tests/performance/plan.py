"""How a run is to be made: which folder, how long, and whether etcd is there to be measured beside."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from raft_zmq.core.errors import RaftLabError
from tests.performance import cluster as clusters
from tests.performance.cluster import Cluster, Setting

ROOT = Path(__file__).parents[2]
PEERS = ROOT.parent / "shared" / "peers" / "bench"

_T = TypeVar("_T")


class Plan(msgspec.Struct, frozen=True):
    """Handed to every row."""

    folder: Path  # for clusters, on the disk that is to be measured
    quick: bool
    minutes: float | None = None

    def choose(self, full: _T, quick: _T) -> _T:
        """One of two sizes of a measurement."""
        return quick if self.quick else full

    def length_s(self, full_minutes: float, quick_s: float) -> float:
        """How long a row takes that --minutes is about."""
        return 60 * self.minutes if self.minutes is not None else self.choose(60 * full_minutes, quick_s)

    @contextlib.contextmanager
    def cluster(self, nodes: int = 3, name: str = "cluster", **settings: Setting) -> Iterator[Cluster]:
        """A fresh cluster with default settings but for those given."""
        with clusters.running(self.folder / name, nodes, settings) as running:
            yield running

    def say(self, text: str) -> None:
        """Tell the person who waits."""
        print(f"  {text}", file=sys.stderr, flush=True)


def peers_there() -> bool:
    """Whether etcd can be measured beside: the command is there, and what it has set up."""
    home = Path(os.environ.get("PEERS_HOME") or Path.home() / ".cache" / "raft-peers")
    return PEERS.exists() and (home / "bin" / "etcd").exists()


def run_peers(plan: Plan, *arguments: str, timeout_s: float) -> dict[str, Any]:
    """The JSON object of that command; etcd's data lies on the same disk as ours. Raises RaftLabError."""
    environment = {**os.environ, "PEERS_DATA": str(plan.folder)}
    done = subprocess.run(
        [PEERS, *arguments, "--json"], capture_output=True, text=True, timeout=timeout_s, env=environment, check=False
    )
    if done.returncode:
        raise RaftLabError(f"{PEERS.name} {arguments[0]}: expected figures, found: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
