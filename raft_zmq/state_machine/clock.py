"""When a leader moves cluster time on, so that idle sessions end on all nodes alike (thesis 6.3)."""

from raft_zmq.wire.commands import AdvanceClock

STEPS_PER_TTL = 10


class ClusterClock:
    """Cluster time goes on in steps of at most a tenth of the time-to-live, and only while there are sessions.

    A gap between two steps, however long (a pause, a change of leader, a time without sessions), counts for no more
    than one of them. So a session never ends before it has been idle for the time-to-live in real time.
    """

    def __init__(self, session_ttl_s: float) -> None:
        self._ttl_ms = max(STEPS_PER_TTL, round(session_ttl_s * 1000))
        self._step_ms = self._ttl_ms // STEPS_PER_TTL
        self.next_s = 0.0  # the time of the next step, by the caller's monotonic clock

    def restart(self, now_s: float) -> None:
        """Begin a reign: the first step is due a step from now."""
        self.next_s = now_s + self._step_ms / 1000

    def due(self, now_s: float, cluster_time_ms: int, sessions: int) -> AdvanceClock | None:
        """What the leader has to propose now, if anything, given the applied cluster time and number of sessions."""
        if now_s < self.next_s:
            return None
        self.restart(now_s)
        if sessions == 0:
            return None
        return AdvanceClock(cluster_time_ms=cluster_time_ms + self._step_ms, session_ttl_ms=self._ttl_ms)
