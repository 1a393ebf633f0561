"""Faults at their worst moment, each a story of its own; test_faults.py has the same kinds at random moments."""

from collections.abc import Iterator

import msgspec
import pytest

from raft_zmq.core.messages import PeerMessage
from tests.simulation import network
from tests.simulation.mit import ELECTION_S, Cluster
from tests.simulation.server import STAGES
from tests.simulation.service import Reply

LONG_S = 5 * ELECTION_S


def submit(cluster: Cluster, name: str) -> tuple[bytes, list[Reply]]:
    """Propose at that server; the command, and the list its answer will be in."""
    command, answers = cluster.command(), []
    cluster.world.propose(command, to=name, answer=answers.append)
    return command, answers


def done(answers: list[Reply]) -> bool:
    """Whether the command was acknowledged."""
    return any(reply.kind == "done" for reply in answers)


def led_all_the_time(cluster: Cluster, seconds: float) -> None:
    """Nobody takes the place of the leader, and it goes on committing."""
    leader = cluster.leader()
    term = cluster.world.servers[leader].raft.state.current_term
    until_s = cluster.world.now_s + seconds
    while cluster.world.now_s < until_s:
        _, answers = submit(cluster, leader)
        cluster.wait(0.1)
        assert done(answers), f"{leader} committed nothing for 0.1 s"
        assert cluster.world.servers[leader].raft.state.current_term == term, "its followers were made to leave it"


def agree_after_healing(cluster: Cluster) -> None:
    """Liveness: once all is well, all agree within the bound of `one`."""
    cluster.world.mend()
    cluster.connect()
    cluster.one(len(cluster.names))


# -- partitions of odd shapes ------------------------------------------------------------------------------------------


def test_a_ring_keeps_its_leader():
    """ring partition: of five servers each hears two, a majority with itself; the others do not unseat a leader"""
    cluster = Cluster(5)
    cluster.one(5)
    cluster.world.network.cut(network.ring(cluster.names))
    led_all_the_time(cluster, LONG_S)
    agree_after_healing(cluster)


@pytest.mark.parametrize("servers", [3, 5])
def test_a_bridge_keeps_its_leader(servers):
    """bridge partition: a leader in one half, and its followers reach the other half through the middle only"""
    cluster = Cluster(servers)
    cluster.one(servers)
    leader = cluster.leader()
    cluster.world.network.cut(network.bridge([leader, *cluster.others(leader)]))
    led_all_the_time(cluster, LONG_S)
    agree_after_healing(cluster)


def test_the_hub_of_a_star_takes_over():
    """bridge partition: all hear only one server, and the leader is not that one: it must go, for it reaches too few"""
    cluster = Cluster(5)
    cluster.one(5)
    leader = cluster.leader()
    hub = cluster.others(leader)[0]
    spokes = [name for name in cluster.names if name != hub]
    cluster.world.network.cut([(one, other) for one in spokes for other in spokes if one != other])
    cluster.world.run(until=lambda: cluster.leader() == hub, limit_s=LONG_S)
    led_all_the_time(cluster, LONG_S)
    agree_after_healing(cluster)


def test_a_leader_that_is_not_heard_is_replaced():
    """one-way partition: the leader hears the others, and they do not hear it"""
    cluster = Cluster(3)
    cluster.one(3)
    leader = cluster.leader()
    cluster.world.network.cut(network.one_way(leader, cluster.names, deaf=False))
    cluster.world.run(until=lambda: leader not in [each.node_id for each in cluster.leaders()], limit_s=2 * ELECTION_S)
    assert cluster.leader() != leader
    led_all_the_time(cluster, LONG_S)
    agree_after_healing(cluster)


def test_a_leader_that_hears_nobody_steps_down():
    """one-way partition: the leader is heard and hears nobody (rule 24); otherwise nothing would be committed again"""
    cluster = Cluster(3)
    cluster.one(3)
    leader = cluster.leader()
    cluster.world.network.cut(network.one_way(leader, cluster.names, deaf=True))
    _, answers = submit(cluster, leader)
    cluster.wait(2 * ELECTION_S)
    assert [reply.kind for reply in answers] == ["unknown"]
    assert cluster.leader() != leader
    led_all_the_time(cluster, LONG_S)
    agree_after_healing(cluster)


@pytest.mark.parametrize("deaf", [True, False])
def test_a_follower_cut_off_one_way_disturbs_nobody(deaf):
    """one-way partition: a follower that does not hear the leader asks for pre-votes in vain (thesis 9.6)"""
    cluster = Cluster(3)
    cluster.one(3)
    follower = cluster.others(cluster.leader())[0]
    cluster.world.network.cut(network.one_way(follower, cluster.names, deaf=deaf))
    led_all_the_time(cluster, LONG_S)
    agree_after_healing(cluster)


