"""A status as a leader of three would give it, for tests of what shows it."""

from raft_zmq.wire.client_messages import NodeStatus, PeerStatus

STATUS = NodeStatus(
    node_id="n1",
    cluster_id="raft",
    incarnation="abc",
    version="0.1.0",
    role="leader",
    term=4,
    leader_id="n1",
    leader_address="127.0.0.1:6000",
    first_log_index=11,
    last_log_index=22,
    last_log_term=4,
    commit_index=21,
    last_applied=20,
    snapshot_index=10,
    digest="0123456789abcdef",
    ready=True,
    voters=("n1", "n2", "n3"),
    outgoing=(),
    learners=(),
    peers=(
        PeerStatus(node_id="n2", state="replicate", match_index=21, next_index=22, active=True),
        PeerStatus(node_id="n3", state="probe", match_index=5, next_index=6, active=False),
    ),
    sessions=3,
    keys=7,
    wal_bytes=16 << 20,
    uptime_s=1.5,
)
