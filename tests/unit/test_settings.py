"""Settings that only go together within limits."""

import pytest

from raft_zmq.core.errors import SettingsError
from raft_zmq.settings import load
from tests.lone_node import lone_node


@pytest.mark.parametrize(("heartbeat_s", "shortest_s"), [(0.05, 0.15), (0.1, 0.3), (0.075, 0.225)])
def test_three_heartbeats_are_just_enough(tmp_path, heartbeat_s, shortest_s):
    """and 3 x 0.05 is 0.15, although not in binary floating point"""
    timing = {"heartbeat_interval_s": heartbeat_s, "election_timeout_s_min": shortest_s}
    settings = load(lone_node(tmp_path, **timing), {})
    assert settings.election_timeout_s_min == shortest_s
    with pytest.raises(SettingsError, match=f"3 x heartbeat_interval_s = {shortest_s:g}, found"):
        load(
            lone_node(tmp_path, **timing, election_timeout_s_max=0.9) | {"election_timeout_s_min": shortest_s - 1e-6},
            {},
        )
