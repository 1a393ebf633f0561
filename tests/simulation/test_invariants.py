"""Every invariant says nothing of a sound run, and names what is wrong with an unsound one."""

import inspect

import pytest

from raft_zmq.core import invariants
from raft_zmq.core.invariants import Seen, View
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import AppendReply, Entry, EntryKind, HardState, SnapshotReply, VoteReply, VoteRequest
from tests.simulation.disk import Log


def view(**changed: object) -> View:
    fields = {
        "node_id": "n1",
        "incarnation": "n1.1",
        "role": "follower",
        "term": 2,
        "voted_for": "",
        "commit_index": 0,
        "last_index": 3,
        "last_term": 2,
    }
    return View(**{**fields, **changed})


def log_of(*terms: int, start: int = 0, start_term: int = 0) -> Log:
    log = Log()
    log.reset(start, start_term)
    if terms:
        log.put(entries(*terms, start=start + 1))
    return log


def entries(*terms: int, start: int = 1, data: bytes = b"") -> list[Entry]:
    return [Entry(start + offset, term, EntryKind.COMMAND, data) for offset, term in enumerate(terms)]


def members(*names: str) -> tuple[Member, ...]:
    return tuple(Member(name, incarnation=f"{name}.1") for name in names)


THREE = Membership(members("n1", "n2", "n3"))


def seen_with(committed: tuple[int, ...] = (), leader_term: int = 1) -> Seen:
    seen = Seen()
    log = log_of(*committed)
    invariants.log_matching(seen, "n1", 0, log.entries) if committed else None
    after = view(role="leader", term=leader_term, commit_index=len(committed))
    assert list(invariants.note_committed(seen, after, after, log)) == list(range(1, len(committed) + 1))
    return seen


def test_election_safety():
    seen = Seen()
    assert invariants.election_safety(seen, view(role="leader")) is None
    assert invariants.election_safety(seen, view(role="follower", node_id="n2")) is None
    assert invariants.election_safety(seen, view(role="leader", node_id="n2", term=3)) is None
    assert "two leaders, n1 and n2" in invariants.election_safety(seen, view(role="leader", node_id="n2"))


def test_one_vote_per_term():
    seen = Seen()
    assert invariants.one_vote_per_term(seen, "n1", "n1.1", HardState(2, "n2")) is None
    assert invariants.one_vote_per_term(seen, "n1", "n1.1", HardState(2, "n2")) is None
    assert invariants.one_vote_per_term(seen, "n1", "n1.1", HardState(3, "")) is None
    assert "again for n3" in invariants.one_vote_per_term(seen, "n1", "n1.1", HardState(2, "n3"))


@pytest.mark.parametrize(
    ("membership", "votes", "won"),
    [
        (THREE, ("n1", "n2"), True),
        (THREE, ("n1",), False),
        (THREE, ("n1", "n4"), False),
        (Membership(members("n1", "n4"), members("n1", "n2", "n3")), ("n1", "n2"), False),
        (Membership(members("n1", "n4"), members("n1", "n2", "n3")), ("n1", "n2", "n4"), True),
    ],
)
def test_won_by_a_majority(membership, votes, won):
    assert (invariants.won_by_a_majority("n1", 2, membership, votes) is None) == won


def test_term_never_goes_back():
    assert invariants.term_never_goes_back(view(term=2), view(term=3)) is None
    assert "from term 2 to 1" in invariants.term_never_goes_back(view(), view(term=1))
    assert "changed its vote" in invariants.term_never_goes_back(view(voted_for="n2"), view(voted_for="n3"))


def test_durable_term_never_goes_back():
    assert invariants.durable_term_never_goes_back("n1", HardState(2), HardState(2)) is None
    assert "from term 2 to 1" in invariants.durable_term_never_goes_back("n1", HardState(2), HardState(1))


def test_pre_vote_changes_nothing():
    assert invariants.pre_vote_changes_nothing("n1", (2, ""), (2, "")) is None
    assert "pre-vote" in invariants.pre_vote_changes_nothing("n1", (2, ""), (3, ""))


def test_leader_append_only():
    leader = view(role="leader")
    assert invariants.leader_append_only(leader, view(role="leader", last_index=4), entries(2, start=4)) is None
    assert invariants.leader_append_only(leader, view(term=3), entries(3, start=2)) is None
    assert "changed its log" in invariants.leader_append_only(leader, leader, entries(2, start=3))
    assert "changed its log" in invariants.leader_append_only(leader, view(role="leader", last_index=2), [])


def test_log_matching():
    seen = Seen()
    assert invariants.log_matching(seen, "n1", 0, entries(1, 1, 2)) is None
    assert invariants.log_matching(seen, "n2", 0, entries(1, 1, 2)) is None
    assert "another entry at 2" in invariants.log_matching(seen, "n3", 1, entries(1, start=2, data=b"x"))
    assert "another entry at 3" in invariants.log_matching(seen, "n3", 2, entries(2, start=3))
    assert "after term 3" in invariants.log_matching(seen, "n3", 3, entries(2, start=9))
    assert "gap" in invariants.log_matching(seen, "n3", None, entries(2, start=9))


