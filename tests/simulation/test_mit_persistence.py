"""Scenarios of the MIT 6.5840 labs, part 3C: persistence (Figure 2) and bad networks. The names are theirs."""

import pytest

from tests.simulation.mit import ELECTION_S, Cluster
from tests.simulation.network import Weather

LONG_REORDERING = Weather(loss=0.1, delay_s_max=0.027, straggler=2 / 3, straggler_s=2.2)
TURNS = 600
SHORT_S = 0.013  # less than a round of messages takes


def test_persist_1():
    """Persist1: what was agreed on is there after all, the leader or a follower has been restarted."""
    cluster = Cluster(3)
    cluster.one(3)
    cluster.crash(*cluster.names)
    cluster.restart(*cluster.names)
    cluster.one(3)

    leader = cluster.leader()
    cluster.crash(leader)
    cluster.restart(leader)
    cluster.one(3)

    leader = cluster.leader()
    cluster.crash(leader)
    index = cluster.one(2)
    cluster.restart(leader)
    cluster.world.run(until=lambda: cluster.world.servers[leader].replica.last_applied >= index)

    follower = cluster.others(cluster.leader())[0]
    cluster.crash(follower)
    cluster.one(2)
    cluster.restart(follower)
    cluster.one(3)
    assert len(cluster.committed_commands()) == 6


def test_persist_2():
    """Persist2: servers of five go down and come back in turn, always with a majority that knows the newest entry."""
    cluster = Cluster(5)
    proposed = 0
    for _ in range(5):
        cluster.one(5)
        leader = cluster.leader()
        (second, third, fourth, fifth) = cluster.others(leader)
        cluster.crash(second, third)
        cluster.one(3)
        cluster.crash(leader, fourth, fifth)
        cluster.restart(second, third)
        cluster.wait()
        assert cluster.leaders() == [], "two of five elected a leader"
        cluster.restart(fourth)
        cluster.one(3)
        cluster.restart(leader, fifth)
        proposed += 3
    cluster.one(5)
    assert len(set(cluster.committed_commands())) == proposed + 1


def test_persist_3():
    """Persist3: leader and one follower crash, and the leader comes back with a server that missed the newest entry."""
    cluster = Cluster(3)
    cluster.one(3)
    leader = cluster.leader()
    (follower, away) = cluster.others(leader)
    cluster.disconnect(away)
    cluster.one(2)
    cluster.crash(leader, follower)
    cluster.connect(away)
    cluster.restart(leader)
    cluster.one(2)
    cluster.restart(follower)
    cluster.one(3)
    assert len(set(cluster.committed_commands())) == 4


def start_everywhere(cluster: Cluster) -> str:
    """Propose at every server; the last one that took the command for a leader's, "" if none did."""
    took = ""
    for name in cluster.names:
        if cluster.start(name):
            took = name
    return took


@pytest.mark.parametrize("seed", range(3))
def test_figure_8(seed):
    """Figure8: leaders crash right after they have appended, so that entries of many old terms are about (§5.4.2)."""
    cluster = Cluster(5, seed=seed)
    cluster.one(1)
    for _ in range(TURNS):
        leader = start_everywhere(cluster)
        cluster.wait(cluster.rng.uniform(0, ELECTION_S / 2 if cluster.rng.random() < 0.1 else SHORT_S))
        if leader:
            cluster.crash(leader)
        down = [name for name in cluster.names if not cluster.world.servers[name].up]
        if len(down) > 2:
            cluster.restart(cluster.rng.choice(down))
    cluster.restart(*cluster.names)
    cluster.one(5)
    (term,) = cluster.terms()
    assert term > 10, "there were too few leaders to show anything"


