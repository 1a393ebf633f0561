"""What `raftctl top` makes of two looks at a cluster."""

import msgspec
import pytest

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
