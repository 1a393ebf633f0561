"""What the caller must do now: the answer of `Raft.ready()`. The order is in the package's docstring."""

import msgspec

from raft_zmq.core.events import Event
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Entry, HardState, InstallSnapshot, PeerMessage

Outgoing = tuple[str, PeerMessage]  # (the receiver's node id, the message)


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """Commands of one ticket stand at first_index, first_index + 1, … of the leader's log, in `term`.

    They are not committed yet: when `Ready.committed` brings an entry of another term at that index, they are lost.
    """

    ticket: int
    first_index: int
    term: int


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The request of that ticket left no trace: `reason` is not_leader, busy, transferring, disk_full,
    change_in_progress, not_ready or invalid; `detail` says more for a person; `leader_id` is "" when unknown.
    """

    ticket: int
    reason: str
    leader_id: str = ""
    detail: str = ""


class ReadGranted(msgspec.Struct, frozen=True, gc=False):
    """Reads of that ticket are linearizable once the state machine has applied `read_index` (§8)."""

    ticket: int
    read_index: int


class TransferDone(msgspec.Struct, frozen=True, gc=False):
    """A transfer ended: `leader_id` leads now ("" when it failed and the old leader goes on)."""

    ticket: int
    leader_id: str


class Ready(msgspec.Struct, kw_only=True):
    """One round of work, each list in order. An empty list or None means "nothing of that sort"."""

    messages: list[Outgoing]  # may leave before the sync: the leader's appends, requests for pre-votes
    hard_state: HardState | None  # to write
    base_membership: Membership | None  # to write: the first members are now known with their incarnations
    entries: list[Entry]  # to write; entries[0].index and everything after it in the old log is replaced
    snapshot_chunks: list[
        InstallSnapshot
    ]  # to write aside at their offsets; `done` means: check, sync, rename, restore
    reset_log_to: tuple[int, int] | None  # (index, term): a snapshot was installed and the whole old log goes (rule 20)
    messages_after_sync: list[Outgoing]  # promises: only once all of the above is synced
    snapshot_sends: list[Outgoing]  # InstallSnapshot without `data`: the caller fills it in from the snapshot's file
    committed: list[Entry]  # to apply, in order, after the sync
    compacted: list[list[Entry]]  # no longer in the log, nor anywhere else: to free all of them at once may take long
    accepted: list[Accepted]
    refused: list[Refused]
    reads: list[ReadGranted]
    transfers: list[TransferDone]
    events: list[Event]