def test_unreliable_agree():
    """UnreliableAgree: a network that loses a tenth and delays the rest holds up no agreement."""
    cluster = Cluster(5)
    cluster.unreliable()
    commands = []
    for _ in range(50):
        cluster.leader()
        commands += [cluster.command() for _ in range(4)]
        for command in commands[-4:]:
            start_at_leader(cluster, command)
        cluster.one(1)
    cluster.reliable()
    cluster.one(5)
    committed = cluster.committed_commands()
    assert sum(command in committed for command in commands) >= 0.9 * len(commands)


def start_at_leader(cluster: Cluster, command: bytes) -> None:
    """Propose once, and leave it to the cluster."""
    for leader in cluster.leaders():
        cluster.start(leader.node_id, command)


@pytest.mark.parametrize("seed", range(3))
def test_figure_8_unreliable(seed):
    """Figure8Unreliable: as Figure8, servers cut off instead of killed, messages lost and far out of order."""
    cluster = Cluster(5, seed=seed)
    cluster.unreliable()
    cluster.one(1)
    for turn in range(TURNS):
        if turn == TURNS // 5:
            cluster.unreliable(LONG_REORDERING)
        leader = start_everywhere(cluster)
        cluster.wait(cluster.rng.uniform(0, ELECTION_S / 2 if cluster.rng.random() < 0.1 else SHORT_S))
        if leader and cluster.rng.random() < 0.5:
            cluster.disconnect(leader)
        away = sorted(set(cluster.names) - cluster.connected)
        if len(away) > 2:
            cluster.connect(cluster.rng.choice(away))
    cluster.connect()
    cluster.reliable()
    cluster.one(5)
    assert max(cluster.terms()) >= 6, "there were too few leaders to show anything"


class Proposer:
    """Proposes one command after the other, each until it has been committed; goes on by itself."""

    POLL_S = 0.02
    PATIENCE_S = 0.3

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.done: list[bytes] = []
        self.stopped = False
        self._propose()

    def _propose(self) -> None:
        if self.stopped:
            return
        self._command = self.cluster.command()
        starts = ((name, self.cluster.start(name, self._command)) for name in self.cluster.names)
        self._indexes = [index for _, index in starts if index]
        self._poll(self.cluster.world.now_s + self.PATIENCE_S)

    def _poll(self, give_up_s: float) -> None:
        committed = any(self.cluster.is_committed(index, self._command) for index in self._indexes)
        if committed:
            self.done.append(self._command)
        if committed or self.cluster.world.now_s >= give_up_s:
            self.cluster.world.at(self.POLL_S, self._propose)
        else:
            self.cluster.world.at(self.POLL_S, self._poll, give_up_s)


def churn(cluster: Cluster) -> None:
    """Three proposers go on while servers are cut off, connected, killed and started; nothing they saw may be lost."""
    proposers = [Proposer(cluster) for _ in range(3)]
    for _ in range(20):
        draw = cluster.rng.random
        if draw() < 0.2:
            cluster.disconnect(cluster.rng.choice(cluster.names))
        if draw() < 0.5:
            cluster.restart(cluster.rng.choice(cluster.names))
        if draw() < 0.2:
            cluster.crash(cluster.rng.choice(cluster.names))
        cluster.wait(ELECTION_S * 7 / 10)
    cluster.wait()
    cluster.reliable()
    cluster.restart(*cluster.names)
    for proposer in proposers:
        proposer.stopped = True
    cluster.wait()
    cluster.one(5)
    committed = cluster.committed_commands()
    done = [command for proposer in proposers for command in proposer.done]
    assert len(done) >= 20
    assert len(set(done)) == len(done)
    assert set(done) <= set(committed)


@pytest.mark.parametrize("seed", range(2))
def test_reliable_churn(seed):
    """ReliableChurn: clients lose nothing while servers come and go."""
    churn(Cluster(5, seed=seed))


@pytest.mark.parametrize("seed", range(2))
def test_unreliable_churn(seed):
    """UnreliableChurn: nor when the network loses and delays messages as well."""
    cluster = Cluster(5, seed=seed)
    cluster.unreliable()
    churn(cluster)
