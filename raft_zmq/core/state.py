"""What a server knows: the State box of Figure 2, and what the dissertation adds to it. The rules are elsewhere."""

import enum
from collections.abc import Callable

from raft_zmq.core import membership as memberships
from raft_zmq.core.config import Config
from raft_zmq.core.events import Event
from raft_zmq.core.log import RaftLog
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import DiskState, Entry, EntryKind, HardState, InstallSnapshot, PeerMessage
from raft_zmq.core.progress import Progress
from raft_zmq.core.ready import Accepted, Outgoing, ReadGranted, Refused, TransferDone
from raft_zmq.core.stored import Stored


class Role(enum.Enum):
    """What a server is in its term (§5.1, thesis 9.6)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Outbox:
    """What the next Ready will hold."""

    def __init__(self) -> None:
        self.messages: list[Outgoing] = []
        self.messages_after_sync: list[Outgoing] = []
        self.snapshot_sends: list[Outgoing] = []
        self.snapshot_chunks: list[InstallSnapshot] = []
        self.reset_log_to: tuple[int, int] | None = None
        self.base_membership: Membership | None = None
        self.compacted: list[list[Entry]] = []
        self.accepted: list[Accepted] = []
        self.refused: list[Refused] = []
        self.reads: list[ReadGranted] = []
        self.transfers: list[TransferDone] = []
        self.events: list[Event] = []


class ReadRound:
    """Reads that wait for one confirmation of leadership (§8): sent after `read_index` was fixed (rule 18)."""

    def __init__(self, token: int, read_index: int, tickets: list[int], sent_s: float) -> None:
        self.token = token
        self.read_index = read_index
        self.tickets = tickets
        self.sent_s = sent_s


class TransferState:
    """A hand-over under way (thesis 3.10)."""

    def __init__(self, ticket: int, target: str, deadline_s: float) -> None:
        self.ticket = ticket
        self.target = target
        self.deadline_s = deadline_s
        self.told = False  # TimeoutNow is on its way


class SnapshotIn:
    """A snapshot that is coming in, chunk by chunk (Figure 13)."""

    def __init__(self, leader_id: str, message: InstallSnapshot) -> None:
        self.leader_id = leader_id  # another leader's file of the same snapshot may differ in its bytes
        self.last_index = message.last_index
        self.last_term = message.last_term
        self.membership = message.membership
        self.next_offset = 0
        self.complete = False


class State:
    """Everything one server knows. Only the rules of this package change it."""

    def __init__(self, config: Config, stored: Stored, uniform: Callable[[float, float], float], now_s: float) -> None:
        self.config = config
        self.uniform = uniform
        self.now_s = now_s
        self.outbox = Outbox()

        # persistent on all servers (Figure 2)
        self.current_term = stored.hard_state.current_term
        self.voted_for = stored.hard_state.voted_for
        self.log = RaftLog(stored.entries, stored.start_term, stored.snapshot_index, stored.snapshot_term)
        self.snapshot_bytes = stored.snapshot_bytes
        self.written_hard_state = stored.hard_state

        # volatile on all servers (Figure 2)
        self.commit_index = min(max(stored.hard_state.commit_index, stored.snapshot_index), self.log.last_index)
        self.last_applied = stored.snapshot_index
        self.role = Role.FOLLOWER
        self.leader_id = ""
        self.memberships = _stored_memberships(
            stored
        )  # (index it was appended at, what counts from there), newest last
        self.incarnations: dict[str, str] = {}  # what each peer said in its Hello
        self.confirmed_by: set[str] = set()  # the first members that know nothing against this server's vote
        self.hello_due_s = now_s
        self.last_step_s = now_s
        self.disk = DiskState.GOOD  # as the caller says

        # elections (§5.2)
        self.election_timeout_s = 0.0
        self.election_deadline_s = 0.0
        # With leases a restart must not forget that a leader may hold one that this server granted (thesis 6.4.1).
        self.heard_leader_s = now_s if config.lease_reads else float("-inf")
        self.leader_commit_index = 0  # as the leader told last; this server may lack entries below it
        self.votes: dict[str, bool] = {}  # by sender, so that a repeated message counts once (rule 5)
        self.transfer_election = False
        self.snapshot_in: SnapshotIn | None = None

        # volatile on leaders (Figure 2)
        self.progress: dict[str, Progress] = {}
        self.departing: dict[
            str, int
        ] = {}  # removed servers that still have to learn of it: the index to bring them to
        self.reborn: set[str] = set()  # members that answer from another data directory than the one recorded
        self.term_start_index = 0  # the first entry of the leader's term
        self.commit_index_at_heartbeat = 0
        self.caught_up_index = 0  # the commit index one or two heartbeats ago: who holds that has caught up
        self.uncommitted_bytes = 0
        self.heartbeat_due_s = 0.0
        self.quorum_due_s = 0.0
        self.read_token = 0
        self.new_reads: list[int] = []  # tickets for the next round
        self.read_rounds: list[ReadRound] = []  # under way, oldest first
        self.lease_until_s = float("-inf")
        self.lease_voided = False  # for the rest of the term
        self.transfer: TransferState | None = None
        self.awaiting_new_leader: list[int] = []  # tickets of transfers whose outcome shows when a leader is known

    @property
    def membership(self) -> Membership:
        """The configuration that counts: the newest in the log, committed or not (§6, rule 13)."""
        return self.memberships[-1][1]

    @property
    def membership_index(self) -> int:
        """The log index of that configuration; 0 for the first one, which is in no log."""
        return self.memberships[-1][0]

    def hard_state(self) -> HardState:
        """What has to be on disk before anyone may rely on it (Figure 2)."""
        return HardState(self.current_term, self.voted_for, self.commit_index)

    def may_vote(self) -> bool:
        """Whether this server is a voter under the data directory it has (rule 15)."""
        return self.membership.is_voter(self.config.node_id, self.config.incarnation)

    def is_self(self, member: Member) -> bool:
        """Whether that member is this very server."""
        return member.node_id == self.config.node_id

    def send(self, to: str, message: PeerMessage) -> None:
        """Send before the sync: nothing in it depends on what is not yet on disk."""
        self.outbox.messages.append((to, message))

    def promise(self, to: str, message: PeerMessage) -> None:
        """Send after the sync: the message vouches for this server's disk (Figure 2)."""
        self.outbox.messages_after_sync.append((to, message))

    def report(self, event: Event) -> None:
        """Tell people and the judge."""
        self.outbox.events.append(event)


def _stored_memberships(stored: Stored) -> list[tuple[int, Membership]]:
    first = stored.base_membership
    if stored.snapshot_index and stored.snapshot_membership.bound:
        first = stored.snapshot_membership
    history = [(stored.snapshot_index, first)]
    for entry in stored.entries:
        if entry.kind is EntryKind.CONFIGURATION and entry.index > stored.snapshot_index:
            history.append((entry.index, memberships.decode(entry.data)))
    return history
