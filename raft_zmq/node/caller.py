"""Who waits for an answer."""

import msgspec


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who waits for an answer: a connection, the client's number for the request, and the client's name."""

    routing_id: bytes
    request_id: int
    client: str
