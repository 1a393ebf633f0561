"""The leader's hand on cluster time (thesis 6.3)."""

from hypothesis import given, settings
from hypothesis import strategies as st

from raft_zmq.state_machine.clock import ClusterClock
from raft_zmq.state_machine.sessions import Sessions
from raft_zmq.wire.commands import AdvanceClock


def test_a_step_is_due_a_tenth_of_the_time_to_live_after_the_last():
    clock = ClusterClock(session_ttl_s=10.0)
    clock.restart(now_s=100.0)
    assert clock.due(100.9, cluster_time_ms=5, sessions=1) is None
    assert clock.due(101.0, cluster_time_ms=5, sessions=1) == AdvanceClock(cluster_time_ms=1005, session_ttl_ms=10_000)
    assert clock.due(101.9, cluster_time_ms=1005, sessions=1) is None
    assert clock.next_s == 102.0


def test_without_sessions_nothing_is_proposed():
    clock = ClusterClock(session_ttl_s=10.0)
    assert clock.due(1000.0, cluster_time_ms=0, sessions=0) is None


def test_a_gap_counts_for_one_step():
    clock = ClusterClock(session_ttl_s=10.0)
    clock.restart(0.0)
    step = clock.due(5000.0, cluster_time_ms=0, sessions=1)
    assert step is not None
    assert step.cluster_time_ms == 1000


@settings(deadline=None)  # a busy machine is no failure
@given(
    ttl_s=st.floats(0.1, 3600),
    used_s=st.floats(0, 1000),
    polls_s=st.lists(st.floats(0.001, 400), min_size=1, max_size=200),
)
def test_a_session_never_ends_before_it_was_idle_for_its_time_to_live(ttl_s, used_s, polls_s):
    clock, sessions = ClusterClock(ttl_s), Sessions()
    clock.restart(0.0)
    now_s = used_s
    sessions.open(b"nonce", index=1)
    for wait_s in polls_s:
        now_s += wait_s
        step = clock.due(now_s, sessions.cluster_time_ms, len(sessions))
        if step is not None:
            sessions.advance_clock(step.cluster_time_ms, step.session_ttl_ms)
        if not len(sessions):
            assert now_s - used_s > ttl_s * 0.99 - 0.02  # the steps are whole milliseconds
            return


def test_an_idle_session_does_end():
    clock, sessions = ClusterClock(1.0), Sessions()
    sessions.open(b"nonce", index=1)
    clock.restart(0.0)
    polls = 0
    while len(sessions):
        polls += 1
        step = clock.due(polls * 0.05, sessions.cluster_time_ms, len(sessions))
        if step is not None:
            sessions.advance_clock(step.cluster_time_ms, step.session_ttl_ms)
    assert 1.0 < polls * 0.05 <= 1.2
