"""Which requests a client's role allows."""

from raft_zmq.transport.keys import ClientUser, Role
from raft_zmq.wire.client_messages import LogRange, Read, Refused, Request, Status, Write

_READS = frozenset({Read, Status, LogRange})
_ALLOWED: dict[Role, frozenset[type]] = {
    Role.READ_ONLY: _READS,
    Role.READ_WRITE: _READS | {Write},
}


def permits(role: Role, request: Request) -> bool:
    """Whether a client in that role may ask for this."""
    return role is Role.ADMIN or type(request) in _ALLOWED[role]


def refusal(user: ClientUser, request: Request) -> Refused:
    """The answer to a request that the role does not allow."""
    kind = type(request).__name__
    return Refused(
        request.request_id,
        "not_allowed",
        f"{kind}: expected a client whose role allows it, found {user.name} as {user.role}. Use another client's key.",
    )
