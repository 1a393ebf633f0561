"""Every scenario this Raft is held to is the name of a test, or stands in its docstring, word for word."""

import ast
import re

import pytest

from tests.infra.named_tests import collected_files, defined_tests

MIT = [
    "InitialElection",
    "ReElection",
    "ManyElections",
    "BasicAgree",
    "RPCBytes",
    "FollowerFailure",
    "LeaderFailure",
    "FailAgree",
    "FailNoAgree",
    "ConcurrentStarts",
    "Rejoin",
    "Backup",
    "Count",
    "Persist1",
    "Persist2",
    "Persist3",
    "Figure8",
    "UnreliableAgree",
    "Figure8Unreliable",
    "ReliableChurn",
    "UnreliableChurn",
    "SnapshotBasic",
    "SnapshotInstall",
    "SnapshotInstallUnreliable",
    "SnapshotInstallCrash",
    "SnapshotInstallUnCrash",
    "SnapshotAllCrash",
    "SnapshotInit",
]

PAPER = [
    "update term from message",
    "reject stale term",
    "start as follower",
    "leader broadcasts heartbeats",
    "follower and candidate start elections",
    "one leader in one round, vote split included",
    "follower votes first come first served",
    "candidate falls back",
    "randomized timeouts",
    "non-conflicting timeouts",
    "leader starts replication",
    "leader commits",
    "leader acknowledges commit",
    "leader commits preceding entries",
    "follower commits",
    "follower checks append",
    "follower appends",
    "leader syncs a follower's log",
    "vote request",
    "voter checks",
    "leader commits only its own term by counting",
]

HARD = [
    "pre-vote × check-quorum in all four settings with a partitioned and returning node",  # noqa: RUF001
    "disruptive follower",
    "transfer to an up-to-date node",
    "transfer to a slow node",
    "transfer to a snapshotting node",
    "transfer to a removed node",
    "transfer to an unreachable node",
    "transfer with proposals in flight",
    "a second transfer during the first",
    "ReadIndex for a new leader",
    "ReadIndex in a cluster of one",
    "ReadIndex with a batch",
    "ReadIndex across a leader change",
    "ReadIndex with duplicated acknowledgements",
    "a proposal during a joint change",
    "a learner's promotion while it lags",
    "a change of every member at once (3 old → 3 new)",
    "removing the leader",
    "a snapshot in the middle of a membership change",
    "flow control with a dead, a slow and a returning follower (probe → replicate → snapshot → replicate)",
    "a leader with a full disk",
    "entries larger than the batch limit",
    "uncommitted-size limit",
]

FAULTS = [
    "kill",
    "pause",
    "loss of one",
    "loss of a majority",
    "loss of the leader",
    "ring partition",
    "bridge partition",
    "one-way partition",
    "loss of messages",
    "duplication of messages",
    "delay of messages",
    "reordering of messages",
    "clock drift",
    "clock jumps",
    "full disk",
    "lost un-synced writes",
    "failed sync",
    "bit flip at every byte of the last records",
    "torn write at every byte of the last records",
    "truncation at every byte of the last records",
    "slow disk",
    "membership changes under load",
    "snapshot during a partition",
    "two versions side by side in a rolling upgrade",
]


def words(text: str) -> str:
    """The text with single spaces, and with spaces for underscores."""
    return " ".join(text.replace("_", " ").split())


TOLD = [
    (f"{path.name}::{test.name}", f"{words(test.name)}\n{words(ast.get_docstring(test) or '')}")
    for path in collected_files()
    for test in defined_tests(path)
]


def naming(scenario: str) -> list[str]:
    """The tests whose name or docstring has the scenario's name in it."""
    pattern = re.compile(rf"(?<![\w-]){re.escape(scenario)}(?![\w-])")
    return [name for name, text in TOLD if pattern.search(text)]


@pytest.mark.parametrize("scenario", [*MIT, *PAPER, *HARD, *FAULTS])
def test_a_scenario_has_a_test(scenario):
    assert naming(scenario), f"expected a test named {scenario!r}, or with that in its docstring, found none"


def test_a_name_inside_another_does_not_count():
    assert len(MIT) == 28
    assert naming("Figure8") != naming("Figure8Unreliable")
    assert naming("scenario that nobody has thought of, or has a test for") == []
