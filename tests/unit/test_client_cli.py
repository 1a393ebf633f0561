"""`python -m client`: its commands, what they print, and what they end with."""

import json
from collections.abc import Iterator

import msgspec
import pytest

from client import follow
from client.cli import client
from raft_zmq.client import command_line
from raft_zmq.wire.client_messages import Done
from raft_zmq.wire.commands import Outcome
from tests.unit.client_fakes import FakeNode, Follower, Leader
from tests.unit.test_client_bench import KEYS


@pytest.fixture
def node() -> Iterator[FakeNode]:
    node = FakeNode("a")
    Leader(node)
    yield node
    node.stop()


@pytest.fixture
def config(node, tmp_path) -> str:
    file = tmp_path / "client.yaml"
    file.write_text(f"auth: none\nendpoints: ['a={node.address}']\n")
    return str(file)


@pytest.fixture
def run(capsys):
    def command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command_line.run(client, "client", arguments)
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return command


@pytest.mark.parametrize("before", [True, False])
def test_config_stands_before_or_behind_the_command(run, config, before):
    given = ("--config", config)
    load = ("bench", "--clients", "2", "--seconds", "0.1", "--warmup-s", "0.1", "--json")
    code, out, _ = run(*given, *load) if before else run(*load, *given)
    assert code == 0
    assert list(json.loads(out)) == KEYS
    assert out.count("\n") == 1


def test_bench_for_people(run, config):
    code, out, err = run(
        "--config", config, "bench", "--seconds", "0.1", "--warmup-s", "0", "--op", "mixed", "--verbose"
    )
    assert code == 0
    assert "latency p50" in out
    assert "oldest under way at the end" in out
    assert err.startswith("client CPU: ")


def test_workload_tells_its_counts(run, config, tmp_path):
    history = tmp_path / "w.jsonl"
    code, out, _ = run("--config", config, "workload", "--seconds", "0.2", "--history", str(history), "--seed", "7")
    assert code == 0
    lines = history.read_text().splitlines()
    assert f"{len(lines)} operations in {history}; draw them again with --seed 7" in out
    assert out.splitlines()[0].split() == ["operation", "ok", "fail", "unknown"]
    total = next(line for line in out.splitlines() if line.startswith("all"))
    assert total.split() == ["all", str(len(lines)), "0", "0"]


def test_two_workloads_share_no_name(run, config, tmp_path):
    lines = []
    for name in ("1", "2"):
        history = tmp_path / name
        assert run("--config", config, "workload", "--seconds", "0.1", "--history", str(history), "--seed", "7")[0] == 0
        lines.append([json.loads(line) for line in history.read_text().splitlines()])
    clients = [{line["client"] for line in part} for part in lines]
    keys = [{line["key"] for line in part} for part in lines]
    assert not clients[0] & clients[1]
    assert not keys[0] & keys[1]


def test_run_passes_and_records(run, config, tmp_path):
    history = tmp_path / "h.jsonl"
    code, out, _ = run(
        "run", "--config", config, "--history", str(history), "--writes", "2", "--dns-name", "client.lab"
    )
    assert code == 0, out
    assert out.startswith("listening  http://client.lab:")
    assert out.splitlines()[-1].startswith("RESULT: passed, ")
    assert (tmp_path / "h.jsonl.done").exists()


def test_run_takes_its_names_from_the_environment(run, config, monkeypatch):
    monkeypatch.setenv("CLIENT_NAME", "c7")
    monkeypatch.setenv("CLIENT_DNS_NAME", "c7.raft.svc")
    code, out, _ = run("run", "--config", config, "--log-format", "json", "--writes", "1")
    assert code == 0
    started = json.loads(out.splitlines()[0])
    assert started["client"] == "c7"
    assert started["listening"].startswith("http://c7.raft.svc:")


def test_run_that_finds_no_leader_ends_with_1(run, config, node):
    Follower(node)
    code, out, err = run("run", "--config", config, "--deadline-s", "1")
    assert code == 1
    assert "RESULT: failed, 0 of 1 steps held" in out
    assert err.startswith("client: expected every step to hold")


def test_following_a_history_whose_writer_goes_ends_with_1(run, tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "START_S_MAX", 0.0)
    (tmp_path / "h").write_text("{}\n")
    code, out, err = run("follow", str(tmp_path / "h"), "--port", "1")
    assert (code, out, err) == (1, "{}\n", "")


@pytest.mark.parametrize(
    "command", [("bench", "--seconds", "0.2"), ("workload", "--seconds", "0.2", "--timeout-s", "0.1")]
)
def test_no_answer_ends_with_3(run, config, node, tmp_path, command):
    Follower(node)
    more = ("--history", str(tmp_path / "h")) if command[0] == "workload" else ("--warmup-s", "0")
    code, _, err = run("--config", config, *command, *more)
    assert code == 3
    assert "expected answers, found none" in err


def test_a_bench_whose_every_operation_failed_ends_with_1(run, config, node):
    leader = Leader(node)
    nothing = msgspec.msgpack.encode(Outcome(error="it cannot be done"))
    node.answer = lambda request: (
        leader(request) if leader.replica.last_applied == 0 else Done(request.request_id, nothing)
    )
    code, out, err = run("--config", config, "bench", "--clients", "1", "--seconds", "0.2", "--warmup-s", "0", "--json")
    figures = json.loads(out)
    assert (code, figures["ops"]) == (1, 0)
    assert figures["errors_by_kind"] == {"operation_failed": figures["errors"]}
    assert f"found none that did: {figures['errors']} ({figures['errors']} operation_failed)" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "--config", "/nowhere/client.yaml"),
        ("workload", "--seconds", "1"),
        ("bench", "--op", "delete"),
        ("bench", "--clients", "0"),
        ("follow", "h.jsonl"),
        ("nonsense",),
    ],
)
def test_bad_usage_is_one_line_and_ends_with_2(run, arguments, monkeypatch):
    monkeypatch.delenv("CLIENT_CONFIG", raising=False)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("client")
    assert err.count("\n") == 1


def test_wrong_service_and_history_are_named(run, config, tmp_path):
    code, _, err = run("run", "--config", config, "--service", "nowhere")
    assert code == 2
    assert "found 'nowhere'" in err
    code, _, err = run("run", "--config", config, "--history", str(tmp_path / "no" / "folder"))
    assert code == 2
    assert "--history" in err


def test_every_command_has_help(run):
    for name in client.commands:
        code, out, _ = run(name, "--help")
        assert code == 0
        assert out.startswith(f"Usage: client {name}")
