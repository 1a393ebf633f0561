"""The parts of the simulated world do what they are named after: clock, disk, network, and the whole."""

import random
from collections import Counter

import pytest

from raft_zmq.core.errors import StorageError
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import AppendReply, Entry, EntryKind, HardState
from tests.simulation import network
from tests.simulation.clock import Clock
from tests.simulation.disk import CorruptionError, Disk, DiskFullError, Record, seal, unseal
from tests.simulation.network import Network, Weather
from tests.simulation.world import TooSlowError, World, noop_command


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [Entry(index, term, EntryKind.COMMAND, b"") for index in range(first, last + 1)]


# -- the clock ---------------------------------------------------------------------------------------------------------


def test_a_clock_has_its_own_zero_and_speed():
    clock = Clock(offset_s=100.0, rate=1.5)
    assert clock.local_s(2.0) == 103.0
    assert clock.world_s(103.0) == 2.0


def test_a_clock_jumps_ahead_drifts_and_stands_still_but_never_goes_back():
    clock = Clock()
    clock.jump(1.0, 5.0)
    assert clock.local_s(2.0) == 7.0
    clock.freeze(2.0, 3.0)
    assert clock.local_s(4.0) == 7.0
    assert clock.local_s(6.0) == 8.0
    clock.drift(6.0, 2.0)
    assert clock.local_s(7.0) == 10.0


def test_a_frozen_clock_can_be_thawed_early():
    clock = Clock()
    clock.freeze(1.0, 10.0)
    clock.thaw(2.0)
    assert clock.local_s(3.0) == 2.0


# -- the disk ----------------------------------------------------------------------------------------------------------


def disk_with(last_index: int) -> Disk:
    disk = Disk("n1.1")
    disk.write(Record(HardState(1, "n1"), None, entries(1, last_index), None))
    disk.sync()
    return disk


def test_what_was_synced_survives_a_crash():
    disk = disk_with(3)
    assert disk.crash(random.Random(0)) == ""
    stored = disk.load()
    assert stored.hard_state == HardState(1, "n1")
    assert stored.entries == tuple(entries(1, 3))


def test_what_was_only_written_is_kept_lost_or_torn():
    fates = set()
    for seed in range(30):
        disk = disk_with(3)
        disk.write(Record(None, None, entries(4, 5), None))
        fate = disk.crash(random.Random(seed))
        assert len(disk.load().entries) == (5 if fate == "kept_write" else 3)
        fates.add(fate)
    assert fates == {"kept_write", "lost_write", "torn_write"}


def test_a_failed_sync_and_a_full_disk_are_storage_errors():
    disk = disk_with(3)
    disk.failing_sync = True
    with pytest.raises(StorageError, match="fdatasync"):
        disk.sync()
    disk.full = True
    with pytest.raises(DiskFullError):
        disk.write(Record(None, None, entries(4, 4), None))


def test_a_flipped_bit_in_the_log_is_found_at_the_next_start():
    disk = disk_with(3)
    assert disk.flip_entry(random.Random(0))
    with pytest.raises(CorruptionError, match="does not match its checksum"):
        disk.load()


def test_the_last_record_is_never_flipped():
    """There it would look like a torn write, which is cut."""
    assert not disk_with(1).flip_entry(random.Random(0))


def test_a_flipped_bit_in_a_snapshot_is_found():
    disk = disk_with(3)
    disk.put_snapshot(3, 1, Membership(), seal([b"state"]))
    assert unseal(disk.snapshot.data) == [b"state"]
    assert disk.flip_snapshot(random.Random(0))
    with pytest.raises(CorruptionError):
        disk.load()


@pytest.mark.parametrize(
    ("index", "term", "left"),
    [(2, 1, 3), (3, 1, 3), (2, 9, 0), (7, 1, 0)],
    ids=["the log holds more", "the log ends there", "the log differs there", "the log does not reach it"],
)
def test_a_crash_between_snapshot_and_log_leaves_only_a_log_that_matches(index, term, left):
    """Figure 13, steps 6 and 7."""
    disk = disk_with(3)
    disk.put_snapshot(index, term, Membership(), seal([]))
    stored = disk.load()
    assert len(stored.entries) == left
    assert stored.snapshot_index == index


def test_compaction_keeps_the_term_before_the_first_entry():
    disk = disk_with(5)
    disk.put_snapshot(3, 1, Membership(), seal([]))
    disk.compact(4)
    assert (disk.log.first_index, disk.log.start_term, disk.log.term_at(3), disk.log.term_at(2)) == (4, 1, 1, None)


# -- the network -------------------------------------------------------------------------------------------------------

MESSAGE = AppendReply(term=1, ok=True, match_index=0, prev_log_index=0, hint_index=0, hint_term=0, read_token=0)
FIVE = ["n1", "n2", "n3", "n4", "n5"]


