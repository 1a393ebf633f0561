"""Keys exchanged and taken back in a running cluster, by raftctl, as an operator would."""

import time
from pathlib import Path

import msgspec
import pytest
import yaml

from raft_zmq.client import config
from raft_zmq.client.client import RaftClient
from raft_zmq.client.errors import NotDoneError, RefusedError
from raft_zmq.core.errors import OutcomeUnknownError
from raft_zmq.transport import keys
from tests.integration.conftest import RunningCluster, StartCluster
from tests.integration.waiting import wait_until


@pytest.fixture
def cluster(start_cluster: StartCluster) -> RunningCluster:
    return start_cluster(3)


def manage(cluster: RunningCluster, command: str, *arguments: str) -> str:
    """`raftctl keys`, which has to succeed."""
    result = cluster.raftctl("keys", command, "--dir", str(cluster.directory / "keys"), *arguments, timeout_s=120)
    assert result.returncode == 0, result
    return result.stdout


def client_named(cluster: RunningCluster, name: str, *, timeout_s: float = 5.0) -> RaftClient:
    """A client with the keys that lie in the folder now."""
    file = cluster.directory / f"{name}.yaml"
    endpoints = yaml.safe_load(cluster.config_file.read_text())["endpoints"]
    content = {"cluster_id": "local", "endpoints": endpoints, "keys_dir": "keys", "client_name": name}
    file.write_text(yaml.safe_dump(content))
    return RaftClient(config.load(file), timeout_s=timeout_s)


def is_let_in(client: RaftClient) -> bool:
    try:
        client.get(b"key", timeout_s=1.0)
    except (RefusedError, NotDoneError):
        return False
    return True


def seen_by_all(cluster: RunningCluster, times: int) -> None:
    """Until every node has read its keys anew that often."""

    def seen() -> bool:
        return all(
            sum("the keys have changed" in event["text"] for event in cluster.events(name, "message")) >= times
            for name in cluster.names
        )

    wait_until(seen, f"every node to have read its keys {times} times")


def clients_let_in_by_all(cluster: RunningCluster) -> None:
    """Until the last that every node says of its keys is as many clients as the folder has now.

    How often it has said something is no sign: it may have looked between two files of one change.
    """
    owners = keys.load_node_keys(cluster.directory / "keys", cluster.names[0]).client_owners.values()
    wanted = f" of {len({owner.name for owner in owners})} clients are let in"

    def so() -> bool:
        texts = [[event["text"] for event in cluster.events(name, "message")] for name in cluster.names]
        said = [[text for text in of_one if "the keys have changed" in text][-1:] for of_one in texts]
        return all(last and last[0].endswith(wanted) for last in said)

    wait_until(so, f"every node to say{wanted}")


def reasons_of_refusals(cluster: RunningCluster) -> set[str]:
    """Why clients were refused, on any node; on a busy machine some also leave during a handshake."""
    refused = [event for name in cluster.names for event in cluster.events(name, "client_refused")]
    return {event["reason"].partition(":")[0] for event in refused}


def test_a_revoked_client_loses_its_live_session_and_nobody_else_does(cluster):
    manage(cluster, "add", "--client", "app=read-write")
    with client_named(cluster, "app") as app, cluster.client() as other:
        clients_let_in_by_all(cluster)
        app.put(b"key", b"by app")
        manage(cluster, "revoke", "client.app")
        begun_s = time.monotonic()
        clients_let_in_by_all(cluster)  # that app hears nothing for a while would be no sign of it
        assert time.monotonic() - begun_s < 5, "nodes look once a second, the rest is a busy machine"
        with pytest.raises((RefusedError, OutcomeUnknownError, NotDoneError)):
            app.put(b"key", b"by a ghost", timeout_s=1.0)
        assert other.get(b"key") == b"by app"
        wait_until(lambda: bool(reasons_of_refusals(cluster) & {"revoked_key", "unknown_key"}), "its key to be refused")


def test_a_client_changes_its_key_without_an_outage(cluster):
    manage(cluster, "add", "--client", "app=read-write")
    with client_named(cluster, "app") as before:
        wait_until(lambda: is_let_in(before), "the new client to be let in")
        manage(cluster, "rotate", "client.app", "--step", "prepare")
        manage(cluster, "rotate", "client.app", "--step", "switch")
        with client_named(cluster, "app") as after:
            assert before.config.keys.own != after.config.keys.own
            wait_until(lambda: is_let_in(after), "the new key to be let in")
            before.put(b"key", b"with the old key")
            after.put(b"key", b"with the new key")
            manage(cluster, "rotate", "client.app", "--step", "finish")
            wait_until(lambda: not is_let_in(before), "the old key to be shut out")
            after.put(b"key", b"with the new key alone")


