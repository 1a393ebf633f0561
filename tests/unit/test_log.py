"""The log in memory (§5.3, §7), and what of it is on disk."""

import pytest

from raft_zmq.core.log import ENTRY_BYTES, RaftLog
from raft_zmq.core.messages import Entry, EntryKind
from tests.unit.raft_server import log


def entries(first: int, *terms: int, size_bytes: int = 1) -> list[Entry]:
    return [Entry(index, term, EntryKind.COMMAND, b"x" * size_bytes) for index, term in enumerate(terms, start=first)]


def compacted() -> RaftLog:
    """Entries 5 to 8 of terms 2, 2, 3, 5, behind a snapshot that ends at 6; entry 4 was of term 1."""
    return RaftLog(entries(5, 2, 2, 3, 5), 1, 6, 2)


@pytest.mark.parametrize(("index", "term"), [(3, None), (4, 1), (5, 2), (6, 2), (7, 3), (8, 5), (9, None)])
def test_term_at(index, term):
    assert compacted().term_at(index) == term


@pytest.mark.parametrize(
    ("made", "first_index", "last"),
    [
        (RaftLog((), 0, 0, 0), 1, (0, 0)),
        (RaftLog(log(1, 1), 0, 0, 0), 1, (2, 1)),
        (RaftLog((), 0, 9, 4), 10, (9, 4)),  # nothing but a snapshot
        (compacted(), 5, (8, 5)),
    ],
)
def test_the_ends(made, first_index, last):
    assert (made.first_index, (made.last_index, made.last_term)) == (first_index, last)
    assert made.stable_index == made.last_index, "what was read from disk is on disk"


@pytest.mark.parametrize(
    ("first", "bytes_max", "want"),
    [
        (5, 1_000, [5, 6, 7, 8]),
        (5, 2 * ENTRY_BYTES + 25, [5, 6]),
        (5, 2 * ENTRY_BYTES + 20, [5, 6]),
        (5, 2 * ENTRY_BYTES + 19, [5]),
        (5, 1, [5]),  # one entry always goes, however large
        (8, 1, [8]),
        (9, 1_000, []),
    ],
)
def test_batch(first, bytes_max, want):
    """entries larger than the batch limit go alone"""
    made = RaftLog(entries(5, 2, 2, 3, 5, size_bytes=10), 1, 4, 1)
    assert [entry.index for entry in made.batch(first, bytes_max)] == want


@pytest.mark.parametrize(
    ("index", "term", "want"),
    [
        (8, 5, (8, 5)),
        (99, 5, (8, 5)),
        (8, 4, (7, 3)),
        (8, 2, (6, 2)),
        (6, 9, (6, 2)),
        (8, 1, (4, 1)),
        (8, 0, (0, 0)),  # the search would leave the log
        (3, 9, (0, 0)),
    ],
)
def test_last_index_not_above(index, term, want):
    """§5.3: the newest place where two logs may agree"""
    assert compacted().last_index_not_above(index, term) == want


@pytest.mark.parametrize(
    ("last_index", "last_term", "want"),
    [(8, 5, True), (9, 5, True), (7, 5, False), (1, 6, True), (99, 4, False)],
)
def test_up_to_date(last_index, last_term, want):
    """§5.4.1; rule 7"""
    assert compacted().up_to_date(last_index, last_term) is want


@pytest.mark.parametrize(
    ("index", "entries_max", "bytes_max", "want"),
    [
        (8, 0, 1_000, 9),
        (8, 2, 1_000, 7),
        (8, 99, 1_000, 5),
        (8, 99, 25, 7),
        (8, 99, 20, 7),
        (8, 99, 9, 9),
        (6, 1, 1_000, 6),
    ],
)
def test_trailing_from(index, entries_max, bytes_max, want):
    """§7: what is kept below a snapshot for followers that are nearly up to date"""
    made = RaftLog(entries(5, 2, 2, 3, 5, size_bytes=10), 1, 4, 1)
    assert made.trailing_from(index, entries_max, bytes_max) == want


@pytest.mark.parametrize(
    ("keep_from", "first_index", "start_term"),
    [(5, 5, 1), (6, 6, 2), (8, 8, 3), (99, 8, 3)],  # never beyond the snapshot
)
def test_a_snapshot_lets_the_log_below_it_go(keep_from, first_index, start_term):
    """§7"""
    made = compacted()
    gone = made.snapshot_written(7, 3, keep_from)
    assert [entry.index for entry in gone] == list(range(5, first_index))
    assert (made.first_index, made.start_term, made.last_index) == (first_index, start_term, 8)
    assert (made.snapshot_index, made.snapshot_term) == (7, 3)


def test_truncate_and_append():
    """§5.3"""
    made = compacted()
    made.truncate(7)
    assert (made.last_index, made.last_term, made.stable_index) == (6, 2, 6)
    made.append(entries(7, 6))
    assert [entry.index for entry in made.begin_write()] == [7]


def test_reset_drops_everything():
    """rule 20"""
    made = compacted()
    made.append(entries(9, 5))
    made.begin_write()
    made.reset(20, 7)
    made.end_write()
    assert (made.first_index, made.last_index, made.last_term, made.stable_index) == (21, 20, 7, 20)
    assert not made.has_to_write()


def test_only_a_finished_write_makes_entries_stable():
    """rule 2"""
    made = RaftLog((), 0, 0, 0)
    made.append(entries(1, 1, 1))
    assert [entry.index for entry in made.begin_write()] == [1, 2]
    made.append(entries(3, 1))
    assert made.stable_index == 0
    made.end_write()
    assert (made.stable_index, made.has_to_write()) == (2, True)
    assert [entry.index for entry in made.begin_write()] == [3]


def test_a_write_of_truncated_entries_does_not_vouch_for_those_in_their_place():
    """rule 21: an ABA of truncate and append"""
    made = RaftLog(entries(1, 1), 0, 0, 0)
    made.append(entries(2, 1, 1))
    made.begin_write()
    made.truncate(2)
    made.append(entries(2, 2, 2))
    made.end_write()
    assert made.stable_index == 1
    assert [entry.term for entry in made.begin_write()] == [2, 2]
    made.end_write()
    assert made.stable_index == 3
