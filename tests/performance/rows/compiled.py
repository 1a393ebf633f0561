"""Beside etcd, compiled.

The same as before with the build that `make compiled` makes of the same sources (docs/decisions/0019), for the nodes
and for `client bench`.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from raft_zmq.core.errors import RaftLabError
from tests.performance.figures import Measured
from tests.performance.plan import ROOT, Plan
from tests.performance.rows import compare

BUILD = ROOT / "build" / "compiled"


def measure(plan: Plan) -> Measured:
    plan.say("compiling, about a minute")
    subprocess.run(["make", "--silent", "compiled"], cwd=ROOT, check=True, timeout=600)
    with _in_use():
        return compare.measure(plan)


@contextlib.contextmanager
def _in_use() -> Iterator[None]:
    """Let the processes that are started meanwhile use the compiled build; RaftLabError if they would not."""
    before = os.environ.copy()
    os.environ.update(PYTHONSAFEPATH="1", PYTHONPATH=f"{BUILD}:{ROOT}")
    try:
        asked = [sys.executable, "-c", "import raft_zmq.core.raft as raft; print(raft.__file__)"]
        found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
        if not found.endswith(".so"):
            raise RaftLabError(f"expected the compiled build, found {found}")
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