def deliveries(
    weather: Weather, links: list[tuple[str, str]], count: int = 100
) -> tuple[int, Counter[str], list[float]]:
    """Send n1 → n2 so often; returns how many arrived, what was counted, and the delays."""
    arrived, counts, delays = [], Counter(), []

    def at(delay_s, function, *arguments):
        delays.append(delay_s)
        function(*arguments)

    net = Network(random.Random(1), at, lambda *arguments: arrived.append(arguments), counts)
    net.weather = weather
    net.cut(links)
    for _ in range(count):
        net.send("n1", "n1.1", "n2", MESSAGE)
    assert net.messages["AppendReply"] == count
    assert net.sent_bytes["AppendReply"] >= count * len("AppendReply")
    assert all(arguments == ("n1", "n1.1", "n2", MESSAGE) for arguments in arrived)
    return len(arrived), counts, delays


def test_the_network_loses_repeats_and_delays():
    assert deliveries(Weather(), [])[0] == 100
    arrived, counts, _ = deliveries(Weather(loss=0.5), [])
    assert 0 < arrived == 100 - counts["message_lost"] < 100
    arrived, counts, _ = deliveries(Weather(duplication=0.5), [])
    assert arrived == 100 + counts["message_duplicated"] > 100
    _, counts, delays = deliveries(Weather(straggler=0.5, straggler_s=9.0), [])
    assert sum(delay > 0.005 for delay in delays) == counts["message_delayed"] > 0


def test_nothing_passes_a_cut_link():
    assert deliveries(Weather(), [("n1", "n2")])[:2] == (0, Counter(message_cut=100))
    assert deliveries(Weather(), [("n2", "n1")])[0] == 100


def passes(links: list[tuple[str, str]], sender: str) -> str:
    """Whom a server can reach."""
    return " ".join(name for name in FIVE if name != sender and (sender, name) not in links)


def test_the_shapes_of_partitions():
    assert passes(network.isolate("n2", FIVE), "n2") == ""
    assert passes(network.isolate("n2", FIVE), "n1") == "n3 n4 n5"
    halves = network.split([FIVE[:2], FIVE[2:]])
    assert (passes(halves, "n1"), passes(halves, "n3")) == ("n2", "n4 n5")
    assert passes(network.ring(FIVE), "n1") == "n2 n5"
    over = network.bridge(FIVE)
    assert (passes(over, "n1"), passes(over, "n3"), passes(over, "n5")) == ("n2 n3", "n1 n2 n4 n5", "n3 n4")
    deaf, mute = network.one_way("n1", FIVE, deaf=True), network.one_way("n1", FIVE, deaf=False)
    assert (passes(deaf, "n1"), passes(deaf, "n2")) == ("n2 n3 n4 n5", "n3 n4 n5")
    assert (passes(mute, "n1"), passes(mute, "n2")) == ("", "n1 n3 n4 n5")


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_a_leader_that_is_cut_off_tells_its_clients_that_the_outcome_is_unknown():
    """Rule 24."""
    world = World.cluster(3)
    leader = world.run(until=world.leader)
    world.partition([[leader.node_id], [name for name in world.node_ids if name != leader.node_id]])
    answers = []
    world.propose(noop_command("a"), answer=answers.append)
    world.run(until=lambda: answers, limit_s=2.0)
    assert answers[0].kind == "unknown"


def test_a_world_is_scripted():
    world = World.cluster(3)
    leader = world.run(until=world.leader)
    answers = []
    world.propose(noop_command("a"), answer=answers.append)
    world.run(until=lambda: answers, limit_s=1.0)
    assert answers[0].kind == "done"
    world.run(until=world.agreed, limit_s=1.0)
    world.crash(leader.node_id)
    assert world.run(until=world.leader, limit_s=3.0) is not leader
    world.restart(leader.node_id)
    world.run(until=world.agreed, limit_s=3.0)


def test_a_wiped_server_comes_back_as_another_incarnation_and_is_promoted_again():
    """Rule 15."""
    world = World.cluster(3)
    leader = world.run(until=world.leader)
    world.run(until=world.agreed)
    lost = next(name for name in world.node_ids if name != leader.node_id)
    world.crash(lost)
    world.wipe(lost)
    world.restart(lost)
    world.run_for(1.0)
    world.run(until=world.agreed, limit_s=5.0)
    voters = {member.node_id: member.incarnation for member in leader.raft.state.membership.voters}
    assert voters[lost] == f"{lost}.2"


def test_a_condition_that_does_not_come_true_in_time_is_an_error():
    world = World.cluster(3)
    world.partition([["n1"], ["n2"], ["n3"]])
    with pytest.raises(TooSlowError, match="leader: expected within 2 simulated seconds"):
        world.run(until=world.leader, limit_s=2.0)