# -- disks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["full", "failing_sync"])
def test_a_leader_whose_disk_fails_acknowledges_nothing(trouble):
    """full disk, failed sync: the leader stops at once (rule 25), the others go on, and it comes back with room"""
    cluster = Cluster(3)
    cluster.one(3)
    leader = cluster.leader()
    setattr(cluster.world.servers[leader].disk, trouble, True)
    _, answers = submit(cluster, leader)
    assert not cluster.world.servers[leader].up, "it went on after a write that did not reach the disk"
    assert answers == []
    cluster.one(2)
    setattr(cluster.world.servers[leader].disk, trouble, False)
    cluster.restart(leader)
    cluster.one(3)


@pytest.mark.parametrize("trouble", ["full", "failing_sync"])
def test_a_follower_whose_disk_fails_holds_up_nobody(trouble):
    """full disk, failed sync: the follower stops and has promised nothing of what it could not write"""
    cluster = Cluster(3)
    cluster.one(3)
    leader = cluster.leader()
    (other, follower) = cluster.others(leader)
    cluster.disconnect(other)
    setattr(cluster.world.servers[follower].disk, trouble, True)
    _, answers = submit(cluster, leader)
    cluster.wait(0.1)
    assert not cluster.world.servers[follower].up
    assert answers == [], "a copy that is on no disk was counted"
    cluster.connect(other)
    cluster.one(2)
    cluster.world.servers[follower].disk.full = False
    cluster.restart(follower)
    cluster.one(3)


@pytest.mark.parametrize("stage", STAGES)
def test_all_lose_their_unsynced_writes_at_once(stage):
    """lost un-synced writes: all servers die at the same step of a round; what was acknowledged before is there"""
    fates = set()
    for seed in range(4):
        cluster = Cluster(3, seed=seed, sync_s=(0.001, 0.003), snapshot_entries=4, trailing_entries=0)
        cluster.one(3)
        leader = cluster.leader()
        for server in cluster.world.servers.values():
            server.crash_at = stage
        acknowledged = []
        for _ in range(5):
            command, answers = submit(cluster, leader)
            acknowledged.append((command, answers))
        cluster.wait(0.5)
        cluster.crash(*cluster.names)
        fates |= cluster.world.counts.keys() & {"kept_write", "lost_write", "torn_write"}
        cluster.restart(*cluster.names)
        cluster.one(3)
        committed = cluster.committed_commands()
        assert all(command in committed for command, answers in acknowledged if done(answers))
    if stage == "written":
        assert fates == {"kept_write", "lost_write", "torn_write"}


def test_a_slow_disk_of_a_follower_holds_up_nobody():
    """slow disk: a follower whose syncs take a second; the others commit as fast as ever"""
    cluster = Cluster(3)
    cluster.one(3)
    leader = cluster.leader()
    slow = cluster.world.servers[cluster.others(leader)[0]]
    slow.sync_s = (1.0, 1.0)
    led_all_the_time(cluster, LONG_S)
    slow.sync_s = (0.0, 0.0)
    agree_after_healing(cluster)


def test_a_slow_disk_of_the_leader_costs_it_the_lead():
    """slow disk: a leader that stands still for a second at each sync is replaced, and does not come back to disturb"""
    cluster = Cluster(3)
    cluster.one(3)
    leader = cluster.leader()
    cluster.world.servers[leader].sync_s = (1.0, 1.0)
    submit(cluster, leader)
    cluster.world.run(until=lambda: any(each.node_id != leader for each in cluster.leaders()), limit_s=2 * ELECTION_S)
    assert cluster.leader() != leader
    led_all_the_time(cluster, LONG_S)
    cluster.world.servers[leader].sync_s = (0.0, 0.0)
    agree_after_healing(cluster)


# -- snapshots and versions --------------------------------------------------------------------------------------------


def behind() -> tuple[Cluster, str, str]:
    """A cluster, its leader, and a follower that needs a snapshot and has got a part of it when it is cut off again."""
    cluster = Cluster(3, snapshot_entries=10, trailing_entries=0, chunk_bytes=10)
    cluster.one(3)
    leader = cluster.leader()
    follower = cluster.others(leader)[0]
    cluster.disconnect(follower)
    cluster.some(12, servers=2)
    cluster.wait(0.1)
    cluster.connect(follower)
    cluster.world.run(until=lambda: received_bytes(cluster, follower) >= 30)
    assert cluster.world.counts["snapshot_installed"] == 0
    cluster.disconnect(follower)
    return cluster, leader, follower


