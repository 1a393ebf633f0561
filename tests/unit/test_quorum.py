"""The arithmetic of majorities: tables, and random cases against a version that enumerates."""

import itertools
import random

import pytest

from raft_zmq.core import quorum
from raft_zmq.core.membership import Membership
from tests.unit.raft_server import members

RANDOM_CASES = 50_000
IDS = ("a", "b", "c", "d", "e", "f", "g")


@pytest.mark.parametrize(("count", "want"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_majority(count, want):
    assert quorum.majority(count) == want


@pytest.mark.parametrize(
    ("match_index", "want"),
    [
        ({}, 0),  # nobody decides nothing
        ({"a": 7}, 7),  # one voter decides alone
        ({"a": 7, "b": 5}, 5),  # two need both
        ({"a": 7, "b": 5, "c": 0}, 5),
        ({"a": 7, "b": 7, "c": 0}, 7),
        ({"a": 7, "b": 0, "c": 0}, 0),
        ({"a": 7, "b": 5, "c": 0, "d": 0}, 0),  # four need three
        ({"a": 7, "b": 5, "c": 3, "d": 0}, 3),
        ({"a": 9, "b": 8, "c": 7, "d": 6, "e": 5}, 7),
    ],
)
def test_committed_index(match_index, want):
    assert quorum.committed_index(match_index.keys(), match_index) == want


def test_a_voter_not_heard_of_holds_nothing():
    assert quorum.committed_index(["a", "b", "c"], {"a": 7}) == 0


def joint(voters: str, outgoing: str) -> Membership:
    return Membership(voters=members(*voters), outgoing=members(*outgoing))


@pytest.mark.parametrize(
    ("voters", "outgoing", "match_index", "want"),
    [
        ("abc", "", {"a": 7, "b": 5}, 5),
        ("abc", "a", {"a": 7, "b": 5, "c": 0}, 5),
        ("abc", "def", {"a": 9, "b": 9, "c": 9}, 0),  # both halves must agree
        ("abc", "def", {"a": 9, "b": 8, "d": 3, "e": 2}, 2),
        ("abd", "abc", {"a": 9, "c": 9}, 0),
        ("abd", "abc", {"a": 9, "b": 4}, 4),
    ],
)
def test_joint_committed_index(voters, outgoing, match_index, want):
    """§6: agreement requires separate majorities from both configurations"""
    assert quorum.joint_committed_index(joint(voters, outgoing), match_index) == want


@pytest.mark.parametrize(
    ("voters", "outgoing", "yes", "no", "agreed", "lost"),
    [
        ("a", "", "a", "", True, False),
        ("ab", "", "a", "", False, False),
        ("ab", "", "a", "b", False, True),  # a tie can no longer be won
        ("abc", "", "ab", "", True, False),
        ("abc", "", "a", "b", False, False),
        ("abc", "", "a", "bc", False, True),
        ("abcd", "", "ab", "", False, False),
        ("abcd", "", "ab", "cd", False, True),
        ("abc", "def", "abc", "", False, False),
        ("abc", "def", "abde", "", True, False),
        ("abc", "def", "abc", "de", False, True),  # one half is enough to lose
        ("abd", "abc", "ab", "cd", True, False),
        ("abc", "", "xyz", "", False, False),  # strangers do not count
    ],
)
def test_agreed_and_lost(voters, outgoing, yes, no, agreed, lost):
    """§5.2, §6"""
    membership = joint(voters, outgoing)
    assert quorum.agreed(membership, set(yes)) is agreed
    assert quorum.lost(membership, set(no)) is lost


def naive_committed_index(voters: tuple[str, ...], match_index: dict[str, int]) -> int:
    """The highest index such that more than half hold it, tried one by one from above."""
    for index in sorted(match_index.values(), reverse=True):
        if voters and 2 * sum(match_index.get(voter, 0) >= index for voter in voters) > len(voters):
            return index
    return 0


def naive_agreed(halves: list[tuple[str, ...]], yes: set[str]) -> bool:
    return all(2 * len(yes & set(half)) > len(half) for half in halves)


def test_random_cases_against_the_naive_version():
    """50,000 cases of one and of two configurations"""
    rng = random.Random(1)
    groups = {ids: members(*ids) for size in range(len(IDS) + 1) for ids in itertools.combinations(IDS, size)}
    names = list(groups)
    for _ in range(RANDOM_CASES):
        voters = rng.choice(names[1:])
        outgoing = rng.choice(names) if rng.random() < 0.5 else ()
        membership = Membership(voters=groups[voters], outgoing=groups[outgoing])
        match_index = {node_id: rng.randrange(5) for node_id in IDS if rng.random() < 0.9}
        want = min(naive_committed_index(half, match_index) for half in (voters, outgoing or voters))
        assert quorum.joint_committed_index(membership, match_index) == want

        halves = [voters, outgoing] if outgoing else [voters]
        yes = {node_id for node_id in IDS if rng.random() < 0.6}
        assert quorum.agreed(membership, yes) is naive_agreed(halves, yes)
        no = {node_id for node_id in IDS if rng.random() < 0.4}
        assert quorum.lost(membership, no) is not naive_agreed(halves, set(IDS) - no)
