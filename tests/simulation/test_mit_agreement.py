"""Scenarios of the MIT 6.5840 labs, part 3B: log replication (§5.3). The names are theirs."""

from tests.simulation.mit import ELECTION_S, Cluster

AGREEMENT_CALLS_MAX = (10 + 1 + 3) * 3  # on ten entries
IDLE_CALLS_MAX = 60  # in a second
SPARE_BYTES = 50_000


def test_basic_agree():
    """BasicAgree: commands are committed one after the other, and none before it was proposed."""
    cluster = Cluster(3)
    cluster.leader()
    first = cluster.one(3)
    for offset in (1, 2, 3):
        command = cluster.command()
        assert cluster.agreed(first + offset, command) == 0
        assert cluster.one(3, command) == first + offset


def test_rpc_bytes():
    """RPCBytes: n bytes agreed on cost n bytes for each follower, and 50,000 in all for everything else."""
    cluster = Cluster(3)
    cluster.one(3)
    before_bytes = cluster.sent_bytes()
    agreed_bytes = 0
    for _ in range(10):
        cluster.one(3, cluster.command(size_bytes=5_000))
        agreed_bytes += 5_000
    spent_bytes = cluster.sent_bytes() - before_bytes
    assert agreed_bytes * 2 <= spent_bytes <= agreed_bytes * 2 + SPARE_BYTES


def test_follower_failure():
    """FollowerFailure: two of three agree, one alone does not."""
    cluster = Cluster(3)
    cluster.one(3)
    leader = cluster.leader()
    cluster.disconnect(cluster.others(leader)[0])
    cluster.one(2)
    cluster.wait()
    cluster.one(2)

    leader = cluster.leader()
    cluster.disconnect(*cluster.others(leader))
    command = cluster.command()
    index = cluster.start(leader, command)
    assert index
    cluster.wait(2 * ELECTION_S)
    assert cluster.agreed(index, command) == 0


def test_leader_failure():
    """LeaderFailure: two of three agree without their old leader; with both leaders gone nobody agrees."""
    cluster = Cluster(3)
    cluster.one(3)
    first = cluster.leader()
    cluster.disconnect(first)
    cluster.one(2)
    cluster.wait()
    cluster.one(2)

    cluster.disconnect(cluster.leader())
    commands = {cluster.command(): name for name in cluster.names}
    indexes = [(cluster.start(name, command), command) for command, name in commands.items()]
    cluster.wait(2 * ELECTION_S)
    assert not any(index and cluster.agreed(index, command) for index, command in indexes)


def test_fail_agree():
    """FailAgree: a follower that was away takes part again, with all it missed."""
    cluster = Cluster(3)
    cluster.one(3)
    away = cluster.others(cluster.leader())[0]
    cluster.disconnect(away)
    cluster.some(2, servers=2)
    cluster.wait()
    cluster.some(2, servers=2)

    cluster.connect(away)
    cluster.one(3)
    cluster.wait()
    cluster.one(3)


def test_fail_no_agree():
    """FailNoAgree: three of five are away and nothing is agreed on; with them back it goes on."""
    cluster = Cluster(5)
    first = cluster.one(5)
    leader = cluster.leader()
    away = cluster.others(leader, 3)
    cluster.disconnect(*away)
    command = cluster.command()
    index = cluster.start(leader, command)
    assert index == first + 1
    cluster.wait(2 * ELECTION_S)
    assert cluster.agreed(index, command) == 0

    cluster.connect(*away)
    leader = cluster.leader()
    again = cluster.start(leader)
    assert first + 2 <= again <= first + 3  # after the new leader's empty entry, and maybe after `command`
    cluster.one(5)


def test_concurrent_starts():
    """ConcurrentStarts: commands proposed at once in one term are all agreed on, each at an index of its own."""
    cluster = Cluster(3)
    leader = cluster.leader()
    (term,) = cluster.terms()
    cluster.one(3)
    commands = [cluster.command() for _ in range(5)]
    indexes = [cluster.start(leader, command) for command in commands]
    assert len(set(indexes)) == 5
    cluster.wait()
    assert cluster.terms() == {term}
    assert [cluster.agreed(index, command) for index, command in zip(indexes, commands, strict=True)] == [3] * 5


def test_rejoin():
    """Rejoin: a leader comes back with entries that nobody else has; they give way."""
    cluster = Cluster(3)
    cluster.one(3)
    first = cluster.leader()
    cluster.disconnect(first)
    lost = [cluster.command() for _ in range(3)]
    assert all(cluster.start(first, command) for command in lost)
    cluster.one(2)

    second = cluster.leader()
    cluster.disconnect(second)
    cluster.connect(first)
    cluster.one(2)

    cluster.connect(second)
    cluster.one(3)
    assert not set(lost) & set(cluster.committed_commands())


def test_backup():
    """Backup: leaders come and go with fifty entries each that nobody else has; the logs agree again, and quickly."""
    cluster = Cluster(5)
    cluster.one(5)
    first = cluster.leader()
    (partner, *trio) = cluster.others(first)
    cluster.disconnect(*trio)
    lost = [cluster.command() for _ in range(100)]
    assert all(cluster.start(first, command) for command in lost[:50])
    cluster.wait(ELECTION_S / 2)

    cluster.disconnect(first, partner)
    cluster.connect(*trio)
    cluster.some(50, servers=3)

    second = cluster.leader()
    other = next(name for name in trio if name != second)
    cluster.disconnect(other)
    assert all(cluster.start(second, command) for command in lost[50:])
    cluster.wait(ELECTION_S / 2)

    cluster.disconnect(*cluster.names)
    cluster.connect(first, partner, other)
    before = cluster.calls()
    cluster.one(3)
    assert cluster.calls() - before <= 60, "the way back to where the logs agree went entry by entry"
    cluster.some(49, servers=3)

    cluster.connect()
    cluster.one(5)
    assert not set(lost) & set(cluster.committed_commands())


def test_count():
    """Count: at most (10 + 1 + 3) * 3 calls for agreement on ten entries, and at most 60 in an idle second."""
    cluster = Cluster(3)
    leader = cluster.leader()
    cluster.one(3)
    (term,) = cluster.terms()
    before = cluster.calls()
    commands = [cluster.command() for _ in range(10)]
    indexes = [cluster.start(leader, command) for command in commands]
    cluster.world.run(until=lambda: cluster.agreed(indexes[-1], commands[-1]) == 3)
    assert cluster.terms() == {term}
    assert 1 <= cluster.calls() - before <= AGREEMENT_CALLS_MAX

    before = cluster.calls()
    cluster.wait(1.0)
    assert 1 <= cluster.calls() - before <= IDLE_CALLS_MAX
