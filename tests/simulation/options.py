"""How a simulated world is made: sizes, times and settings, apart from the faults that befall it."""

import msgspec

from raft_zmq.core.config import Config
from tests.simulation.network import CALM, Weather


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The fixed properties of one world; times in seconds, sizes in bytes."""

    servers: int = 3
    established: bool = True  # whether the first members know each other's incarnations from the start
    overlap: bool = False  # whether a server steps inputs while its disk syncs (an asynchronous disk)
    sync_s: tuple[float, float] = (0.0, 0.0)  # how long a sync takes, at least and at most
    weather: Weather = CALM
    drift_max: float = 0.0  # by how much a clock may run fast or slow, as a share
    clock_offset_s_max: float = 100.0
    snapshot_entries: int = 0  # a snapshot after so many applied entries; 0 is never
    snapshot_s: float = 0.02  # how long writing one takes
    keep_snapshots_open: bool = True  # whether one that is being sent outlives its successor
    chunk_bytes: int = 200
    clients: int = 0
    keys: int = 3
    think_s: float = 0.05  # between two operations of a client, on average
    session_ttl_ms: int = 60_000
    clock_interval_s: float = 0.0  # how often a leader advances cluster time; 0 is never
    election_timeout_s_min: float = 0.25
    election_timeout_s_max: float = 0.5
    heartbeat_interval_s: float = 0.075
    pre_vote: bool = True
    check_quorum: bool = True
    lease_reads: bool = False
    append_bytes_max: int = 1 << 20
    inflight_messages_max: int = 64
    inflight_bytes_max: int = 16 << 20
    uncommitted_bytes_max: int = 64 << 20
    snapshot_log_bytes: int = 300  # so small that some followers take longer for a snapshot than is waited for
    trailing_entries: int = 5_000

    def config(self, node_id: str, incarnation: str) -> Config:
        """The core's settings for one server of this world."""
        shared = {name: getattr(self, name) for name in Config.__struct_fields__ if name in self.__struct_fields__}
        return Config(node_id=node_id, incarnation=incarnation, **shared)
