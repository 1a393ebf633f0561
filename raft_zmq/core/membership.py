"""Who is in the cluster: voters, learners and, during a change, the voters it leaves behind (§6, thesis 4).

A membership is a value: a change makes a new one. While `outgoing` is not empty the membership is joint, and every
decision needs a majority of `voters` and a majority of `outgoing`.
"""

import ipaddress
import re

import msgspec

from raft_zmq.core.messages import Incarnation, NodeId

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


class Member(msgspec.Struct, frozen=True, array_like=True):
    """One server: its name, where peers and clients reach it ("host:port"), and the data directory it is bound to.

    `auto_promote` is for learners: whether the leader makes it a voter once it has caught up.
    """

    node_id: NodeId
    peer_address: str = ""
    client_address: str = ""
    incarnation: Incarnation = ""
    auto_promote: bool = True


class Membership(msgspec.Struct, frozen=True, array_like=True):
    """The members, each tuple sorted by node id; what a CONFIGURATION entry holds."""

    voters: tuple[Member, ...] = ()
    outgoing: tuple[Member, ...] = ()
    learners: tuple[Member, ...] = ()

    @property
    def joint(self) -> bool:
        """Whether a change of voters is under way (§6)."""
        return bool(self.outgoing)

    @property
    def bound(self) -> bool:
        """Whether there are voters, and each one's data directory is known: not so in the first configuration as
        settings name it, nor where there is none.
        """
        return bool(self.voters) and all(member.incarnation for member in self.voters)

    def member(self, node_id: str) -> Member | None:
        """The newest record of that server: as voter first, then as learner, then as one that is leaving."""
        for group in (self.voters, self.learners, self.outgoing):
            for member in group:
                if member.node_id == node_id:
                    return member
        return None

    def node_ids(self) -> tuple[str, ...]:
        """Everyone the leader replicates to, each once, sorted."""
        groups = (self.voters, self.learners, self.outgoing)
        return tuple(sorted({member.node_id for group in groups for member in group}))

    def is_voter(self, node_id: str, incarnation: str) -> bool:
        """Whether that server, with that data directory, may vote (rule 15: an empty disk has no vote to give)."""
        return any(
            member.node_id == node_id and member.incarnation == incarnation != ""
            for group in (self.voters, self.outgoing)
            for member in group
        )


def encode(membership: Membership) -> bytes:
    """The bytes of a CONFIGURATION entry."""
    return msgspec.msgpack.encode(membership)


def decode(data: bytes) -> Membership:
    """The membership in a CONFIGURATION entry; raises msgspec.ValidationError on bytes that hold none."""
    return msgspec.msgpack.decode(data, type=Membership)


def is_host(text: str) -> bool:
    """Whether that can be the host of an address: a name, or an IP address (of version 6 also in brackets)."""
    if _HOST_NAME.fullmatch(text):
        return True
    try:
        ipaddress.IPv6Address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    except ValueError:
        return False
    return True


def is_port(text: str) -> bool:
    """Whether that can be the port of an address."""
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535
