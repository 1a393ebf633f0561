"""Defects that random runs found in the core, each as the shortest story that shows it."""

import random

import pytest

from raft_zmq.core import membership as memberships
from raft_zmq.core.config import Config
from raft_zmq.core.inputs import Received, SnapshotInstalled, Tick
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import Entry, EntryKind, HardState, InstallSnapshot, VoteReply, VoteRequest
from raft_zmq.core.raft import Raft
from raft_zmq.core.stored import Stored
from tests.simulation.options import Options
from tests.simulation.world import World, noop_command

FIRST = Membership(tuple(Member(name, incarnation=f"{name}.1") for name in ("n1", "n2", "n3")))


def follower(name: str, stored: Stored, incarnation: str = "") -> Raft:
    config = Config(node_id=name, incarnation=incarnation or f"{name}.1")
    return Raft(config, stored, random.Random(0).uniform, 0.0)


def test_a_follower_that_compaction_has_overtaken_while_it_streamed_gets_a_snapshot():
    """thesis 10.2.1, §7: the window is full of lost messages, and what they held is gone from the leader's log."""
    world = World.cluster(3, snapshot_entries=10, trailing_entries=0, inflight_messages_max=2)
    leader = world.run(until=world.leader)
    world.run(until=world.agreed)
    lost = next(name for name in world.node_ids if name != leader.node_id)
    world.partition([[lost], [name for name in world.node_ids if name != lost]])
    for number in range(40):
        world.propose(noop_command(str(number)))
        world.run_for(0.01)
    world.mend()
    world.run(until=world.agreed, limit_s=3.0)
    assert world.counts["snapshot_installed"] == 1


def test_a_second_snapshot_that_is_offered_while_the_first_is_being_installed_waits():
    """Figure 13: two leaders' last chunks in one batch; the second must not take the first one's place."""

    def whole(term: int, last_index: int) -> InstallSnapshot:
        return InstallSnapshot(
            term=term,
            last_index=last_index,
            last_term=1,
            membership=memberships.encode(FIRST),
            offset=0,
            total_bytes=1,
            data=b"x",
            done=True,
        )

    raft = follower("n2", Stored(base_membership=FIRST))
    raft.step(0.1, Received("n1", "n1.1", whole(1, 10)))
    raft.step(0.1, Received("n3", "n3.1", whole(2, 20)))
    ready = raft.ready()
    raft.advance()
    assert [chunk.last_index for chunk in ready.snapshot_chunks] == [10]
    raft.step(0.1, SnapshotInstalled(10))
    assert (raft.state.log.last_index, raft.state.commit_index) == (10, 10)


def vote_of(raft: Raft) -> bool:
    """What it says to n1, which asks in term 3 with a log that is longer than any."""
    request = VoteRequest(term=3, last_log_index=99, last_log_term=2, pre_vote=False, transfer=False)
    raft.step(10.0, Received("n1", "n1.1", request))
    ready = raft.ready()
    raft.advance()
    return next(message.granted for _, message in ready.messages_after_sync if isinstance(message, VoteReply))


def holding(membership: Membership) -> Stored:
    """A disk whose newest entry is that membership."""
    entry = Entry(1, 2, EntryKind.CONFIGURATION, memberships.encode(membership))
    return Stored(hard_state=HardState(current_term=2), base_membership=FIRST, entries=(entry,))


def test_a_learner_votes_since_it_may_be_a_voter_and_not_know_it():
    """thesis 4.2.2: n4's promotion is in other logs only; without its vote nobody could lead and tell it."""
    stored = holding(Membership(FIRST.voters, (), (Member("n4"),)))
    assert vote_of(follower("n4", stored))


@pytest.mark.parametrize(
    ("stored", "incarnation"),
    [
        (Stored(base_membership=Membership((Member("n1"), Member("n2"), Member("n3")))), "n2.2"),
        (holding(FIRST), "n2.2"),
    ],
    ids=["its seat is not bound yet", "its seat is bound to the disk that was lost"],
)
def test_a_server_with_an_empty_disk_has_no_vote_from_its_old_seat(stored, incarnation):
    """Rule 15: it cannot know what was promised from there."""
    assert not vote_of(follower("n2", stored, incarnation))


@pytest.mark.parametrize(("commit_index", "asked"), [(1, {"n1", "n3"}), (2, set())])
def test_a_voter_that_was_left_out_leads_on_until_that_is_committed(commit_index, asked):
    """thesis 4.2.2: n2 led its own removal and crashed; its log is the longest, so nobody else can win its vote."""
    remaining = (FIRST.voters[0], FIRST.voters[2])
    changes = (Membership(remaining, FIRST.voters), Membership(remaining))
    entries = tuple(
        Entry(index, 2, EntryKind.CONFIGURATION, memberships.encode(membership))
        for index, membership in enumerate(changes, start=1)
    )
    hard_state = HardState(current_term=2, commit_index=commit_index)
    raft = follower("n2", Stored(hard_state=hard_state, base_membership=FIRST, entries=entries))
    raft.step(9.0, Tick())
    ready = raft.ready()
    requests = [to for to, message in ready.messages if isinstance(message, VoteRequest)]
    assert set(requests) == asked


@pytest.mark.parametrize("snapshot_entries", [0, 4])
def test_a_first_member_that_restarts_with_entries_before_all_have_confirmed_it_still_becomes_a_voter(snapshot_entries):
    """Rule 15: n3 hears nothing of n2, so it stores what n1 leads, and its restart must not forget who the members are.

    With a snapshot as well, which shows the first members as they were known then: bound to no data directory.
    """
    world = World("first members", Options(established=False, snapshot_entries=snapshot_entries))
    world.network.cut([("n2", "n3")])
    world.start()
    n1, n3 = world.servers["n1"], world.servers["n3"]
    world.run(until=world.leader)
    world.transfer("n1")
    world.run(until=lambda: world.leader() is n1)
    for number in range(8):
        world.propose(noop_command(str(number)))
        world.run_for(0.1)
    assert n3.replica.last_applied >= 8
    assert (n3.disk.snapshot is not None) == bool(snapshot_entries)
    for _ in range(2):  # and again, when they have been written down
        world.crash("n3")
        world.restart("n3")
        world.mend()
        world.run(until=n3.raft.state.may_vote, limit_s=3.0)
    world.run(until=world.agreed, limit_s=3.0)