def test_truncates_only_a_conflict():
    log = log_of(1, 1, 2)
    assert invariants.truncates_only_a_conflict(log, entries(2, start=4)) is None
    assert invariants.truncates_only_a_conflict(log, entries(3, start=2)) is None
    assert "was cut" in invariants.truncates_only_a_conflict(log, entries(1, start=2))


def test_committed_entries_stay():
    assert invariants.committed_entries_stay(view(commit_index=2), entries(3, start=3)) is None
    assert "replaced entry 2" in invariants.committed_entries_stay(view(commit_index=2), entries(3, start=2))


def test_snapshot_keeps_what_matches():
    log = log_of(1, 1, 2)
    assert invariants.snapshot_keeps_what_matches(log, (5, 2)) is None
    assert invariants.snapshot_keeps_what_matches(log, (2, 2)) is None
    assert "dropped the matching" in invariants.snapshot_keeps_what_matches(log, (2, 1))


def test_compaction_is_bounded():
    below = [Entry(index, 1, EntryKind.COMMAND, b"x" * 10) for index in range(1, 5)]
    assert invariants.compaction_is_bounded("n1", below, trailing_entries=4, bytes_max=0) is None
    assert invariants.compaction_is_bounded("n1", below, trailing_entries=0, bytes_max=40) is None
    assert "keeps 4 entries, 40 bytes" in invariants.compaction_is_bounded("n1", below, 3, 39)


def test_memory_equals_disk():
    assert invariants.memory_equals_disk("n1", (3, 2), (3, 2)) is None
    assert "wrote it to end at" in invariants.memory_equals_disk("n1", (3, 2), (2, 2))


def test_counts_only_what_is_synced():
    assert invariants.counts_only_what_is_synced("n1", 3, 2, 2) is None
    assert "counts entry 3 as synced" in invariants.counts_only_what_is_synced("n1", 3, 2, 1)
    assert "counts entry 3 as synced" in invariants.counts_only_what_is_synced("n1", 3, 2, None)
    assert "counts entry 3 as synced" in invariants.counts_only_what_is_synced("n1", 3, None, None)


def test_commit_index_never_goes_back():
    assert invariants.commit_index_never_goes_back(view(commit_index=1), view(commit_index=3)) is None
    assert "back from 3 to 2" in invariants.commit_index_never_goes_back(view(commit_index=3), view(commit_index=2))
    assert "log ends at 3" in invariants.commit_index_never_goes_back(view(), view(commit_index=4))


def test_leader_commits_its_own_term():
    before, after = view(role="leader"), view(role="leader", commit_index=3)
    assert invariants.leader_commits_its_own_term(before, after, log_of(1, 1, 2)) is None
    assert "of term 1 by counting" in invariants.leader_commits_its_own_term(before, after, log_of(1, 1, 1))


def test_commits_what_was_committed():
    seen = seen_with(committed=(1, 1, 2))
    assert invariants.commits_what_was_committed(seen, view(commit_index=3), log_of(1, 1, 2)) is None
    assert "committed was the one of term 2" in invariants.commits_what_was_committed(
        seen, view(commit_index=3), log_of(1, 1, 1)
    )


def test_only_leaders_commit_first():
    seen = seen_with(committed=(1,))
    assert invariants.only_leaders_commit_first(seen, view(), view(commit_index=1)) is None
    assert invariants.only_leaders_commit_first(seen, view(role="leader"), view(commit_index=2)) is None
    assert "before any leader" in invariants.only_leaders_commit_first(seen, view(), view(commit_index=2))


@pytest.mark.parametrize(
    ("membership", "logs", "durable"),
    [
        (THREE, {"n1": (1, 1), "n2": (1, 1)}, True),
        (THREE, {"n1": (1, 1), "n2": (1,)}, False),
        (THREE, {"n1": (1, 1), "n2": (1, 2)}, False),
        (Membership(members("n4"), members("n1", "n2", "n3")), {"n1": (1, 1), "n2": (1, 1)}, False),
        (Membership(members("n4"), members("n1")), {"n1": (1, 1), "n4": (1, 1)}, True),
    ],
)
def test_committed_is_durable(membership, logs, durable):
    held = {(name, f"{name}.1"): log_of(*terms) for name, terms in logs.items()}
    assert (invariants.committed_is_durable(2, 1, membership, held) is None) == durable


def test_committed_is_durable_counts_only_the_recorded_data_directory():
    held = {("n1", "n1.1"): log_of(1), ("n2", "n2.2"): log_of(1)}
    assert "synced on 1 of 3" in invariants.committed_is_durable(1, 1, THREE, held)


