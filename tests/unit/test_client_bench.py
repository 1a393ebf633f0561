"""The figures of the benchmark."""

from collections.abc import Iterator

import msgspec
import pytest

from client.bench import Figures, Load, Tally, _figures, run
from raft_zmq.client.client import open_engine
from raft_zmq.wire.client_messages import Answer, Done, Read, Refused, Request, Unknown, Write
from raft_zmq.wire.commands import Command, OpenSession, Outcome, Scan
from tests.unit.client_fakes import FakeNode, Leader, config

LATENCIES = ["p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"]
KEYS = ["op", "clients", "size", "seconds", "ops", "ops_per_s", *LATENCIES, "errors", "unknown"]
KEYS += ["errors_by_kind", "under_way_max_ms"]


@pytest.fixture
def node() -> Iterator[FakeNode]:
    node = FakeNode("a")
    yield node
    node.stop()


def load(op: str = "write", **changes) -> Load:
    plan = {"clients": 4, "size": 32, "seconds": 0.2, "warmup_s": 0.1, "timeout_s": 1.0, "lanes": 2}
    return Load(op=op, **{**plan, **changes})


def measure(node: FakeNode, plan: Load) -> Figures:
    engine = open_engine(config(node))
    try:
        return run(engine, plan)[0]
    finally:
        engine.close()


def test_figures_have_exactly_the_agreed_names(node):
    Leader(node)
    figures = measure(node, load())
    assert list(msgspec.structs.asdict(figures)) == KEYS
    assert figures.ops > 0
    assert figures.ops_per_s == pytest.approx(figures.ops / figures.seconds, rel=0.01)
    assert 0 < figures.p50_ms <= figures.p90_ms <= figures.p99_ms <= figures.p999_ms <= figures.max_ms
    assert (figures.errors, figures.unknown) == (0, 0)


def test_reads_are_reads_and_find_a_value_of_that_size(node):
    leader = Leader(node)
    figures = measure(node, load("read"))
    assert len(node.received(Read)) >= figures.ops > len(node.received(Write))
    scan = msgspec.msgpack.encode(Scan(b"bench/"))
    pairs = msgspec.msgpack.decode(leader.replica.machine.query(scan), type=Outcome).output
    assert [len(value) for _, value in pairs] == [32] * 4


def test_never_more_under_way_than_clients(node):
    Leader(node)
    measure(node, load(clients=3, lanes=1))
    assert max(len(batch) for batch in node.batches) <= 3


def test_unknown_outcomes_are_counted_and_the_load_goes_on(node):
    leader = Leader(node)
    node.answer = lambda request: (
        Unknown(request.request_id, "lost")
        if isinstance(request, Write) and request.request_id % 50 == 0
        else leader(request)
    )
    figures = measure(node, load(timeout_s=0.05, seconds=0.5))
    assert figures.unknown > 0
    assert figures.ops > figures.unknown


def is_opening(request: Request) -> bool:
    return isinstance(request, Write) and isinstance(msgspec.msgpack.decode(request.command, type=Command), OpenSession)


def test_sessions_that_could_not_be_opened_are_errors(node):
    leader = Leader(node)
    openings: list[Request] = []

    def answer(request: Request) -> Answer | None:
        openings.extend([request] if is_opening(request) else [])
        full = is_opening(request) and len(openings) <= 3
        return Refused(request.request_id, "disk_full", "no room") if full else leader(request)

    node.answer = answer
    figures = measure(node, load(warmup_s=0.0))
    assert figures.ops > 0
    assert figures.errors == 3
    assert figures.errors_by_kind == {"disk_full": 3}


def test_an_outcome_that_tells_of_an_error_is_no_success(node):
    leader = Leader(node)
    failed = msgspec.msgpack.encode(Outcome(error="it cannot be done"))
    node.answer = lambda request: (
        Done(request.request_id, failed) if isinstance(request, Write) and not is_opening(request) else leader(request)
    )
    figures = measure(node, load())
    assert (figures.ops, figures.max_ms) == (0, 0)
    assert figures.errors > 0
    assert figures.errors_by_kind == {"operation_failed": figures.errors}


@pytest.mark.parametrize(("found", "succeeds"), [(None, False), (b"", True), (b"of another program", True)])
def test_a_read_has_to_find_a_value(found, succeeds, node):
    leader = Leader(node)
    outcome = msgspec.msgpack.encode(Outcome(found))
    node.answer = lambda request: Done(request.request_id, outcome) if isinstance(request, Read) else leader(request)
    figures = measure(node, load("read"))
    assert (figures.ops > 0, figures.errors == 0) == (succeeds, succeeds)
    assert set(figures.errors_by_kind) == (set() if succeeds else {"nothing_read"})


def test_what_is_under_way_at_the_end_is_told_with_its_age(node):
    leader = Leader(node)
    node.answer = lambda request: leader(request) if len(node.received(Write)) < 50 else None
    figures = measure(node, load(seconds=0.5, warmup_s=0.0))
    assert 0 < figures.ops < 50
    assert (figures.errors, figures.unknown) == (0, 0)
    assert figures.max_ms < figures.under_way_max_ms <= figures.seconds * 1000


def test_percentiles_are_of_the_counts():
    tally = Tally()
    tally.ops = 1000
    tally.latencies = {100: 500, 1000: 400, 10_000: 99, 77_777: 1}
    figures = _figures(load(), tally, 2.0, [0.5, 1.25])
    assert figures.p50_ms == pytest.approx(0.1, rel=0.01)
    assert figures.p90_ms == pytest.approx(1.0, rel=0.01)
    assert figures.p99_ms == pytest.approx(10.0, rel=0.01)
    assert figures.max_ms == 77.777
    assert figures.ops_per_s == 500.0
    assert figures.under_way_max_ms == 1250.0


def test_nothing_measured_is_all_zero():
    figures = _figures(load(), Tally(), 1.0, [])
    assert (figures.ops, figures.p50_ms, figures.max_ms) == (0, 0, 0)
