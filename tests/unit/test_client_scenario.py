"""The scenario against a node that keeps its word, and against some that do not; and how it is told."""

import io
import json
import urllib.request
from collections.abc import Iterator

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter

from client.cluster_steps import first_difference, said, summary
from client.history import Asked, HistoryWriter
from client.listen import Listener
from client.recorded import Metrics, RecordedClient
from client.scenario import Plan, Scenario
from client.story import Outcome, Progress, StepFailedError, Story
from client.workload import Recorder
from raft_zmq.client.client import RaftClient
from raft_zmq.client.errors import RefusedError
from raft_zmq.client.survey import Surveyed
from raft_zmq.core.errors import SettingsError
from raft_zmq.wire.client_messages import Done, LogEntry, LogRange, Read, Refused, Request, Status, Write
from raft_zmq.wire.commands import Outcome as Answered
from tests.unit.client_fakes import FakeNode, Follower, Leader, config, status

EMPTY = msgspec.msgpack.encode(Answered())


@pytest.fixture
def nodes() -> Iterator[tuple[FakeNode, FakeNode]]:
    two = FakeNode("a"), FakeNode("b")
    yield two
    for node in two:
        node.stop()


def tell(
    tmp_path, *nodes: FakeNode, deadline_s: float = 20.0, as_json: bool = False
) -> tuple[bool, str, list[Outcome]]:
    out = io.StringIO()
    metrics = Metrics()
    progress = Progress(name="client", url="http://client:1", service=nodes[0].address)
    story = Story(progress, metrics.steps, as_json=as_json, out=out)
    plan = Plan(
        service=nodes[0].address, tag="t", name="client", writes=3, burst_clients=2, burst_s=0.1, deadline_s=deadline_s
    )
    with HistoryWriter(tmp_path / "history.jsonl") as history, RaftClient(config(*nodes)) as client:
        held = Scenario(client, plan, story, history, metrics).run()
    return held, out.getvalue(), progress.steps


def test_every_step_holds_against_a_node_that_keeps_its_word(nodes, tmp_path):
    Leader(nodes[0])
    held, text, steps = tell(tmp_path, nodes[0])
    assert held, text
    assert text.endswith(f"RESULT: passed, {len(steps)} of {len(steps)} steps held\n")
    assert len(steps) >= 18
    assert "\x1b" not in text
    assert "incr t/once by 1, sent 3 times with one and the same number → 1, 1, 1" in text
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert {line["client"] for line in lines} >= {"client-t", "tb-0", "tb-1"}
    assert sum(line["op"] == "put" and line["client"] == "client-t" for line in lines) == 3


def test_leader_is_found_through_a_follower(nodes, tmp_path):
    Follower(nodes[0], leader=nodes[1]), Leader(nodes[1])
    _, text, steps = tell(tmp_path, *nodes, deadline_s=1.0)
    assert steps[0].held
    assert "a, follower of term 1: b leads, at " in text
    assert "b: I lead term 1" in text


def test_no_leader_ends_the_run(nodes, tmp_path):
    Follower(nodes[0])
    held, text, steps = tell(tmp_path, nodes[0], deadline_s=0.5)
    assert not held
    assert len(steps) == 1
    assert "I know no leader" in text
    assert "RESULT: failed, 0 of 1 steps held" in text


def broken(leader: Leader, kind: type, change) -> None:
    """Let the node answer requests of that kind with what `change` makes of the right answer."""

    def answer(request: Request):
        right = leader(request)
        return change(request, right) if isinstance(request, kind) and isinstance(right, Done) else right

    leader.node.answer = answer


def failed(steps: list[Outcome]) -> list[str]:
    return [step.title for step in steps if not step.held]


def test_lost_writes_are_noticed(nodes, tmp_path):
    broken(Leader(nodes[0]), Read, lambda request, right: Done(request.request_id, EMPTY))
    held, text, steps = tell(tmp_path, nodes[0])
    assert not held
    assert "read them back" in failed(steps)
    assert "answered None, expected 't-value-1'" in text


def test_a_request_applied_twice_is_noticed(nodes, tmp_path):
    leader = Leader(nodes[0])
    totals = iter(range(1, 100))

    def count(request, right):
        outcome = msgspec.msgpack.decode(right.body, type=Answered)
        counted = type(outcome.output) is int and b"t/once" in request.command
        return Done(request.request_id, msgspec.msgpack.encode(Answered(next(totals)))) if counted else right

    broken(leader, Write, count)
    held, _, steps = tell(tmp_path, nodes[0])
    assert not held
    assert "send an acknowledged request again" in failed(steps)


def test_different_logs_are_noticed(nodes, tmp_path):
    leader = Leader(nodes[0])
    twin = Leader(nodes[1], replica=leader.replica)
    twin.entries = leader.entries

    def both(request, right):
        names = {node.node_id: node.address for node in nodes}
        now = msgspec.structs.replace(msgspec.msgpack.decode(right.body, type=type(leader.status())), voters=("a", "b"))
        return Done(request.request_id, msgspec.msgpack.encode(msgspec.structs.replace(now, client_addresses=names)))

    def follow(request, right):
        now = msgspec.msgpack.decode(both(request, right).body, type=type(leader.status()))
        now = msgspec.structs.replace(now, role="follower", leader_id="a", leader_address=nodes[0].address)
        return Done(request.request_id, msgspec.msgpack.encode(now))

    def other_log(request, right):
        if isinstance(request, Status):
            return follow(request, right)
        entries = msgspec.msgpack.decode(right.body, type=list[LogEntry])
        entries = [msgspec.structs.replace(e, checksum=e.checksum + 1) if e.index == 4 else e for e in entries]
        return Done(request.request_id, msgspec.msgpack.encode(entries))

    broken(leader, Status, both)
    broken(twin, Status | LogRange, other_log)
    held, text, steps = tell(tmp_path, *nodes)
    assert not held
    assert "ask every node for its log and compare" in failed(steps)
    assert "entry 4 differs: " in text


