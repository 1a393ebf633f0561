"""Random clients that go on in a thread while a test does things to their cluster, and their history."""

import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from client.history import Asked, HistoryWriter, Record, Result
from client.workload import Keys, RandomClient, Recorder
from raft_zmq.client import config
from raft_zmq.client.client import open_engine
from tests.integration.waiting import wait_until

TIMEOUT_S = 10.0


class PacedClient(RandomClient):
    """Rests between two operations until it is told to go on, so that a history stays small enough to be judged."""

    resting = True

    def next(self) -> None:
        self.resting = True

    def go_on(self) -> None:
        self.resting = False
        super().next()


class Background:
    """A workload as a context: it runs until the end of the block, and then reads every key once more.

    `counts` and the gaps between acknowledgements are known after the block.
    """

    def __init__(
        self, config_file: Path, history: Path, *, clients: int = 8, keys: int = 10, ops_per_s: float = 200.0
    ) -> None:
        self._config = config.load(config_file)
        self._history = history
        self._clients = clients
        self._keys = keys
        self._pause_s = clients / ops_per_s
        self._ending = threading.Event()
        self._begun = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="workload", daemon=True)
        self.counts: Counter[tuple[str, Result]] = Counter()

    def __enter__(self) -> "Background":
        self._thread.start()
        assert self._begun.wait(30), "expected an acknowledged operation within 30 s"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join(6 * TIMEOUT_S)
        if kind is None:
            assert not self._thread.is_alive(), "the workload did not end"
            if self._error is not None:
                raise self._error

    def wait_for_answers(self, number: int = 50) -> None:
        """Until so many more operations have been answered."""
        before = self._answered()
        wait_until(lambda: self._answered() >= before + number, f"{number} more answers to the workload")

    def _answered(self) -> int:
        return sum(count for (_, result), count in self.counts.copy().items() if result == "ok")

    def longest_silence_s(self) -> float:
        """The longest time in which not a single write was acknowledged."""
        records = [msgspec.json.decode(line, type=Record) for line in self._history.read_bytes().splitlines()]
        writes = [record for record in records if record.op != "get"]
        moments = sorted(record.return_ for record in writes if record.result == "ok" and record.return_ is not None)
        return max(later - earlier for earlier, later in itertools.pairwise(moments)) / 1e9

    def _run(self) -> None:
        engine = open_engine(self._config)
        tag = os.urandom(3).hex()
        keys = Keys(self._keys, tag)
        try:
            with HistoryWriter(self._history) as history:
                recorder = Recorder(history)
                self.counts = recorder.counts

                def make(name: str, operations: Iterator[Asked], *, writes: bool = True) -> PacedClient:
                    return PacedClient(engine, TIMEOUT_S, 0, name, recorder, keys, operations, writes=writes)

                clients = [make(f"{tag}-{number}", _drawn(keys, f"{tag}-{number}")) for number in range(self._clients)]
                self._turn(clients, self._ending)
                reads = iter([Asked("get", key) for key in keys.all()])
                self._turn([make(f"{tag}-reader", reads, writes=False)], threading.Event())
        except Exception as error:  # noqa: BLE001  # raised again where the block ends
            self._error = error
        finally:
            self._begun.set()
            engine.close()

    def _turn(self, clients: list[PacedClient], ending: threading.Event) -> None:
        """Let each go on every `pause_s`, until `ending` or until they have nothing more to ask."""
        engine = clients[0].engine
        due_s = {client.name: time.monotonic() for client in clients}
        while not all(client.ended for client in clients):
            now_s = time.monotonic()
            for client in clients:
                client.stopping = client.stopping or ending.is_set()
                if client.resting and not client.ended and (now_s >= due_s[client.name] or client.stopping):
                    due_s[client.name] = now_s + self._pause_s
                    client.go_on()
            engine.turn(self._pause_s / 4)
            if self._answered():
                self._begun.set()
        for client in clients:
            if client.trouble is not None:
                raise client.trouble


def _drawn(keys: Keys, name: str) -> Iterator[Asked]:
    rng = random.Random(name)
    number = 0
    while True:
        number += 1
        yield keys.draw(rng, f"{name}.{number}")
