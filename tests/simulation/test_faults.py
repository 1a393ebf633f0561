"""Every kind of fault alone, under load: safe while it lasts, and after healing agreement and every acknowledged write.

`run_plan` checks all invariants after each step, agreement within AGREEMENT_S_MAX of simulated time after the healing,
the final reads, and the linearizability of the whole history. Each test says what must have happened at least once.
"""

from collections import Counter

import msgspec
import pytest

from tests.simulation import network
from tests.simulation.faults import Fault
from tests.simulation.options import Options
from tests.simulation.plan import Plan
from tests.simulation.run import AGREEMENT_S_MAX, run_plan
from tests.simulation.world import World, noop_command

CHAOS_S = 4.0
SEEDS = range(1, 4)
UNDER_LOAD = Options(servers=5, clients=3, think_s=0.02, snapshot_entries=20, trailing_entries=5)


def survives(*kinds: str, seconds: float = 0.5, **changed: object) -> Counter[str]:
    """Runs in which only faults of these kinds happen, in turn; returns what happened in all of them."""
    counts: Counter[str] = Counter()
    options = msgspec.structs.replace(UNDER_LOAD, **changed)
    for seed in SEEDS:
        faults = tuple(
            Fault(0.5 + 0.25 * number, kinds[number % len(kinds)], seconds, 1000 * seed + number)
            for number in range(12)
        )
        result, world = run_plan(Plan(seed, options, faults, CHAOS_S))
        assert not result.failure, "\n".join([*world.trace.text(40), f"seed {seed}: {result.failure}"])
        counts += world.counts
    return counts


def test_kill():
    """kill: SIGKILL between rounds, at every step of a round, and of all at once"""
    counts = survives("crash", "crash_in_round", "crash_all", sync_s=(0.001, 0.01))
    assert counts["crash"]
    assert counts["crash_in_round"]
    assert counts["crash_all"]


def test_pause():
    """pause: SIGSTOP and SIGCONT, shorter and longer than an election timeout"""
    assert survives("pause", seconds=0.2)["pause"]
    assert survives("pause", seconds=1.0)["pause"]


@pytest.mark.parametrize("servers", [3, 5])
def test_loss_of_one(servers):
    """loss of one: the others go on without it, and it catches up"""
    go_on_without(servers, ["follower"])


@pytest.mark.parametrize("servers", [3, 5])
def test_loss_of_the_leader(servers):
    """loss of the leader: the others elect another one"""
    go_on_without(servers, ["leader"])


