"""One server under test: messages in, messages out, as the paper describes its servers."""

from collections.abc import Callable, Sequence

from raft_zmq.core import inputs
from raft_zmq.core.config import Config
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import (
    AppendEntries,
    AppendReply,
    Entry,
    EntryKind,
    HardState,
    InstallSnapshot,
    PeerMessage,
    VoteReply,
    VoteRequest,
)
from raft_zmq.core.raft import Raft
from raft_zmq.core.ready import Accepted, ReadGranted, Ready, Refused, TransferDone
from raft_zmq.core.state import Role
from raft_zmq.core.stored import Stored

ELECTION_TIMEOUT_S = (1.0, 2.0)
HEARTBEAT_INTERVAL_S = 0.1


def incarnation(node_id: str) -> str:
    return f"disk-of-{node_id}"


def members(*node_ids: str) -> tuple[Member, ...]:
    return tuple(Member(node_id, incarnation=incarnation(node_id)) for node_id in sorted(node_ids))


def log(*terms: int) -> tuple[Entry, ...]:
    """Entries 1, 2, … of these terms, as Figure 7 draws its logs."""
    return tuple(Entry(index, term, EntryKind.COMMAND, b"%d" % index) for index, term in enumerate(terms, start=1))


class Server:
    """A Raft with the others played by the test. What it sends and does gathers in the attributes."""

    def __init__(
        self,
        node_id: str = "n1",
        voters: Sequence[str] = ("n1", "n2", "n3"),
        *,
        learners: Sequence[str] = (),
        term: int = 0,
        voted_for: str = "",
        entries: Sequence[Entry] = (),
        commit_index: int = 0,
        uniform: Callable[[float, float], float] = lambda low, high: low,
        stored: Stored | None = None,
        now_s: float = 0.0,
        **config: object,
    ) -> None:
        if stored is None:
            stored = Stored(
                hard_state=HardState(term, voted_for, commit_index),
                base_membership=Membership(voters=members(*voters), learners=members(*learners)),
                entries=tuple(entries),
            )
        settings: dict[str, object] = {
            "election_timeout_s_min": ELECTION_TIMEOUT_S[0],
            "election_timeout_s_max": ELECTION_TIMEOUT_S[1],
            "heartbeat_interval_s": HEARTBEAT_INTERVAL_S,
            "pre_vote": False,
            "check_quorum": False,
            "incarnation": incarnation(node_id),
            **config,
        }
        self.node_id = node_id
        self.now_s = now_s
        self.raft = Raft(
            Config(node_id=node_id, **settings),  # type: ignore[arg-type]
            stored,
            uniform,
            self.now_s,
        )
        self.sent: list[tuple[str, PeerMessage]] = []
        self.sent_before_sync: list[tuple[str, PeerMessage]] = []
        self.sent_after_sync: list[tuple[str, PeerMessage]] = []
        self.applied: list[Entry] = []
        self.accepted: list[Accepted] = []
        self.refused: list[Refused] = []
        self.reads: list[ReadGranted] = []
        self.transfers: list[TransferDone] = []
        self.events: list[object] = []
        self.snapshot_chunks: list[InstallSnapshot] = []
        self.log_resets: list[tuple[int, int]] = []
        self.work()

    # what the paper calls the server's state

    @property
    def role(self) -> Role:
        return self.raft.state.role

    @property
    def term(self) -> int:
        return self.raft.state.current_term

    @property
    def commit_index(self) -> int:
        return self.raft.state.commit_index

    @property
    def leader_id(self) -> str:
        return self.raft.state.leader_id

    def log_terms(self) -> list[int]:
        found = self.raft.state.log
        return [entry.term for entry in found.entries(found.first_index, found.last_index)]

    # what happens to it

    def step(self, item: inputs.Input) -> None:
        self.raft.step(self.now_s, item)
        self.work()

    def receive(self, sender: str, message: PeerMessage, disk: str | None = None) -> None:
        self.step(inputs.Received(sender, disk if disk is not None else incarnation(sender), message))

    def wait(self, seconds: float) -> None:
        """Let time pass, tick by tick as the core asks for them."""
        until_s = self.now_s + seconds
        while self.raft.wake_at_s() <= until_s:
            self.now_s = max(self.now_s, self.raft.wake_at_s())
            self.step(inputs.Tick())
        self.now_s = until_s

    def propose(self, *commands: bytes, ticket: int = 1) -> None:
        self.step(inputs.Propose(ticket, list(commands)))

    def read(self, ticket: int = 1) -> None:
        self.step(inputs.Read(ticket))

    def work(self) -> None:
        """Do all that is ready; the disk is prompt."""
        while self.raft.has_ready():
            ready = self.raft.ready()
            self.gather(ready)
            self.raft.advance()
            for chunk in ready.snapshot_chunks:
                if chunk.done:
                    self.raft.step(self.now_s, inputs.SnapshotInstalled(chunk.last_index))

    def gather(self, ready: Ready) -> None:
        """Note what a round holds; `work` then ends it."""
        self.sent_before_sync += ready.messages
        self.sent_after_sync += ready.messages_after_sync
        self.sent += [*ready.messages, *ready.messages_after_sync, *ready.snapshot_sends]
        self.applied += ready.committed
        self.accepted += ready.accepted
        self.refused += ready.refused
        self.reads += ready.reads
        self.transfers += ready.transfers
        self.events += ready.events
        self.snapshot_chunks += ready.snapshot_chunks
        self.log_resets += [ready.reset_log_to] if ready.reset_log_to else []

    # what the test looks at

    def take_sent(self) -> list[tuple[str, PeerMessage]]:
        """The messages since the last look."""
        sent, self.sent = self.sent, []
        self.sent_before_sync, self.sent_after_sync = [], []
        return sent

    def sent_to(self, to: str, kind: type[PeerMessage]) -> list[PeerMessage]:
        """The messages of that kind to that server since the last look, which this is not."""
        return [message for receiver, message in self.sent if receiver == to and isinstance(message, kind)]

    # short ways to a state

    def campaign(self) -> None:
        """Let the election timeout run out."""
        self.wait(max(0.0, self.raft.state.election_deadline_s - self.now_s))

    def become_leader(self, votes: Sequence[str] = ("n2",)) -> None:
        """Win an election with these votes; what was sent for it is forgotten."""
        self.campaign()
        for voter in votes:
            self.receive(voter, vote(self.term))
        assert self.role is Role.LEADER
        self.take_sent()

    def acknowledge(self, sender: str, match_index: int | None = None, read_token: int = 0) -> None:
        """That follower holds the leader's log up to match_index, everything by default."""
        index = self.raft.state.log.last_index if match_index is None else match_index
        self.receive(sender, append_reply(self.term, index, read_token=read_token))


