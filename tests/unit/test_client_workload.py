"""Workload and history: what is recorded, and as what."""

import json
import random
from collections.abc import Iterator

import pytest

from client.history import Asked, HistoryWriter, done_file
from client.linearizability import Outcome, check_history, read_history
from client.workload import Keys, Workload, result_of, run
from raft_zmq.client.client import open_engine
from raft_zmq.client.errors import NotDoneError, RefusedError
from raft_zmq.core.errors import OutcomeUnknownError
from raft_zmq.wire.client_messages import Busy, Refused, Request, Unknown, Write
from tests.unit.client_fakes import FakeNode, Leader, config

FIELDS = ["client", "id", "op", "key", "value", "expected", "call", "return", "result", "output"]


@pytest.fixture
def node() -> Iterator[FakeNode]:
    node = FakeNode("a")
    yield node
    node.stop()


def record(node: FakeNode, path, **sizes) -> list[dict]:
    plan = {"tag": "t", "clients": 4, "keys": 5, "seconds": 0.3, "seed": "1", "timeout_s": 1.0}
    engine = open_engine(config(node))
    try:
        with HistoryWriter(path) as history:
            run(engine, Workload(**{**plan, **sizes}), history)
    finally:
        engine.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_history_of_a_faultless_node(node, tmp_path):
    Leader(node)
    path = tmp_path / "history.jsonl"
    records = record(node, path)
    assert done_file(path).exists()
    assert all(list(line) == FIELDS for line in records)
    assert {line["op"] for line in records} == {"put", "get", "delete", "cas", "append", "incr"}
    assert {line["result"] for line in records} == {"ok"}
    assert all(line["call"] <= line["return"] for line in records)
    identities = [(line["client"], line["id"]) for line in records]
    assert len(set(identities)) == len(identities)
    written = [line["value"] for line in records if line["op"] in ("put", "cas", "append")]
    assert len(set(written)) == len(written)
    assert {line["key"] for line in records if line["op"] == "get"} == {f"t/t{n}" for n in range(4)} | {"t/n0"}
    swaps = [line["output"] for line in records if line["op"] == "cas"]
    assert True in swaps
    assert all(isinstance(line["output"], bool) for line in records if line["op"] == "delete")


def test_history_can_be_judged(node, tmp_path):
    Leader(node)
    path = tmp_path / "history.jsonl"
    record(node, path)
    operations = read_history((f"line {n}", text) for n, text in enumerate(path.read_text().splitlines()))
    assert {verdict.outcome for verdict in check_history(operations)} == {Outcome.LINEARIZABLE}


def test_unanswered_write_is_unknown_without_a_return(node, tmp_path):
    leader = Leader(node)
    silent = 0

    def answer(request: Request):
        nonlocal silent
        if isinstance(request, Write) and len(leader.entries) > 10 and silent < 3:
            silent += 1
            return None
        return leader(request)

    node.answer = answer
    records = record(node, tmp_path / "h", seconds=0.6, timeout_s=0.2)
    unknown = [line for line in records if line["result"] == "unknown"]
    assert 1 <= len(unknown) <= 3
    assert all(line["return"] is None and line["output"] is None for line in unknown)


def test_declined_write_failed(node, tmp_path):
    leader = Leader(node)

    def answer(request: Request):
        if isinstance(request, Write) and len(leader.entries) > 20:
            return Busy(request.request_id, 0.01)
        return leader(request)

    node.answer = answer
    records = record(node, tmp_path / "h", seconds=0.2, timeout_s=0.1)
    failed = [line for line in records if line["result"] == "fail"]
    assert failed
    assert all(line["op"] != "get" and line["return"] is not None for line in failed)


def test_client_that_may_not_write_ends_the_run(node, tmp_path):
    leader = Leader(node)
    node.answer = lambda request: (
        Refused(request.request_id, "not_allowed", "expected a writer")
        if isinstance(request, Write)
        else leader(request)
    )
    with pytest.raises(RefusedError, match="expected a writer"):
        record(node, tmp_path / "h")


@pytest.mark.interpreted
def test_what_is_under_way_when_a_run_is_broken_off_may_have_happened(node, tmp_path, monkeypatch):
    """others may have seen it: without a line of its own the history would have no order that explains it"""
    leader = Leader(node)
    silent: list[Request] = []

    def answer(request: Request):
        if isinstance(request, Write) and len(node.received(Write)) > 20:
            silent.append(request)
            return None
        return leader(request)

    node.answer = answer
    engine = open_engine(config(node))
    turn = engine.turn

    def interrupted(timeout_s=None):
        if len(silent) >= 4:
            raise KeyboardInterrupt
        turn(0.01)

    monkeypatch.setattr(engine, "turn", interrupted)
    workload = Workload(tag="t", clients=4, keys=5, seconds=30.0, seed="1", timeout_s=5.0)
    with pytest.raises(KeyboardInterrupt), HistoryWriter(tmp_path / "h") as history:
        run(engine, workload, history)
    engine.close()
    lines = [json.loads(line) for line in (tmp_path / "h").read_text().splitlines()]
    assert {line["client"] for line in lines if line["result"] == "unknown"} == {"t-0", "t-1", "t-2", "t-3"}
    assert not done_file(tmp_path / "h").exists(), "nobody is to take it for whole"


def test_session_given_up_after_an_unknown_write(node, tmp_path):
    leader = Leader(node)
    node.answer = lambda request: (
        Unknown(request.request_id, "lost")
        if isinstance(request, Write) and 5 < len(node.requests) < 30
        else leader(request)
    )
    records = record(node, tmp_path / "h", clients=1, timeout_s=0.05)
    operations = read_history((f"line {n}", json.dumps(line)) for n, line in enumerate(records))
    assert {verdict.outcome for verdict in check_history(operations)} == {Outcome.LINEARIZABLE}


@pytest.mark.parametrize(
    ("op", "error", "result"),
    [
        ("put", NotDoneError("no leader"), "fail"),
        ("put", RefusedError("not_ready", ""), "fail"),
        ("put", RefusedError("session_expired", ""), "unknown"),  # its entry has been in the log
        ("put", OutcomeUnknownError(""), "unknown"),
        ("get", NotDoneError(""), "unknown"),
    ],
)
def test_result_of_an_error(op, error, result):
    assert result_of(Asked(op, "k", "v"), error) == result


def test_same_seed_draws_the_same_operations():
    draw = [[Keys(5, "t").draw(random.Random(7), "v") for _ in range(3)] for _ in range(2)]
    assert draw[0] == draw[1]


def test_one_key_alone_holds_text():
    assert Keys(1, "t").all() == ["t/t0"]
    assert len(Keys(10, "t").numbers) == 2
