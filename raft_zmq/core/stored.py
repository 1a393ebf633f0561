"""What a server finds on its disk when it starts: the persistent state of Figure 2 and of section 7."""

import msgspec

from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Entry, HardState


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The durable state; every field's default is that of an empty disk.

    `entries` are contiguous; they may begin at or below the snapshot (trailing entries) and never leave a gap after
    it. `base_membership` is the cluster's first configuration, the one that counts while the log holds no other. A
    snapshot of a time before it was known has its voters in `snapshot_membership`, not bound; the base counts then.
    """

    hard_state: HardState = HardState()
    base_membership: Membership = Membership()
    snapshot_index: int = 0
    snapshot_term: int = 0
    snapshot_membership: Membership = Membership()  # as of snapshot_index; unused while that is 0
    snapshot_bytes: int = 0
    entries: tuple[Entry, ...] = ()
    start_term: int = 0  # the term of the entry just before entries[0]; what prevLogTerm needs there