@pytest.mark.parametrize("servers", [3, 5])
def test_loss_of_a_majority(servers):
    """loss of a majority: nothing is committed until it is back, and then everything goes on"""
    world, leader, followers = cluster(servers)
    lost = followers[: servers // 2 + 1]
    for name in lost:
        world.crash(name)
    committed = world.checker.seen.commit_index
    answers = []
    world.propose(noop_command("without a majority"), to=leader, answer=answers.append)
    world.run_for(5.0)
    assert world.checker.seen.commit_index == committed
    assert [answer.kind for answer in answers] == ["unknown"], "it stepped down and could not say (rule 24)"
    for name in lost:
        world.restart(name)
    world.run(until=world.agreed, limit_s=AGREEMENT_S_MAX)
    acknowledged(world, "with a majority again")


def go_on_without(servers: int, roles: list[str]) -> None:
    world, leader, followers = cluster(servers)
    lost = [leader if role == "leader" else followers[0] for role in roles]
    for name in lost:
        world.crash(name)
    world.run(until=lambda: world.leader() is not None, limit_s=AGREEMENT_S_MAX)
    index = acknowledged(world, "without it")
    for name in lost:
        world.restart(name)
    world.run(until=world.agreed, limit_s=AGREEMENT_S_MAX)
    assert all(server.replica.last_applied >= index for server in world.servers.values())
    assert len({server.replica.digest for server in world.servers.values()}) == 1


def cluster(servers: int) -> tuple[World, str, list[str]]:
    """A world in agreement: its leader, and the others."""
    world = World.cluster(servers, seed=servers)
    world.run(until=world.agreed)
    leader = world.leader().node_id
    return world, leader, [name for name in world.node_ids if name != leader]


def acknowledged(world: World, text: str) -> int:
    """Have a command acknowledged; returns the commit index then."""
    answers = []
    world.propose(noop_command(text), answer=answers.append)
    world.run(until=lambda: answers, limit_s=AGREEMENT_S_MAX)
    assert answers[0].kind == "done"
    return world.checker.seen.commit_index


def test_ring_partition():
    """ring partition: each server hears its two neighbours only"""
    assert survives("ring", seconds=1.0)["message_cut"]


def test_bridge_partition():
    """bridge partition: two halves hear each other only through one server in the middle"""
    assert survives("bridge", seconds=1.0)["message_cut"]


def test_one_way_partition():
    """one-way partition: a server that cannot hear, or cannot be heard"""
    counts = survives("deaf", "mute", seconds=1.0)
    assert counts["deaf"]
    assert counts["mute"]
    assert counts["message_cut"]


def test_partitions_of_all_shapes_in_turn():
    """ring, bridge and one-way partitions, halves, and a server alone"""
    assert survives("ring", "split", "bridge", "deaf", "isolate", "mute", seconds=0.4)["message_cut"]


def test_loss_of_messages():
    """loss of messages: up to half of them"""
    assert survives("loss")["message_lost"] > 50


def test_duplication_of_messages():
    """duplication of messages: every second one arrives twice"""
    assert survives("duplication")["message_duplicated"] > 50


def test_delay_of_messages():
    """delay of messages, and so reordering of messages: some come after later ones, and after their term"""
    assert survives("delay")["message_delayed"] > 50


def test_loss_duplication_delay_and_reordering_of_messages():
    """loss, duplication, delay and reordering of messages, in turn and with crashes in between"""
    counts = survives("loss", "duplication", "crash", "delay", seconds=0.24)
    assert min(counts["message_lost"], counts["message_duplicated"], counts["message_delayed"]) > 50


def test_clock_drift():
    """clock drift: clocks that run a fifth too fast or too slow"""
    assert survives("clock_drift", drift_max=0.2)["clock_drift"]


def test_clock_drift_within_the_bound_of_a_lease():
    """clock drift: leases hold as long as it stays within their bound (thesis 6.4.1)"""
    assert survives("clock_drift", "isolate", drift_max=0.02, lease_reads=True)["clock_drift"]


def test_clock_jumps():
    """clock jumps: forward by less and by more than an election timeout, and clocks that stand still"""
    counts = survives("clock_jump", "clock_freeze")
    assert counts["clock_jump"]
    assert counts["clock_freeze"]
    assert survives("clock_jump", seconds=2.0)["clock_jump"]


def test_full_disk():
    """full disk: the server stops, and goes on when there is room"""
    assert survives("full_disk")["restart"]


def test_lost_unsynced_writes():
    """lost un-synced writes: a kill between write and sync leaves all of the last record, none, or a torn part"""
    counts = survives("crash", "crash_in_round", sync_s=(0.02, 0.06))
    assert counts["lost_write"]
    assert counts["torn_write"]
    assert counts["kept_write"]


def test_failed_sync():
    """failed sync: the server stops and promises nothing of that round (rule 25)"""
    assert survives("failed_sync")["restart"]


def test_bit_flip():
    """bit flip in an entry, a snapshot, and a chunk on its way: found by its checksum, never believed"""
    counts = survives("flip_entry", "flip_snapshot", "flip_chunk", "isolate", seconds=1.0)
    assert counts["flip_entry"]
    assert counts["start_refused"]


def test_a_lost_disk():
    """An empty disk is another server: rule 15."""
    assert survives("wipe")["wipe"]


def test_slow_disk():
    """slow disk: syncs that take up to twice the longest election timeout"""
    counts = survives("slow_disk", seconds=1.0)
    assert counts["slow_disk"]


def test_membership_changes_under_load():
    """membership changes under load: servers come, are promoted and demoted, are replaced, and go, the leader too"""
    counts = survives("add_learner", "promote", "replace_member", "remove_leader", "demote", "remove_member", "retire")
    assert counts["learner_added"]
    assert counts["member_promoted"]
    assert counts["leader_removed"]


def test_snapshot_during_a_partition():
    """snapshot during a partition: who was cut off gets a snapshot when the log it needs is gone"""
    counts = survives("isolate", "snapshot", seconds=0.9, trailing_entries=0)
    assert counts["snapshot_written"]
    assert counts["snapshot_installed"]


def test_two_versions_side_by_side(monkeypatch):
    """two versions side by side in a rolling upgrade: one sends a field that the other does not know"""
    plain = network._encode
    sent = Counter()

    def encode(message):
        """Every second message comes from a newer version, which has added a field at the end (core/messages.py)."""
        sent["all"] += 1
        if sent["all"] % 2:
            return plain(message)
        sent["newer"] += 1
        return plain([*msgspec.to_builtins(message, builtin_types=(bytes,)), "of a newer version"])

    monkeypatch.setattr(network, "_encode", encode)
    survives("crash")
    assert sent["newer"] > 500