def append(
    term: int,
    prev: tuple[int, int] = (0, 0),
    entries: Sequence[Entry] = (),
    commit: int = 0,
    read_token: int = 0,
    *,
    quiet: bool = False,
) -> AppendEntries:
    """AppendEntries with `prev` as (index, term)."""
    return AppendEntries(
        term=term,
        prev_log_index=prev[0],
        prev_log_term=prev[1],
        entries=tuple(entries),
        leader_commit=commit,
        read_token=read_token,
        quiet=quiet,
    )


def append_reply(term: int, match_index: int, *, read_token: int = 0) -> AppendReply:
    """The answer of a follower whose log agrees."""
    return AppendReply(
        term=term,
        ok=True,
        match_index=match_index,
        prev_log_index=0,
        hint_index=0,
        hint_term=0,
        read_token=read_token,
    )


def refusal(term: int, prev_log_index: int, hint: tuple[int, int]) -> AppendReply:
    """The answer of a follower whose log differs at prev_log_index; `hint` is (index, term)."""
    return AppendReply(
        term=term,
        ok=False,
        match_index=0,
        prev_log_index=prev_log_index,
        hint_index=hint[0],
        hint_term=hint[1],
        read_token=0,
    )


def vote(term: int, granted: bool = True, pre_vote: bool = False) -> VoteReply:
    """An answer to a VoteRequest."""
    return VoteReply(term=term, granted=granted, pre_vote=pre_vote)


def ask_vote(
    term: int, last: tuple[int, int] = (0, 0), *, pre_vote: bool = False, transfer: bool = False
) -> VoteRequest:
    """A VoteRequest of a candidate whose log ends at `last` = (index, term)."""
    return VoteRequest(term=term, last_log_index=last[0], last_log_term=last[1], pre_vote=pre_vote, transfer=transfer)
