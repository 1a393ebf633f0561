"""What a server is told before it starts; times in seconds, sizes in bytes."""

import msgspec


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The fixed settings of one server (§5.2, §5.6, thesis 6.4.1 and 10.2.1)."""

    node_id: str
    incarnation: str
    election_timeout_s_min: float = 0.25
    election_timeout_s_max: float = 0.5
    heartbeat_interval_s: float = 0.075
    pre_vote: bool = True
    check_quorum: bool = True
    lease_reads: bool = False  # answer reads on the strength of the last confirmed round (thesis 6.4.1)
    clock_drift_max: float = 0.05  # the lease is shortened by this share of the election timeout
    append_bytes_max: int = 1 << 20  # of entries in one AppendEntries
    inflight_messages_max: int = 64  # AppendEntries on the way to one follower
    inflight_bytes_max: int = 16 << 20
    uncommitted_bytes_max: int = 64 << 20  # proposals beyond this are refused as busy
    snapshot_log_bytes: int = 64 << 20  # of log between two snapshots; how much is kept for who gets one goes by it
    trailing_entries: int = 5_000  # kept below a snapshot for followers that are nearly up to date …
    trailing_bytes: int = 8 << 20  # … and no more of their data than this