def test_leader_completeness():
    seen = seen_with(committed=(1, 1, 2), leader_term=2)
    assert invariants.leader_completeness(seen, view(role="leader", term=3), log_of(1, 1, 2, 3)) is None
    assert invariants.leader_completeness(seen, view(role="leader", term=3), log_of(start=3, start_term=2)) is None
    assert invariants.leader_completeness(seen, view(role="leader", term=2), log_of(1)) is None
    assert "without entry 3" in invariants.leader_completeness(seen, view(role="leader", term=3), log_of(1, 1))
    assert "without entry 3" in invariants.leader_completeness(seen, view(role="leader", term=3), log_of(1, 1, 1))


def test_state_machine_safety():
    seen = seen_with(committed=(1, 1, 2))
    assert invariants.state_machine_safety(seen, "n2", 0, entries(1, 1, 2)) is None
    assert "2 is what follows" in invariants.state_machine_safety(seen, "n2", 1, entries(2, start=3))
    assert "no server has committed" in invariants.state_machine_safety(seen, "n2", 3, entries(2, start=4))
    assert "another entry at 3" in invariants.state_machine_safety(seen, "n2", 2, entries(1, start=3))
    assert "other bytes at 1" in invariants.state_machine_safety(seen, "n2", 0, entries(1, data=b"x"))


def test_equal_states():
    known = Seen().digests
    assert invariants.equal_states(known, "n1", 7, "aa") is None
    assert invariants.equal_states(known, "n2", 8, "bb") is None
    assert "another state after entry 7" in invariants.equal_states(known, "n2", 7, "ab")


def test_read_is_fresh():
    assert invariants.read_is_fresh(5, 5) is None
    assert "granted at 4" in invariants.read_is_fresh(4, 5)


def append_reply(match_index: int) -> AppendReply:
    return AppendReply(
        term=2, ok=True, match_index=match_index, prev_log_index=0, hint_index=0, hint_term=0, read_token=0
    )


@pytest.mark.parametrize(
    ("message", "synced", "finding"),
    [
        (append_reply(3), HardState(2), None),
        (append_reply(4), HardState(2), "acknowledged 4 entries when 3"),
        (append_reply(4), HardState(3), None),  # of a term that is over: nobody counts it
        (append_reply(3), HardState(1), "sent term 2 before"),
        (VoteReply(term=2, granted=True, pre_vote=False), HardState(2, "n2"), None),
        (VoteReply(term=2, granted=True, pre_vote=False), HardState(2), "its vote for n2"),
        (VoteReply(term=3, granted=True, pre_vote=True), HardState(2), None),
        (
            VoteRequest(term=2, last_log_index=0, last_log_term=0, pre_vote=False, transfer=False),
            HardState(2),
            "its vote for n1",
        ),
        (
            SnapshotReply(term=2, last_index=9, last_term=1, next_offset=0, installed=True),
            HardState(2),
            "acknowledged 9",
        ),
    ],
)
def test_promise_is_durable(message, synced, finding):
    found = invariants.promise_is_durable("n1", "n2", message, synced, log_of(1, 1, 2))
    assert found is None if finding is None else finding in found


def test_one_change_at_a_time():
    after, entry = view(role="leader", commit_index=3), Entry(4, 2, EntryKind.CONFIGURATION, b"")
    assert invariants.one_change_at_a_time(after, log_of(1, 1, 2), 2, entry) is None
    assert "is open" in invariants.one_change_at_a_time(view(role="leader", commit_index=1), log_of(2), 2, entry)
    assert "before it committed" in invariants.one_change_at_a_time(after, log_of(1, 1, 1), 2, entry)


FOUR = Membership(members("n1", "n2", "n3", "n4"))
JOINT = Membership(members("n3", "n4"), members("n1", "n2", "n3"))


@pytest.mark.parametrize(
    ("old", "new", "safe"),
    [
        (THREE, FOUR, True),  # one voter more
        (THREE, Membership(members("n3", "n4", "n5")), False),
        (THREE, JOINT, True),
        (FOUR, JOINT, False),  # the joint membership leaves another one
        (JOINT, Membership(members("n3", "n4")), True),
        (JOINT, THREE, False),
        (THREE, Membership((*members("n1", "n2"), Member("n3", incarnation="n3.2"))), False),  # a vote without its disk
    ],
)
def test_majorities_overlap(old, new, safe):
    assert (invariants.majorities_overlap(old, new) is None) == safe


def test_latest_membership_counts():
    assert invariants.latest_membership_counts(view(), THREE, THREE) is None
    assert "the latest in its log" in invariants.latest_membership_counts(view(), FOUR, THREE)


def test_every_invariant_names_its_source_and_has_a_test():
    checks = {
        name: function
        for name, function in inspect.getmembers(invariants, inspect.isfunction)
        if function.__module__ == invariants.__name__ and not name.startswith(("_", "note_"))
    }
    assert len(checks) > 20
    for name, function in checks.items():
        assert any(source in function.__doc__.lower() for source in ("figure", "§", "thesis")), name
        assert any(test.startswith(f"test_{name}") for test in globals()), name
