"""The first frame of every ZeroMQ message, and how many frames may follow it (docs/wire-protocol.md).

Between nodes: the PeerHeader, then one frame for each message. Between a client and a node: the ClientHeader, then one
frame with an array of requests or of answers. A ROUTER socket adds the routing id in front for its own use.
"""

from typing import Annotated

import msgspec

from raft_zmq.core.messages import Incarnation, NodeId

PROTOCOL_VERSION = 1  # raised when an older node could misread the newer one's frames; fields may be added without it

PEER_MESSAGES_MAX = 256  # frames behind a PeerHeader
CLIENT_BATCH_MAX = 4096  # requests, or answers, in one frame

ProtocolVersion = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
ClusterId = Annotated[str, msgspec.Meta(min_length=1, max_length=63)]


class PeerHeader(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which node, with which data directory, says the messages behind this frame, and where to answer it.

    `address` is the sender's peer address ("host:port") if it is a member and knows it. A receiver needs it whose own
    membership is too old, or too empty, to hold the sender.
    """

    version: ProtocolVersion
    cluster_id: ClusterId
    sender: NodeId
    incarnation: Incarnation
    address: Annotated[str, msgspec.Meta(max_length=300)] = ""


class ClientHeader(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Which cluster the requests are for, or the answers from."""

    version: ProtocolVersion
    cluster_id: ClusterId