def test_nodes_change_their_keys_under_load(cluster):
    old = keys.load_node_keys(cluster.directory / "keys", "n1")
    with cluster.workload() as load:
        output = manage(cluster, "rotate", "peer.n1", "peer.n2", "peer.n3", "--pause-s", "2")
        load.wait_for_answers(100)
    assert output.count("the old key is forgotten") == 3
    new = keys.load_node_keys(cluster.directory / "keys", "n1")
    assert all(old.peers[name] != new.peers[name] and len(new.peer_keys[name]) == 1 for name in cluster.names)
    print(f"longest time without a write: {load.longest_silence_s():.2f} s")
    assert load.longest_silence_s() < 5
    cluster.wait_until_equal()
    cluster.judge()
    # Everybody hears everybody, with the new keys alone: a leader counts on both others.
    status = cluster.status(cluster.leader())
    assert [peer["active"] for peer in status["peers"] if peer["node_id"] != cluster.leader()] == [True, True]
    for name in cluster.names:
        connected = [event["peer"] for event in cluster.events(name, "peer_connected")]
        assert {peer for peer in connected if connected.count(peer) > 1} == set(cluster.names) - {name}


def test_the_service_changes_its_key_and_clients_that_know_both_stay(cluster):
    manage(cluster, "rotate", "service", "--step", "prepare")
    with client_named(cluster, "admin", timeout_s=10) as informed, cluster.client() as uninformed:
        assert informed.config.keys.other_server_publics
        informed.put(b"key", b"before")
        uninformed.put(b"key", b"before too")
        manage(cluster, "rotate", "service", "--step", "switch")
        seen_by_all(cluster, 1)
        informed.put(b"key", b"after")
        assert not is_let_in(uninformed), "it trusts the old key alone"
        manage(cluster, "rotate", "service", "--step", "finish")
        with client_named(cluster, "admin") as late:
            assert late.get(b"key") == b"after"
    with RaftClient(_with_next_key(cluster)) as old_file:
        assert old_file.get(b"key") == b"after"


def _with_next_key(cluster: RunningCluster) -> config.ClientConfig:
    """The client.yaml of before, with the new key as next_server_public_key."""
    content = yaml.safe_load(cluster.config_file.read_text())
    content["next_server_public_key"] = (cluster.directory / "keys" / "service.public").read_text().strip()
    file = cluster.directory / "told.yaml"
    file.write_text(yaml.safe_dump(content))
    return config.load(file)


def test_a_revoked_node_is_heard_no_more(cluster):
    revoked = cluster.followers()[0]
    manage(cluster, "revoke", f"peer.{revoked}")

    def shut_out() -> bool:
        peers = cluster.status(cluster.leader())["peers"]
        return [peer["active"] for peer in peers if peer["node_id"] == revoked] == [False]

    wait_until(shut_out, "the leader to hear it no more")
    with cluster.client() as client:
        client.put(b"key", b"by the two others")
    applied = cluster.status(revoked)["last_applied"]
    assert applied < cluster.status(cluster.leader())["last_applied"]


def test_keys_that_cannot_be_read_change_nothing_and_are_told_once(cluster):
    file = cluster.directory / "keys" / "clients.yaml"
    good = file.read_bytes()
    file.write_bytes(good[: len(good) // 2])

    def complaints(name: str) -> list[dict[str, object]]:
        return [event for event in cluster.events(name, "message") if event["level"] == "error"]

    wait_until(lambda: all(complaints(name) for name in cluster.names), "an error line of every node")
    with cluster.client() as client:
        client.put(b"key", b"still let in")
    file.write_bytes(good + f"late: {{public_key: {_a_key(cluster)!r}, role: read-only}}\n".encode())
    seen_by_all(cluster, 1)
    assert [len(complaints(name)) for name in cluster.names] == [1, 1, 1]
    assert "clients.yaml" in str(complaints("n1")[0]["text"])
    with cluster.client() as client:
        assert client.get(b"key") == b"still let in"


def _a_key(cluster: RunningCluster) -> str:
    folder = cluster.directory / "other keys"
    keys.generate(folder, [], {"late": keys.Role.READ_ONLY})
    return (folder / "client.late.public").read_text().strip()


def test_commands_say_what_they_expect(cluster):
    folder = str(cluster.directory / "keys")
    for arguments, expected in (
        (("rotate", "service"), "--step"),
        (("rotate", "client.nobody", "--step", "prepare"), "client.nobody"),
        (("rotate", "peer.n1", "--step", "finish"), "Prepare and switch first"),
        (("revoke", "service"), "keys rotate"),
        (("add",), "--client"),
    ):
        command, *others = arguments
        result = cluster.raftctl("keys", command, "--dir", folder, *others)
        assert result.returncode == 2, result
        assert expected in result.stderr
    listed = msgspec.json.decode(manage(cluster, "list", "--json"))
    assert {line["owner"] for line in listed} >= {"service", "peer.n1", "peer.n2", "peer.n3", "client.admin"}
    secrets = [path.read_text().strip() for path in Path(folder).glob("*.secret")]
    shown = manage(cluster, "list")
    assert not any(secret in shown for secret in secrets)
