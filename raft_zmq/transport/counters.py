"""What the transport has counted since the node started; whoever shows figures reads it."""

import msgspec


class TransportCounters(msgspec.Struct):
    """Plain numbers that only grow. `*_refused`, `*_failed` and `*_cut` count by reason."""

    peer_messages_sent: int = 0
    peer_messages_received: int = 0
    peer_messages_dropped: int = 0  # no connection, or its queue full: Raft sends again
    peer_bytes_sent: int = 0
    requests_received: int = 0
    answers_sent: int = 0
    answers_dropped: int = 0  # the client is gone, or does not read
    keys_admitted: int = 0  # handshakes
    keys_refused: dict[str, int] = msgspec.field(default_factory=dict)
    handshakes_failed: dict[str, int] = msgspec.field(default_factory=dict)  # before a key was shown
    connections_cut: dict[str, int] = msgspec.field(default_factory=dict)  # by this node, for a limit or a revoked key
    peer_messages_refused: dict[str, int] = msgspec.field(default_factory=dict)
    requests_refused: dict[str, int] = msgspec.field(default_factory=dict)


def count(refused: dict[str, int], reason: str) -> None:
    """One more for that reason."""
    refused[reason] = refused.get(reason, 0) + 1
