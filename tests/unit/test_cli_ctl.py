"""raftctl against a node on loopback: what it prints, and what it ends with."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import msgspec
import pytest

from raft_zmq.cli.ctl import raftctl
from raft_zmq.client import command_line
from raft_zmq.core.membership import Member
from raft_zmq.transport import keys
from raft_zmq.wire.client_messages import (
    ChangeMembers,
    Done,
    InjectFault,
    Redirect,
    Refused,
    Request,
    Status,
    TakeSnapshot,
    Transfer,
)
from raft_zmq.wire.commands import VALUE_BYTES_MAX
from tests.unit.client_fakes import FakeNode, Leader

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def node() -> Iterator[FakeNode]:
    node = FakeNode("a")
    Leader(node)
    yield node
    node.stop()


@pytest.fixture
def run(node, tmp_path, capsys) -> Run:
    file = tmp_path / "client.yaml"
    file.write_text(f"auth: none\nendpoints: ['a={node.address}']\n")

    def ctl(*arguments: str, config: bool = True) -> tuple[int, str, str]:
        before = ["--config", str(file)] if config else []
        with pytest.raises(SystemExit) as ended:
            command_line.run(raftctl, "raftctl", [*before, *arguments])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return ctl


def test_values(run):
    assert run("put", "k", "v") == (0, "ok\n", "")
    assert run("get", "k") == (0, "v\n", "")
    assert run("append", "k", "wx") == (0, "3\n", "")
    assert run("cas", "k", "vwx", "new") == (0, "swapped\n", "")
    assert run("cas", "--absent", "l", "1") == (0, "swapped\n", "")
    assert run("incr", "n") == (0, "1\n", "")
    assert run("incr", "n", "-5") == (0, "-4\n", "")
    assert run("scan") == (0, "k\tnew\nl\t1\nn\t-4\n", "")
    assert run("scan", "k") == (0, "k\tnew\n", "")
    assert run("scan", "--limit", "1", "--after", "k") == (0, "l\t1\n", "")
    assert run("delete", "k") == (0, "deleted\n", "")
    assert run("delete", "k") == (0, "there was no such key\n", "")


def test_json(run):
    def as_json(*arguments: str) -> object:
        code, out, _ = run(*arguments)
        assert code in (0, 1)
        return json.loads(out)

    assert as_json("put", "k", "v", "--json") == {"key": "k", "ok": True}
    assert as_json("--json", "get", "k") == {"key": "k", "value": "v"}
    assert as_json("get", "none", "--json") == {"key": "none", "value": None}
    assert as_json("cas", "k", "x", "y", "--json") == {"key": "k", "swapped": False}
    assert as_json("incr", "n", "--json") == {"key": "n", "number": 1}
    assert as_json("scan", "k", "--json") == [{"key": "k", "value": "v"}]
    assert as_json("status", "--json")[0]["status"]["role"] == "leader"
    assert as_json("members", "--json")[0]["kind"] == "voter"
    assert [entry["index"] for entry in as_json("log", "a", "--from", "2", "--limit", "2", "--json")] == [2, 3]


def test_what_is_not_so_ends_with_1(run):
    code, out, err = run("get", "none")
    assert (code, out) == (1, "")
    assert err.startswith("raftctl: get: expected a key 'none', found none.")
    run("put", "k", "v")
    code, out, err = run("cas", "k", "x", "y")
    assert (code, out) == (1, "")
    assert "expected 'x' at 'k', found something else; nothing was changed" in err
    assert run("cas", "--absent", "k", "y")[0] == 1
    code, _, err = run("incr", "k")
    assert code == 1
    assert "integer" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("cas", "k", "only"),
        ("cas", "--absent", "k", "x", "y"),
        ("get", ""),
        ("get",),
        ("nonsense",),
        ("--timeout-s", "0", "status"),
        ("members", "add", "n1"),
        ("members", "change"),
        ("fault", "a", "flood"),
        ("log", "unknown"),
        ("snapshot", "a:b"),
        ("keys", "generate", "--nodes", "a"),
        ("keys", "generate", "--nodes", ",", "--dir", "x"),
        ("keys", "generate", "--nodes", "a", "--dir", "x", "--client", "lab=king"),
        ("keys", "generate", "--nodes", "a", "--kubernetes-secret", "x", "--label", "app"),
        ("local", "up"),
        ("local", "up", "--dir", "x", "--nodes", "3", "--names", "a,b"),
        ("local", "up", "--dir", "x", "--set", "novalue"),
        ("local", "up", "--dir", "x", "--set", "x=[1"),
        ("local", "up", "--dir", "x", "--set", "x=@"),
        ("local", "up", "--dir", "x", "--set", "x=2024-13-45"),
        ("log", "--from", "9" * 30),
        ("--timeout-s", "nan", "status"),
        ("--timeout-s", "inf", "status"),
        ("fault", "a", "delay", "--seconds", "nan"),
        ("get", "k" * 4097),
        ("put", "k" * 4097, "v"),
        ("scan", "k" * 4097),
    ],
)
def test_bad_usage_is_one_line_and_ends_with_2(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("raftctl")
    assert err.count("\n") == 1


def test_missing_configuration_ends_with_2(run, monkeypatch):
    monkeypatch.delenv("RAFTCTL_CONFIG", raising=False)
    code, _, err = run("status", config=False)
    assert code == 2
    assert "--config: expected a client.yaml, found none" in err


def test_configuration_from_the_environment(run, monkeypatch, tmp_path):
    monkeypatch.setenv("RAFTCTL_CONFIG", str(tmp_path / "client.yaml"))
    assert run("put", "k", "v", config=False)[0] == 0


def test_no_leader_ends_with_3(run, node):
    leader = node.answer
    node.answer = lambda request: None if isinstance(request, Status) else leader(request)
    code, out, err = run("--timeout-s", "0.3", "put", "k", "v")
    assert (code, out) == (3, "")
    assert f"expected an answer from a leader within 0.3 s, found none: a ({node.address}): no answer" in err
    code, out, err = run("--timeout-s", "0.3", "status")
    assert code == 3
    assert "no answer" in out


def test_status_shows_the_node(run, node):
    code, out, _ = run("status")
    assert code == 0
    headline, row = out.splitlines()
    assert headline.split()[:4] == ["NODE", "ROLE", "TERM", "LEADER"]
    assert row.split()[:4] == ["a", "leader", "1", "a"]
    assert node.address in row  # wide enough without a terminal


def test_top_ends_after_its_rounds(run):
    code, out, _ = run("top", "--rounds", "2", "--interval-s", "0.1")
    assert code == 0
    assert out.count("1 of 1 nodes answer, a leads term 1") == 2
    assert "entries/s" in out


def taking(node: FakeNode, kind: type, result: object) -> list[Request]:
    leader = node.answer
    taken: list[Request] = []

    def answer(request: Request):
        if isinstance(request, kind):
            taken.append(request)
            return Done(request.request_id, msgspec.msgpack.encode(result))
        return leader(request)

    node.answer = answer
    return taken


def test_membership_changes(run, node):
    taken = taking(node, ChangeMembers, None)
    assert run("members", "add", "d=h:1:2", "e=h:3:4") == (0, "added d, e\n", "")
    assert run("members", "add", "--learner", "d=h:1:2")[0] == 0
    assert run("members", "promote", "d")[1] == "promoted d\n"
    assert run("members", "remove", "a", "b")[1] == "removed a, b\n"
    assert run("members", "change", "--add", "d=h:1:2", "--remove", "a")[0] == 0
    changes = [(change.add, change.promote, change.remove) for change in taken]
    assert changes == [
        ((Member("d", "h:1", "h:2"), Member("e", "h:3", "h:4")), (), ()),
        ((Member("d", "h:1", "h:2", auto_promote=False),), (), ()),
        ((), ("d",), ()),
        ((), (), ("a", "b")),
        ((Member("d", "h:1", "h:2"),), (), ("a",)),
    ]


def test_requests_to_one_node(run, node):
    transfers, snapshots = taking(node, Transfer, "b"), taking(node, TakeSnapshot, 42)
    faults = taking(node, InjectFault, None)
    assert run("transfer", "b") == (0, "b leads\n", "")
    assert run("snapshot", "a") == (0, "snapshot up to index 42\n", "")
    assert run("fault", "a", "delay", "--peer", "b", "--peer", "c", "--share", "0.5", "--seconds", "2")[0] == 0
    assert run("fault", "a", "clear")[1] == "all faults cleared\n"
    assert [transfer.target for transfer in transfers] == ["b"]
    assert len(snapshots) == 1
    shown = [(fault.kind, fault.peers, fault.share, fault.seconds) for fault in faults]
    assert shown == [("delay", ("b", "c"), 0.5, 2.0), ("clear", (), 1.0, 0.0)]


@pytest.mark.parametrize(
    ("kind", "code"), [("invalid", 2), ("not_allowed", 2), ("change_in_progress", 1), ("not_ready", 1)]
)
def test_refusals(run, node, kind, code):
    leader = node.answer
    node.answer = lambda request: (
        Refused(request.request_id, kind, "expected it otherwise") if isinstance(request, Transfer) else leader(request)
    )
    assert run("transfer") == (code, "", f"raftctl: {kind.replace('_', ' ')}: expected it otherwise\n")


def test_follower_that_knows_no_leader(run, node):
    leader = node.answer
    node.answer = lambda request: (
        leader(request) if isinstance(request, Status) else Redirect(request.request_id, "", "")
    )
    assert run("--timeout-s", "0.3", "get", "k")[0] == 3


def test_keys(run, tmp_path):
    folder = tmp_path / "keys"
    arguments = (
        "keys",
        "generate",
        "--dir",
        str(folder),
        "--nodes",
        "a, b",
        "--client",
        "lab=admin",
        "--client",
        "r=read-only",
    )
    code, out, _ = run(*arguments, config=False)
    assert code == 0
    assert out.startswith("wrote 11 files")
    assert {path.name for path in folder.iterdir()} >= {"peer.b.secret", "client.r.public", "clients.yaml"}
    code, _, err = run(*arguments, config=False)
    assert code == 2
    assert "--overwrite" in err
    assert run(*arguments, "--overwrite", config=False)[0] == 0


def test_a_key_is_shown_as_it_is(run, tmp_path):
    """in a table, [x] is a style, and Z85 has brackets among its characters"""
    keys.generate(tmp_path, ["a"], {})
    public, secret = b"/YMhs2N>[wTY6<]r(blEw46n1i$]}H6}EP(ra)*3", b"x" * 40
    (tmp_path / "peer.a.public").write_bytes(public)
    (tmp_path / "peer.a.secret").write_bytes(secret)
    code, out, _ = run("keys", "list", "--dir", str(tmp_path), config=False)
    assert code == 0
    assert public.decode() in out


def test_a_value_that_no_node_takes_is_not_sent(run, node, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(bytes(VALUE_BYTES_MAX + 1))))
    code, _, err = run("put", "k", "-")
    assert code == 2
    assert f"expected a value of 0 to {VALUE_BYTES_MAX} bytes, found more" in err
    assert node.requests == []


def test_help_of_every_command(run):
    def visit(command, path: tuple[str, ...]) -> None:
        code, out, _ = run(*path, "--help", config=False)
        assert code == 0
        assert out.startswith("Usage: raftctl")
        for name, inner in getattr(command, "commands", {}).items():
            assert inner.get_short_help_str(), f"{name} needs a help text"
            visit(inner, (*path, name))

    visit(raftctl, ())
