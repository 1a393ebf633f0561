"""Settings that only go together within limits."""

import pytest

from raft_zmq.core.errors import SettingsError
from raft_zmq.settings import FRAME_MARGIN_BYTES, load, parse_members
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


@pytest.mark.parametrize("name", ["append_bytes_max", "snapshot_chunk_bytes"])
def test_what_goes_to_a_peer_in_one_piece_has_to_fit_into_a_frame(tmp_path, name):
    """a peer would end the connection on it, again and again"""
    limits = {"append_bytes_max": 1000, "snapshot_chunk_bytes": 1024, name: 1 << 20}
    fits = (1 << 20) + FRAME_MARGIN_BYTES
    load(lone_node(tmp_path, **limits, frame_bytes_max=fits), {})
    with pytest.raises(SettingsError, match=f"{name}: expected at most frame_bytes_max less .* found {1 << 20}"):
        load(lone_node(tmp_path, **limits, frame_bytes_max=fits - 1), {})


@pytest.mark.parametrize("host", ["http://n4", "n4/x", "n 4", "", "n4?", "[::1", "n4:7", "[10.0.0.1]", "-n4", "_n4"])
def test_a_member_that_cannot_be_reached_by_what_is_said_of_it_is_refused(host):
    """it would go into the membership, and with that to every node and client"""
    with pytest.raises(SettingsError, match="members: expected id=host:peer_port:client_port, found 'n4="):
        parse_members(f"n4={host}:6001:6000")


@pytest.mark.parametrize(
    "host",
    [
        "n4",
        "raft-0.raft-headless.raft.svc.cluster.local",
        "10.0.0.1",
        "[::1]",
        "::1",
        "n_4",
        "fe80::1%eth0",
        "n4.",
    ],
)
def test_hosts_are_names_and_addresses(host):
    (member,) = parse_members(f"n4={host}:6001:6000")
    assert (member.peer_address, member.client_address) == (f"{host}:6001", f"{host}:6000")