def received_bytes(cluster: Cluster, name: str) -> int:
    """How much of a snapshot is there."""
    incoming = cluster.world.servers[name].raft.state.snapshot_in
    return incoming.next_offset if incoming is not None else 0


def test_a_snapshot_goes_on_after_a_partition():
    """snapshot during a partition: what has come already is not sent again"""
    cluster, _, follower = behind()
    before = received_bytes(cluster, follower)
    cluster.wait(2 * ELECTION_S)
    offsets = []
    cluster.world.watchers.append(lambda server: offsets.append(received_bytes(cluster, follower)))
    cluster.connect(follower)
    cluster.world.run(until=lambda: cluster.world.counts["snapshot_installed"] == 1)
    assert min(offset for offset in offsets[:-1]) >= before
    cluster.one(3)


def test_a_newer_snapshot_takes_the_place_of_one_that_was_cut_off():
    """snapshot during a partition: the leader goes on, and drops what the half-sent snapshot ended with"""
    cluster, _, follower = behind()
    cluster.some(40, servers=2)
    cluster.connect(follower)
    cluster.one(3)
    assert cluster.world.counts["snapshot_installed"] >= 1


def test_a_newer_snapshot_takes_the_place_of_one_that_is_damaged_where_it_is_sent_from():
    """snapshot during a partition: nobody could install it, however often it came; the next one takes its place"""
    cluster, leader, follower = behind()
    sender = cluster.world.servers[leader]
    damaged_index = sender.raft.state.progress[follower].snapshot_index
    sender.damage_open_snapshot()
    cluster.some(12, servers=2)
    cluster.connect(follower)
    cluster.one(3)
    assert cluster.world.counts["snapshot_installed"] == 1
    assert cluster.world.servers[follower].disk.snapshot.index > damaged_index


def test_another_leader_sends_its_own_snapshot():
    """snapshot during a partition: the leader dies halfway; the next one's file need not have the same bytes"""
    cluster, leader, follower = behind()
    cluster.crash(leader)
    cluster.connect(follower)
    cluster.one(2)
    cluster.restart(leader)
    cluster.one(3)
    assert cluster.world.counts["snapshot_installed"] >= 1


class Versions:
    """Which version of the program each server runs: an older one knows one field less, a newer one has one more."""

    def __init__(self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of = dict.fromkeys(cluster.names, "older")
        self.sent = dict.fromkeys(("older", "newer"), 0)
        self._sender = ""
        self._plain = network._encode
        self._send = cluster.world.network.send
        monkeypatch.setattr(cluster.world.network, "send", self._note_sender)
        monkeypatch.setattr(network, "_encode", self._encode)

    def _note_sender(self, sender: str, incarnation: str, to: str, message: PeerMessage) -> None:
        self._sender = sender
        self._send(sender, incarnation, to, message)

    def _encode(self, message: PeerMessage) -> bytes:
        version = self.of[self._sender]
        self.sent[version] += 1
        fields = msgspec.to_builtins(message, builtin_types=(bytes,))
        if version == "newer":
            fields.append("a field that only a newer version knows")
        elif message.__struct_defaults__ and message.__struct_defaults__[-1] is not msgspec.NODEFAULT:
            fields.pop()
        return self._plain(fields)


def steps(names: list[str]) -> Iterator[tuple[str, str]]:
    """One after the other becomes newer; then one goes back, and forth again."""
    yield from ((name, "newer") for name in names)
    yield names[0], "older"
    yield names[0], "newer"


def test_a_rolling_upgrade_under_load(monkeypatch):
    """two versions side by side in a rolling upgrade: elections, entries, snapshots and a step back work all along"""
    cluster = Cluster(3, snapshot_entries=5, trailing_entries=0, chunk_bytes=50)
    versions = Versions(cluster, monkeypatch)
    cluster.one(3)
    for name, version in steps(cluster.names):
        cluster.crash(name)
        cluster.some(8, servers=2)
        versions.of[name] = version
        cluster.restart(name)
        cluster.one(3)
        cluster.world.transfer(name)
        cluster.world.run(until=lambda name=name: cluster.leader() == name)
        cluster.some(3, servers=3)
    assert set(versions.of.values()) == {"newer"}
    assert min(versions.sent.values()) > 100
    assert cluster.world.counts["snapshot_installed"] >= 3
