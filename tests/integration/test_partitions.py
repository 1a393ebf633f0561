"""Partitions and bad networks between real processes, made by the fault shim (`raftctl fault`)."""

import msgspec
import pytest

from raft_zmq.core.errors import NotLeaderError, OutcomeUnknownError
from raft_zmq.wire.client_messages import Read, Write
from raft_zmq.wire.commands import Get, Put
from tests.integration.waiting import wait_until


def test_a_leader_that_is_cut_off_gives_way_and_its_entries_go(start_cluster):
    """Rejoin: what the cut-off leader could not commit is removed when it meets the log of the next one."""
    cluster = start_cluster(3, fault_injection=True, check_quorum=False)  # so that it goes on taking proposals
    old = cluster.leader()
    others = cluster.followers()
    with cluster.client(timeout_s=20) as client:
        client.put(b"key", b"agreed")
        command = client.open_session().next_command(Put(b"key", b"never agreed"))
        cluster.partition([old], others)
        with pytest.raises(OutcomeUnknownError):
            client.ask_node(lambda request_id: Write(request_id, command), cluster.address(old), timeout_s=2.0)
        client.put(b"key", b"agreed without it")
        cluster.heal()
        wait_until(lambda: cluster.status(old)["role"] == "follower", f"{old} to follow")
        client.put(b"other", b"agreed by all")
        assert client.get(b"key") == b"agreed without it"
    cluster.wait_until_equal()
    assert cluster.events(old, "log_truncated"), "the entry that only the old leader had must be gone"
    cluster.judge()


def test_a_minority_leader_steps_down_and_answers_nothing(start_cluster):
    """Rule 24, thesis 6.2: without a majority there is neither a write nor a read, and no stale value."""
    cluster = start_cluster(5, fault_injection=True)
    old = cluster.leader()
    follower, *majority = cluster.followers()
    with cluster.client(timeout_s=20) as client:
        client.put(b"key", b"before")
        command = client.open_session().next_command(Put(b"key", b"of the minority"))
        cluster.partition([old, follower], majority)
        for name in (old, follower):
            wait_until(lambda name=name: cluster.status(name)["leader_id"] == "", f"{name} to know of no leader")
        client.put(b"key", b"after")
        for name in (old, follower):
            for request in (
                lambda request_id: Read(request_id, msgspec.msgpack.encode(Get(b"key"))),
                lambda request_id: Write(request_id, command),
            ):
                with pytest.raises(NotLeaderError) as refused:
                    client.ask_node(request, cluster.address(name), timeout_s=5.0)
                assert refused.value.leader_id == ""
    terms = {cluster.status(name)["term"] for name in (old, follower)}
    cluster.heal()
    leader = cluster.wait_for_leader_among(cluster.names)
    assert leader in majority
    assert cluster.status(leader)["term"] > max(terms), "pre-votes raise no terms"
    with cluster.client(timeout_s=20) as client:
        assert client.get(b"key") == b"after"
    cluster.wait_until_equal()
    cluster.judge()


def test_a_follower_that_returns_does_not_unseat_the_leader(start_cluster):
    """Thesis 9.6: cut off, it asks for pre-votes in vain; its term has not grown when it is back."""
    cluster = start_cluster(3, fault_injection=True, election_timeout_s_min=0.5, election_timeout_s_max=1.0)
    leader = cluster.wait_for_leader_among(cluster.names)
    follower, other = cluster.followers()
    cluster.partition([follower], [leader, other])
    wait_until(lambda: len(cluster.events(follower, "became_pre_candidate")) >= 3, "three elections that begin")
    term = cluster.status(leader)["term"]
    assert cluster.status(follower)["term"] <= term
    cluster.heal()
    assert cluster.wait_for_leader_among(cluster.names) == leader
    assert cluster.status(leader)["term"] == term
    cluster.judge()


