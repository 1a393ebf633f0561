"""The window of one follower: probe, replicate and snapshot (§5.3, thesis 10.2.1)."""

import pytest

from raft_zmq.core.progress import Progress, ProgressState

MESSAGES_MAX, BYTES_MAX = 3, 100


def make(state: ProgressState, match_index: int = 5) -> Progress:
    """A follower that holds `match_index` entries."""
    progress = Progress(next_index=match_index + 1, now_s=0.0)
    progress.matched(match_index)
    if state is ProgressState.REPLICATE:
        progress.become_replicate()
    elif state is ProgressState.SNAPSHOT:
        progress.become_snapshot(20, 2, b"members")
    assert progress.state is state
    return progress


@pytest.mark.parametrize(
    ("state", "sizes_bytes", "room"),
    [
        (ProgressState.PROBE, (), True),
        (ProgressState.PROBE, (1,), False),  # one message at a time
        (ProgressState.REPLICATE, (), True),
        (ProgressState.REPLICATE, (1, 1), True),
        (ProgressState.REPLICATE, (1, 1, 1), False),  # the window in messages
        (ProgressState.REPLICATE, (99,), True),
        (ProgressState.REPLICATE, (100,), False),  # the window in bytes
        (ProgressState.REPLICATE, (10_000,), False),  # one larger than the window passes alone
    ],
)
def test_has_room(state, sizes_bytes, room):
    progress = make(state)
    for number, size_bytes in enumerate(sizes_bytes, start=1):
        assert progress.has_room(MESSAGES_MAX, BYTES_MAX)
        progress.sent_entries(5 + number, size_bytes, 0.0)
    assert progress.has_room(MESSAGES_MAX, BYTES_MAX) is room


@pytest.mark.parametrize(
    ("match_index", "next_index", "room"),
    [
        (5, 9, False),  # an answer to a heartbeat frees nothing
        (6, 9, True),
        (7, 9, True),
        (8, 9, True),
        (10, 11, True),  # the follower holds more than was sent in this term
    ],
)
def test_an_answer_frees_the_window_up_to_what_it_matches(match_index, next_index, room):
    progress = make(ProgressState.REPLICATE)
    for index in (6, 7, 8):
        progress.sent_entries(index, 10, 0.0)
    progress.matched(match_index)
    assert (progress.match_index, progress.next_index) == (match_index, next_index)
    assert progress.has_room(MESSAGES_MAX, BYTES_MAX) is room


@pytest.mark.parametrize(
    ("answer", "moved", "match_index", "next_index"),
    [(4, False, 5, 6), (5, False, 5, 6), (6, True, 6, 7), (9, True, 9, 10)],
)
def test_match_index_never_moves_back(answer, moved, match_index, next_index):
    """rule 8"""
    progress = make(ProgressState.REPLICATE)
    assert progress.matched(answer) is moved
    assert (progress.match_index, progress.next_index) == (match_index, next_index)


def test_streaming_goes_on_before_the_answer_and_probing_does_not():
    """thesis 10.2.1: optimistic nextIndex"""
    streaming, probing = make(ProgressState.REPLICATE), make(ProgressState.PROBE)
    for progress in (streaming, probing):
        progress.sent_entries(8, 1, 0.0)
    assert (streaming.next_index, probing.next_index) == (9, 6)


@pytest.mark.parametrize(("wish", "next_index"), [(3, 6), (6, 6), (9, 9)])
@pytest.mark.parametrize("state", ProgressState)
def test_a_probe_starts_above_what_is_matched(state, wish, next_index):
    progress = make(state)
    progress.become_probe(wish)
    assert (progress.state, progress.next_index, progress.waiting) == (ProgressState.PROBE, next_index, False)


@pytest.mark.parametrize("state", ProgressState)
def test_a_new_state_forgets_the_window_of_the_old(state):
    progress = make(state)
    progress.sent_entries(8, 1_000, 0.0)
    progress.become_replicate()
    assert (progress.next_index, progress.has_room(MESSAGES_MAX, BYTES_MAX)) == (6, True)


def test_a_snapshot_goes_chunk_by_chunk_from_its_start():
    progress = make(ProgressState.SNAPSHOT)
    assert (progress.snapshot_index, progress.snapshot_term, progress.snapshot_offset) == (20, 2, 0)
    assert progress.has_room(MESSAGES_MAX, BYTES_MAX)
    progress.waiting = True
    assert not progress.has_room(MESSAGES_MAX, BYTES_MAX)


@pytest.mark.parametrize("state", ProgressState)
def test_a_server_on_another_disk_holds_nothing(state):
    """rule 15"""
    progress = make(state)
    progress.read_token = 3
    progress.reborn("another", next_index=10)
    assert (progress.state, progress.match_index, progress.next_index) == (ProgressState.PROBE, 0, 10)
    assert (progress.incarnation, progress.read_token) == ("another", 0)
