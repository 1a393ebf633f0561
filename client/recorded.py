"""A client whose every operation goes into the history, and is counted for /metrics."""

import time

from prometheus_client import CollectorRegistry, Counter, Histogram

from client.history import Asked, now_ns
from client.operations import HistoryOutput, to_history, to_wire
from client.workload import Recorder, result_of
from raft_zmq.client.client import RaftClient
from raft_zmq.client.errors import OperationError
from raft_zmq.client.session import Session
from raft_zmq.core.errors import RaftLabError
from raft_zmq.wire.commands import Get, Outcome


class Metrics:
    """What GET /metrics shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.operations = Counter(
            "raft_client_operations", "Operations by kind and result", ["op", "result"], registry=self.registry
        )
        self.seconds = Histogram(
            "raft_client_operation_seconds", "From the call to the answer", ["op"], registry=self.registry
        )
        self.steps = Counter("raft_client_steps", "Steps of the scenario by result", ["result"], registry=self.registry)


class RecordedClient:
    """A RaftClient that speaks the language of the history: text keys and values."""

    def __init__(self, client: RaftClient, name: str, recorder: Recorder, metrics: Metrics) -> None:
        self.client = client
        self.name = name
        self._recorder = recorder
        self._metrics = metrics
        self._session: Session | None = None
        self._number = 0

    @property
    def session(self) -> Session:
        """The session of the writes."""
        if self._session is None:
            self._session = self.client.open_session()
        return self._session

    def do(self, asked: Asked, times: int = 1) -> list[HistoryOutput]:
        """Ask it `times` times over, as one request: the very same bytes, session and number. All answers, in order."""
        self._number += 1
        number, called_ns, started = self._number, now_ns(), time.perf_counter()
        wire = to_wire(asked)
        outputs: list[HistoryOutput] = []
        try:
            if isinstance(wire, Get):
                outputs.append(to_history(Outcome(self.client.query(wire))))
            else:
                command = self.session.next_command(wire)
                for _ in range(times):
                    outputs.append(to_history(Outcome(self.client.send_command(command))))
        except RaftLabError as error:
            self._session = None  # a number without an answer: this session has done its duty
            if outputs:  # what was answered once has happened
                self._done(number, asked, called_ns, outputs[-1], started)
            else:
                self._failed(number, asked, called_ns, error)
            raise
        except BaseException:  # Ctrl-C, say: it may have happened, and others may have seen it
            self._recorder.record(self.name, number, asked, called_ns, "unknown")
            raise
        self._done(number, asked, called_ns, outputs[-1], started)
        return outputs

    def one(self, asked: Asked) -> HistoryOutput:
        """Ask it once; its answer."""
        return self.do(asked)[0]

    def _done(self, number: int, asked: Asked, called_ns: int, output: HistoryOutput, started: float) -> None:
        self._recorder.record(self.name, number, asked, called_ns, "ok", output)
        self._metrics.operations.labels(asked.op, "ok").inc()
        self._metrics.seconds.labels(asked.op).observe(time.perf_counter() - started)

    def _failed(self, number: int, asked: Asked, called_ns: int, error: RaftLabError) -> None:
        result = "unknown" if isinstance(error, OperationError) else result_of(asked, error)
        self._recorder.record(self.name, number, asked, called_ns, result)
        self._metrics.operations.labels(asked.op, result).inc()
