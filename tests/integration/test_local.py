"""Clusters of processes on this machine: what `raftctl local up` makes of a folder that has a cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from raft_zmq import local
from raft_zmq.core.errors import RaftLabError, SettingsError


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of a cluster, whose processes end with the test."""
    yield tmp_path / "cluster"
    local.down(tmp_path / "cluster")


def settings_of(folder: Path, node: str) -> dict[str, object]:
    return yaml.safe_load((folder / f"{node}.yaml").read_text())


def test_a_stopped_cluster_starts_again_as_it_is_and_takes_further_settings(folder):
    names = ["x", "y"]
    local.up(folder, names, {"log_level": "warning"})
    local.down(folder)
    cluster = local.up(folder, settings={"fault_injection": True})
    assert [node.node_id for node in cluster.nodes] == names
    for name in names:
        found = settings_of(folder, name)
        assert (found["log_level"], found["fault_injection"]) == ("warning", True)
    local.down(folder)
    with pytest.raises(SettingsError, match=r"found one of x, y\. Name no nodes to start that one"):
        local.up(folder, ["x"])


def test_a_setting_that_no_node_takes_is_not_kept(folder):
    with pytest.raises(RaftLabError, match="expected a known setting"):
        local.up(folder, ["n1"], {"bogus": 1})
    local.up(folder, ["n1"])
    assert "bogus" not in settings_of(folder, "n1")


def test_the_clients_configuration_follows_the_settings(folder):
    local.up(folder, ["n1"])
    assert yaml.safe_load((folder / "client.yaml").read_text())["auth"] == "curve"
    local.down(folder)
    local.up(folder, settings={"auth": "none"})
    assert yaml.safe_load((folder / "client.yaml").read_text())["auth"] == "none"