def test_story_as_json_is_one_object_a_line(nodes, tmp_path):
    Leader(nodes[0])
    _, text, steps = tell(tmp_path, nodes[0], as_json=True)
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[-1]["event"] == "result"
    assert lines[-1]["result"] == "passed"
    assert [line["title"] for line in lines if line["event"] == "step"] == [step.title for step in steps]


def test_failed_step_does_not_end_the_story():
    out = io.StringIO()
    counter = Counter("steps", "", ["result"], registry=CollectorRegistry())
    story = Story(Progress(name="", url="", service=""), counter, as_json=False, out=out)
    with story.step("one", "yes") as step:
        step.check(False, "no")
    with story.step("two", "yes") as step:
        raise StepFailedError("never")
    with story.step("three", "yes") as step:
        step.check(True, "yes")
    assert not story.result()
    assert [outcome.held for outcome in story.progress.steps] == [False, False, True]
    assert "did not hold: step 2, two: never" in out.getvalue()
    assert out.getvalue().endswith("RESULT: failed, 1 of 3 steps held\n")


def test_story_without_steps_has_not_passed():
    counter = Counter("steps", "", ["result"], registry=CollectorRegistry())
    assert not Story(Progress(name="", url="", service=""), counter, as_json=False, out=io.StringIO()).result()


def test_progress_and_metrics_are_served():
    metrics = Metrics()
    metrics.steps.labels("held").inc()
    progress = Progress(name="client", url="u", service="s", step="now")

    def fetch(port: int, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read()

    with Listener(0, lambda: progress, metrics.registry) as listener:
        assert fetch(listener.port, "/livez") == b"ok\n"
        assert json.loads(fetch(listener.port, "/progress"))["step"] == "now"
        assert b'raft_client_steps_total{result="held"} 1.0' in fetch(listener.port, "/metrics")
        with pytest.raises(SettingsError, match="expected a free port"):
            Listener(listener.port, lambda: progress, metrics.registry)


@pytest.mark.ipv6
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_progress_is_served_over_ipv6_as_well(host):
    with (
        Listener(0, lambda: None, CollectorRegistry()) as listener,
        urllib.request.urlopen(f"http://{host}:{listener.port}/livez", timeout=5) as answer,
    ):
        assert answer.read() == b"ok\n"


def test_first_difference_of_logs():
    def log(*terms: int) -> list[LogEntry]:
        return [LogEntry(index, term, 1, 7, 1) for index, term in enumerate(terms, 1)]

    assert first_difference({"a": log(1, 1, 2), "b": log(1, 1, 2)}, 1, 3) == ""
    assert first_difference({"a": log(1, 1, 2), "b": log(1, 1)}, 1, 2) == ""
    assert "entry 2 differs: term 1" in first_difference({"a": log(1, 1), "b": log(1, 2)}, 1, 2)
    assert "no entry on b" in first_difference({"a": log(1, 1), "b": log(1)}, 1, 2)


def test_words_about_nodes():
    assert said(None) == "no answer"
    assert said(status("a", "candidate", 3)) == "a, candidate of term 3: I know no leader"
    nodes = [Surveyed("a", "h:1", status("a", "leader", 3)), Surveyed("b", "h:2", None)]
    assert summary(nodes) == "1 of 2 answer, led by a of term 3, applied 0"


def test_what_was_answered_once_has_happened_whatever_becomes_of_its_repetition(nodes, tmp_path):
    """a history that called it failed would accuse the cluster of having done it"""
    leader = Leader(nodes[0])
    increments: list[Request] = []

    def answer(request: Request):
        if isinstance(request, Write) and b"Increment" in request.command:
            increments.append(request)
            if len(increments) > 1:
                return Refused(request.request_id, "not_allowed", "no more")
        return leader(request)

    nodes[0].answer = answer
    with HistoryWriter(tmp_path / "h") as history, RaftClient(config(nodes[0])) as client:
        recorded = RecordedClient(client, "c", Recorder(history), Metrics())
        with pytest.raises(RefusedError):
            recorded.do(Asked("incr", "n", 1), times=3)
        assert recorded.one(Asked("get", "n")) == "1"
    assert len(increments) == 2
    first, second = (json.loads(line) for line in (tmp_path / "h").read_text().splitlines())
    assert (first["op"], first["result"], first["output"]) == ("incr", "ok", 1)
    assert (second["op"], second["result"]) == ("get", "ok")


def test_what_ctrl_c_broke_off_may_have_happened(nodes, tmp_path, monkeypatch):
    Leader(nodes[0])

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with RaftClient(config(nodes[0])) as client:
        monkeypatch.setattr(client, "query", interrupted)
        with pytest.raises(KeyboardInterrupt), HistoryWriter(tmp_path / "h") as history:
            RecordedClient(client, "c", Recorder(history), Metrics()).one(Asked("get", "n"))
    (line,) = map(json.loads, (tmp_path / "h").read_text().splitlines())
    assert (line["op"], line["result"], line["return"]) == ("get", "unknown", None)
