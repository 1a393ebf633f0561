"""What a node does with settings and folders that will not do: one line, exit code 2, nothing half done."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from raft_zmq.storage.storage import Storage
from raft_zmq.transport import keys

MEMBERS = "n1=127.0.0.1:7001:7000,n2=127.0.0.1:7101:7100"


def run_node(*flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAFT_")} | variables
    command = [sys.executable, "-m", "raft_zmq.cli.node", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment, check=False)


def free_ports(number: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


@pytest.fixture
def flags(tmp_path: Path) -> dict[str, str]:
    """Flags of a node that would start."""
    client_port, peer_port, http_port = free_ports(3)
    return {
        "--node-id": "n1",
        "--members": MEMBERS,
        "--data-dir": str(tmp_path / "data"),
        "--bind-host": "127.0.0.1",
        "--client-port": str(client_port),
        "--peer-port": str(peer_port),
        "--http-port": str(http_port),
        "--auth": "none",
    }


def refused(flags: dict[str, str], expected: str, **variables: str) -> None:
    """The node ends with exit code 2 and one line that says so, and has made no identity."""
    result = run_node(*(part for item in flags.items() for part in item), **variables)
    assert result.returncode == 2, result
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert expected in line
    assert "expected" in line


def test_an_unknown_variable_is_named(flags):
    refused(flags, "election_timeout", RAFT_ELECTION_TIMEOUT="1")


def test_an_unknown_line_of_the_settings_file_is_named(flags, tmp_path):
    file = tmp_path / "raft.yaml"
    file.write_text("hartbeat_interval_s: 0.1\n")
    refused(flags | {"--config": str(file)}, "hartbeat_interval_s")


def test_a_value_of_the_wrong_type_is_shown(flags):
    refused(flags | {"--client-port": "six thousand"}, "'six thousand'")


def test_a_value_that_is_no_choice_is_shown_with_the_choices(flags):
    refused(flags | {"--log-level": "loud"}, "debug, info, warning, error")


def test_a_value_of_the_wrong_type_in_the_file_is_shown(flags, tmp_path):
    file = tmp_path / "raft.yaml"
    file.write_text("pre_vote: [1]\n")
    refused(flags | {"--config": str(file)}, "pre_vote")


def test_a_settings_file_that_is_not_there(flags, tmp_path):
    refused(flags | {"--config": str(tmp_path / "none.yaml")}, "none.yaml")


def test_a_member_list_without_the_node(flags):
    refused(flags | {"--node-id": "n9"}, "'n9'")


def test_a_member_list_that_cannot_be_read(flags):
    refused(flags | {"--members": "n1=127.0.0.1"}, "id=host:peer_port:client_port")


def test_an_election_timeout_below_three_heartbeats(flags):
    refused(flags | {"--heartbeat-interval-s": "0.2"}, "election_timeout_s_min")


def test_a_keys_folder_without_keys(flags, tmp_path):
    refused(flags | {"--auth": "curve", "--keys-dir": str(tmp_path)}, "raftctl keys generate")


def test_a_keys_folder_without_the_own_key(flags, tmp_path):
    keys.generate(tmp_path / "keys", ["n2"], {"admin": keys.Role.ADMIN})
    refused(flags | {"--auth": "curve", "--keys-dir": str(tmp_path / "keys")}, "peer.n1.public")


@pytest.mark.parametrize("port", ["--client-port", "--peer-port", "--http-port"])
def test_a_port_in_use(flags, port):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused(flags | {port: str(taken.getsockname()[1])}, port.removeprefix("--").replace("-", "_"))


def test_a_data_directory_that_is_a_file(flags, tmp_path):
    (tmp_path / "data").write_text("not a folder")
    refused(flags, "data_dir")


def test_the_data_directory_of_another_node(flags, tmp_path):
    Storage.open(tmp_path / "data", cluster_id="raft", node_id="n2").close()
    refused(flags, "n2")


def test_the_data_directory_of_another_cluster(flags, tmp_path):
    Storage.open(tmp_path / "data", cluster_id="other", node_id="n1").close()
    before = (tmp_path / "data" / "identity.json").read_bytes()
    refused(flags, "other")
    assert (tmp_path / "data" / "identity.json").read_bytes() == before


def test_two_nodes_on_one_data_directory(flags, tmp_path):
    held = Storage.open(tmp_path / "data", cluster_id="raft", node_id="n1")
    refused(flags, "locked")
    held.close()


def test_help_names_every_setting():
    from raft_zmq.settings import Settings

    text = run_node("--help").stdout
    missing = [name for name in Settings.__struct_fields__ if "--" + name.replace("_", "-") not in text]
    assert missing == []


def test_a_log_line_is_one_json_object(start_cluster):
    cluster = start_cluster(1)
    lines = (cluster.directory / "n1.log").read_text().splitlines()
    assert json.loads(lines[0])["event"] == "node_started"
    assert all({"ts", "level", "event", "node", "term"} <= json.loads(line).keys() for line in lines)
