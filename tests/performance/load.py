"""Load: `python -m client bench` in a process of its own, and loads of other shapes in this one."""

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from client.loop import ClosedLoop
from raft_zmq.client.calls import Call
from raft_zmq.client.engine import Engine
from raft_zmq.core.errors import RaftLabError
from raft_zmq.wire.commands import Operation

_OWN_COST = re.compile(r"([\d.]+) µs an operation")


def bench_command(config_file: Path, **options: object) -> list[str]:
    """The command line of `client bench` with these options; `clients=16` is --clients 16."""
    given = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "client", "--config", str(config_file), "bench", "--json", "--verbose", *given]


def bench(config_file: Path, *, seconds: float, **options: object) -> dict[str, Any]:
    """Its figures, with `client_us`, what the client itself costs for each operation."""
    command = bench_command(config_file, seconds=seconds, **options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise RaftLabError(f"client bench: expected it to measure, found exit code {done.returncode}: {said}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    cost = _OWN_COST.search(done.stderr)
    return {**figures, "client_us": float(cost[1]) if cost else None}


@contextlib.contextmanager
def under_load(
    command: Sequence[str], processes: int = 1, *, own_session: bool = False
) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """That command in so many processes for the length of the block, which has to be the shorter of the two."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen(command, **quiet, start_new_session=own_session) for _ in range(processes)]
    try:
        yield running
        for process in running:
            if process.poll() is not None:
                raise RaftLabError(f"expected load all the while, found that it ended with {process.returncode}")
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


class Writes(ClosedLoop):
    """Does the operations of an iterator that many may share, one after the other; ends with it."""

    def __init__(self, engine: Engine, operations: Iterator[Operation], lane: int = 0, timeout_s: float = 60.0) -> None:
        super().__init__(engine, timeout_s, lane)
        self._operations = operations
        self._begun_s = 0.0
        self.latencies_s: list[float] = []
        self.errors = 0

    def go(self) -> None:
        operation = next(self._operations, None)
        if operation is None:
            self.ended = True
            return
        assert self.session is not None, "next() has opened one"
        self._begun_s = time.perf_counter()
        self.engine.write(self.session.next_command(operation), self.timeout_s, self._answered, self.lane)

    def _answered(self, call: Call) -> None:
        if call.error is None:
            self.latencies_s.append(time.perf_counter() - self._begun_s)
        else:
            self.errors += 1
            self.note(call.error)
        self.next()


def write_all(engine: Engine, operations: Iterator[Operation], clients: int = 64) -> int:
    """Do all the operations with so many under way, over two connections; how many were done."""
    writers = [Writes(engine, operations, number % 2) for number in range(clients)]
    for writer in writers:
        writer.next()
    turn_until(engine, lambda: all(writer.ended for writer in writers))
    raise_trouble(writers)
    if errors := sum(writer.errors for writer in writers):
        raise RaftLabError(f"expected every write to be acknowledged, found {errors} that were not")
    return sum(len(writer.latencies_s) for writer in writers)


def turn_until(engine: Engine, condition: Callable[[], bool], step_s: float = 0.1) -> None:
    """Let the clients of that engine go on until the condition holds."""
    while not condition():
        engine.turn(step_s)


def raise_trouble(clients: list[Writes]) -> None:
    """An error that does not go away by itself is the measurement's end."""
    for client in clients:
        if client.trouble is not None:
            raise client.trouble


def percentile(values: list[float], share: float) -> float:
    """The nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
