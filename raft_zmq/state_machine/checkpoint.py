"""A point at which two nodes can be compared."""

import msgspec


class Checkpoint(msgspec.Struct, frozen=True):
    """The digest after the entry (index, term): what the event `applied` tells."""

    index: int
    term: int
    digest: str