def test_a_leader_that_can_send_but_not_hear_steps_down(start_cluster):
    """A one-way partition: its heartbeats keep the others quiet, so it has to notice by itself (thesis 6.2)."""
    cluster = start_cluster(3, fault_injection=True)
    deaf = cluster.wait_for_leader_among(cluster.names)
    others = cluster.followers()
    with cluster.client(timeout_s=20) as client:
        for name in others:
            client.fault(cluster.address(name), "drop", [deaf])
        wait_until(lambda: bool(cluster.events(deaf, "stepped_down")), f"{deaf} to step down")
        assert cluster.events(deaf, "stepped_down")[0]["reason"] in ("no_quorum", "higher_term")
        client.put(b"key", b"value")
        assert cluster.leader() != deaf
        cluster.heal()
        client.put(b"key", b"healed")
    cluster.wait_until_equal()
    cluster.judge()


def test_a_bridge_between_two_halves_keeps_the_cluster_going(start_cluster):
    """A bridge partition: two pairs that hear only the one between them; it makes a majority with either."""
    cluster = start_cluster(5, fault_injection=True)
    with cluster.client(timeout_s=20) as client:
        client.put(b"key", b"before")
        left, right, bridge = cluster.names[:2], cluster.names[2:4], cluster.names[4]
        for near, far in ((left, right), (right, left)):
            for name in near:
                client.fault(cluster.address(name), "partition", far)
        for number in range(20):
            client.append(b"list", b"%d," % number)
        assert client.get(b"list") == b"".join(b"%d," % number for number in range(20))
        assert cluster.status(bridge)["commit_index"] > 0
        cluster.heal()
        client.put(b"key", b"after")
    cluster.wait_until_equal()
    cluster.judge()


def test_agreement_over_a_network_that_loses_delays_and_doubles(start_cluster):
    """UnreliableAgree: a tenth of the messages lost, a third late and out of order, a tenth twice; all of it agreed."""
    cluster = start_cluster(3, fault_injection=True)
    with cluster.workload(clients=4) as workload:
        for name in cluster.names:
            for fault in (("drop", "0.1", "0"), ("delay", "0.3", "0.03"), ("duplicate", "0.1", "0")):
                kind, share, seconds = fault
                done = cluster.raftctl("fault", name, kind, "--share", share, "--seconds", seconds)
                assert done.returncode == 0, done
        workload.wait_for_answers(300)
        cluster.heal()
    kinds = {event["kind"] for event in cluster.events(cluster.names[0], "fault_injected")}
    assert kinds == {"drop", "delay", "duplicate"}
    assert cluster.events(cluster.names[0], "fault_cleared")
    cluster.wait_until_equal()
    cluster.judge()


def test_every_fault_that_raftctl_offers_is_one_that_nodes_know(start_cluster):
    """`raftctl fault`: each kind is taken and reported; clear ends them all."""
    cluster = start_cluster(1, fault_injection=True)
    for kind in ("drop", "delay", "duplicate", "partition", "slow_disk"):
        result = cluster.raftctl("fault", "n1", kind, "--seconds", "0.2")
        assert result.returncode == 0, result
    assert [event["kind"] for event in cluster.events("n1", "fault_injected")] == [
        "drop",
        "delay",
        "duplicate",
        "partition",
        "slow_disk",
    ]
    assert cluster.raftctl("put", "key", "value").returncode == 0
    wait_until(lambda: bool(cluster.events("n1", "slow_disk")), "the slow disk to be reported")
    assert cluster.events("n1", "slow_disk")[0]["sync_s"] >= 0.2
    assert cluster.raftctl("fault", "n1", "clear").returncode == 0
    assert cluster.events("n1", "fault_cleared")


def test_a_node_injects_no_fault_unless_its_settings_allow_it(cluster_of_three):
    """`raftctl fault` on an ordinary node: one line that says which setting it takes."""
    refused = cluster_of_three.raftctl("fault", "n1", "drop")
    assert refused.returncode == 2
    assert "fault_injection" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
