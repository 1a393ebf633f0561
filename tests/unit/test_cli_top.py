"""What `raftctl top` makes of two looks at a cluster."""

import msgspec
import pytest
from rich.console import Console

from raft_zmq.cli.tables import NodesTable
from raft_zmq.cli.top import StageMeans, view
from raft_zmq.client.survey import Surveyed
from raft_zmq.wire.client_messages import StageTotal
from tests.unit.node_status import STATUS


def at(uptime_s: float, batches: int, seconds: float, **changes: str):
    stages = {"sync": StageTotal(batches, seconds), "apply": StageTotal(0, 0.0)}
    return msgspec.structs.replace(STATUS, uptime_s=uptime_s, stages=stages, **changes)


def test_a_stage_is_the_mean_since_the_look_before():
    means = StageMeans()
    assert means.of(at(1.0, 10, 5.0)) == {}, "the first look knows no time between"
    assert means.of(at(2.0, 14, 7.0)) == {"sync": pytest.approx(0.5)}
    assert means.of(at(3.0, 14, 7.0)) == {}, "nothing was written"


@pytest.mark.parametrize("other", [at(0.5, 20, 9.0), at(3.0, 20, 9.0, incarnation="another"), None])
def test_another_leader_or_another_life_counts_anew(other):
    means = StageMeans()
    means.of(at(2.0, 14, 7.0))
    assert means.of(other) == {}


def test_the_picture_names_the_leader_and_the_stages():
    shown = view([Surveyed("n1", "host:1", STATUS)], 1234.0, {"queue": 0.0001, "sync": 0.0005})
    lines = [str(part) for part in shown.renderables]
    assert lines[0] == "1 of 1 nodes answer, n1 leads term 4, 1,234 entries/s"
    assert lines[-1] == "a batch of writes, in ms: queue 0.100, sync 0.500"


COLUMNS = [
    "NODE",
    "ROLE",
    "TERM",
    "LEADER",
    "LOG",
    "COMMIT",
    "APPLIED",
    "DIGEST",
    "READY",
    "KEYS",
    "WAL",
    "UPTIME",
    "ADDRESS",
]
LARGE = msgspec.structs.replace(
    STATUS,
    term=1234,
    first_log_index=1_234_567,
    last_log_index=7_654_321,
    commit_index=7_654_321,
    last_applied=7_654_320,
)


@pytest.mark.parametrize(
    ("columns", "left_out"),
    [
        (200, []),
        (140, ["ADDRESS"]),
        (110, ["ADDRESS", "DIGEST"]),
        (90, ["ADDRESS", "DIGEST", "WAL"]),
        (80, ["ADDRESS", "DIGEST", "WAL", "UPTIME"]),
        (74, ["ADDRESS", "DIGEST", "WAL", "UPTIME", "KEYS"]),
    ],
)
def test_a_narrow_terminal_shows_fewer_columns_and_none_in_part(columns, left_out):
    address = "raft-0.raft-headless.raft.svc.cluster.local:6000"
    nodes = [Surveyed("raft-0", address, LARGE), Surveyed("raft-1", address, None)]
    console = Console(width=columns, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(NodesTable(nodes))
    head, row, silent = captured.get().splitlines()
    assert len(head) <= columns
    assert head.split() == [name for name in COLUMNS if name not in left_out]
    assert "1234567-7654321  7654321  7654320" in row
    assert row.startswith("raft-0  leader")
    assert silent.startswith("raft-1  no answer")
    assert "…" not in captured.get()
