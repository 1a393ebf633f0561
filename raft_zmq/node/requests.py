"""Between clients and the core: requests become inputs, and what the core decides becomes answers.

The writes that came in during one turn of the loop are one proposal (or, when there are many, go into those of several
turns: writes.py), and all reads one round of confirmation. Answers gather here until something has been applied or the
turn ends, so that each client gets few messages. Too many requests at once are answered busy (admission.py), and what
may take long is done a little at a time (work.py).
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from raft_zmq.core import inputs
from raft_zmq.core import membership as memberships
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import Entry, EntryKind
from raft_zmq.core.ready import Accepted, ReadGranted, Refused, TransferDone
from raft_zmq.core.state import State
from raft_zmq.node.admission import Admission
from raft_zmq.node.caller import Caller
from raft_zmq.node.work import Work
from raft_zmq.node.writes import WRITES_IN_OVERLOADED_TURN, WRITES_IN_TURN, Waiting, WriteQueue
from raft_zmq.observability.metrics import Metrics
from raft_zmq.settings import Settings
from raft_zmq.state_machine.replica import SESSION_EXPIRED
from raft_zmq.transport.clients import Batch
from raft_zmq.wire import client_messages as wire
from raft_zmq.wire.commands import is_from_client

RETRY_AFTER_S = 0.05  # when the core would take no more just now, or hands over
OVERLOADED_S = 1.0  # after the last one was turned away
TURNED_AWAY_S = 0.2  # when too many are let in: much is to be worked off first, and who comes too early costs time
QUERY_BYTES_MAX = 16 << 10
LARGE_QUERY_BYTES = 256  # queries wait for their turn in memory: of those from this size on …
QUERIES_BYTES_MAX = 64 << 20  # … so much may wait in all …
QUERIES_BYTES_MAX_OF_CLIENT = 24 << 20  # … and of one client: the others are to get through
_BUSY_REASONS = ("busy", "transferring")
encode = msgspec.msgpack.Encoder().encode


class Requests:
    """The requests under way on this node.

    `query` asks the state machine, `step` hands an input to the core, `answer_here` does a request about this node.
    """

    def __init__(
        self,
        settings: Settings,
        state: State,
        query: Callable[[bytes], bytes],
        step: Callable[[inputs.Input], None],
        metrics: Metrics,
        answer_here: "Callable[[Caller, wire.Request], None]",
    ) -> None:
        self._metrics = metrics
        self._state = state
        self._query = query
        self._step = step
        self._admission = Admission(settings.requests_max, settings.client_requests_max)
        self._answer_here = answer_here
        self._command_bytes_max = settings.command_bytes_max
        self._work: Work[tuple[Caller, bytes | wire.Request]] = Work(self._do)
        self._writes = WriteQueue(state.config.uncommitted_bytes_max)
        self._queries = Admission(QUERIES_BYTES_MAX, QUERIES_BYTES_MAX_OF_CLIENT)  # bytes of large ones
        self._overloaded_s = -OVERLOADED_S  # when somebody was turned away last because the node was full
        self._next_ticket = 1
        self._answers: dict[bytes, list[wire.Answer]] = {}
        self._refusals: dict[bytes, list[wire.Answer]] = {}  # of what is too much; they do not wait as well
        self._new_reads: list[tuple[Caller, bytes]] = []  # let in, and not yet begun
        self._proposals: dict[int, list[Caller]] = {}  # by ticket, until accepted or refused
        self._begun_s: dict[int, tuple[float, float]] = {}  # by ticket: when the proposal came in, and was made
        # Of each accepted proposal: its last index, when it came in, and when it was on its way to the followers.
        self._uncommitted: deque[tuple[int, float, float]] = deque()
        self._written: dict[int, Caller] = {}  # by log index, until committed …
        self._written_term = -1  # … in this term; another leader may have put something else there
        self._reads: dict[int, list[tuple[Caller, bytes]]] = {}  # by ticket, until granted or refused
        self._reads_to_apply: deque[tuple[int, list[tuple[Caller, bytes]]]] = deque()  # granted, by read index
        self._changes: dict[int, Caller] = {}  # by ticket, until accepted or refused
        self._changing: dict[int, Caller] = {}  # by log index, until the final configuration is committed
        self._transfers: dict[int, Caller] = {}  # by ticket

    def receive(self, batches: Iterable[Batch]) -> None:
        """Let in what there is room for; the rest is among the refusals now. `go_on` begins with what was let in."""
        for caller, request in self._admitted(batches):
            kind = type(request)
            if kind is wire.Write:
                self._take_write(caller, request.command)  # type: ignore[union-attr]
            elif kind is wire.Read:
                self._take_read(caller, request.query)  # type: ignore[union-attr]
            else:
                self._work.add(caller.routing_id, (caller, request))

    def overloaded(self) -> bool:
        """Whether somebody was turned away lately because the node was full: of requests, or of commands that wait."""
        return time.monotonic() - self._overloaded_s < OVERLOADED_S

    def decline(self, batches: Iterable[Batch], message: str) -> None:
        """Refuse what has come and what waits, for want of room on the disk; who asks about this node is served."""
        self._work.turn_begins()
        for caller, request in self._admitted(batches):
            if isinstance(request, wire.Status | wire.LogRange):
                self._work.add(caller.routing_id, (caller, request))
            else:
                self.refuse(caller, "disk_full", message)
        reads, self._new_reads = self._new_reads, []
        for caller in (*self._writes.take_all(), *self._drop(reads)):
            self.refuse(caller, "disk_full", message)
        self._work.go_on()

    def go_on(self) -> None:
        """Begin with what was let in, as many writes as a turn has room for, and do some of the work that waits."""
        self._work.turn_begins()
        if self._writes:
            self._propose()
        if self._new_reads:
            ticket = self._ticket()
            self._reads[ticket], self._new_reads = self._new_reads, []
            self._step(inputs.Read(ticket))
        self._work.go_on()

    def _admitted(self, batches: Iterable[Batch]) -> Iterator[tuple[Caller, wire.Request]]:
        """The requests that may go on; too many are answered busy at once."""
        for routing_id, user, requests in batches:
            name = user.name
            admitted = self._admission.admit(name, len(requests))
            for request in requests[:admitted]:
                yield Caller(routing_id, request.request_id, name), request
            if admitted < len(requests):
                refused = (request.request_id for request in requests[admitted:])
                self._turn_away(routing_id, *refused, full=self._admission.is_full())

    def _turn_away(self, routing_id: bytes, *request_ids: int, full: bool) -> None:
        """Answer busy; `full`: whoever had come would be turned away, and not this client alone."""
        if full:
            self._overloaded_s = time.monotonic()
        self._metrics.counters.busy += len(request_ids)
        refusals = self._refusals.setdefault(routing_id, [])
        refusals += [wire.Busy(request_id, TURNED_AWAY_S) for request_id in request_ids]

    def _take_write(self, caller: Caller, command: bytes) -> None:
        if not is_from_client(command):
            self.refuse(
                caller, "invalid", "expected an encoded SessionCommand or OpenSession; see docs/wire-protocol.md"
            )
        elif len(command) > self._command_bytes_max:
            found = f"expected a command of at most {self._command_bytes_max} bytes, found {len(command)}"
            self.refuse(caller, "invalid", found)
        elif not self._writes.add(Waiting(caller, command, self._metrics.stages.woke_s)):
            self._admission.ended(caller.client)
            self._turn_away(caller.routing_id, caller.request_id, full=True)

    def _take_read(self, caller: Caller, query: bytes) -> None:
        size_bytes = len(query)
        if size_bytes > QUERY_BYTES_MAX:
            found = f"expected a query of at most {QUERY_BYTES_MAX} bytes, found {size_bytes}"
            self.refuse(caller, "invalid", found)
        elif size_bytes < LARGE_QUERY_BYTES or self._queries.admit_whole(caller.client, size_bytes):
            self._new_reads.append((caller, query))
        else:
            self._admission.ended(caller.client)
            self._turn_away(caller.routing_id, caller.request_id, full=self._queries.is_full(size_bytes))

    def _propose(self) -> None:
        """Propose what this turn has room for: all of it shares one record and one sync."""
        now_s = time.monotonic()
        writes = self._writes.take(WRITES_IN_OVERLOADED_TURN if self.overloaded() else WRITES_IN_TURN)
        ticket = self._ticket()
        came_s = writes[0].came_s
        self._metrics.stages.queue_s.observe(now_s - came_s)
        self._proposals[ticket] = [write.caller for write in writes]
        self._begun_s[ticket] = (came_s, now_s)
        self._step(inputs.Propose(ticket, [write.command for write in writes]))

    def propose_internally(self, command: bytes) -> None:
        """Put the leader's own command through the log; nobody waits for its outcome."""
        ticket = self._ticket()
        self._proposals[ticket] = []
        self._step(inputs.Propose(ticket, [command]))

    def change_members(self, caller: Caller, request: wire.ChangeMembers) -> None:
        """Turn additions, promotions and removals into the membership that is wanted."""
        membership = self._state.membership
        unknown = [name for name in (*request.promote, *request.remove) if membership.member(name) is None]
        if unknown:
            found = ", ".join(unknown)
            self.refuse(caller, "invalid", f"expected names of members, found {found}; see `raftctl members list`")
            return
        voters, learners = _wanted(membership, request)
        ticket = self._ticket()
        self._changes[ticket] = caller
        self._step(inputs.ChangeMembership(ticket, voters, learners))

    def transfer(self, caller: Caller, target: str) -> None:
        """Hand leadership over."""
        ticket = self._ticket()
        self._transfers[ticket] = caller
        self._step(inputs.TransferLeadership(ticket, target))

    def accepted(self, accepted: Accepted, sent_s: float) -> None:
        """The core has appended what was proposed: from now on the answer hangs on the log.

        `sent_s` is when the entries were on their way to the followers.
        """
        self._written_term = accepted.term
        callers = self._proposals.pop(accepted.ticket, ())
        for offset, caller in enumerate(callers):
            self._written[accepted.first_index + offset] = caller
        if (begun_s := self._begun_s.pop(accepted.ticket, None)) is not None:
            woke_s, made_s = begun_s
            self._metrics.stages.append_s.observe(sent_s - made_s)
            self._uncommitted.append((accepted.first_index + len(callers) - 1, woke_s, sent_s))
            self._metrics.counters.proposals += len(callers)
        if (changer := self._changes.pop(accepted.ticket, None)) is not None:
            self._changing[accepted.first_index] = changer

    def refused(self, refused: Refused) -> None:
        """The core has left no trace of the request: say where to go, when to come again, or why not."""
        self._begun_s.pop(refused.ticket, None)
        callers = [*self._proposals.pop(refused.ticket, ())]
        if callers:
            callers += self._writes.take_all()  # what holds for a proposal holds for those that wait behind it
        callers += self._drop(self._reads.pop(refused.ticket, ()))
        callers += [
            waiting.pop(refused.ticket) for waiting in (self._changes, self._transfers) if refused.ticket in waiting
        ]
        for caller in callers:
            if refused.reason == "not_leader":
                self.redirect(caller)
            elif refused.reason in _BUSY_REASONS:
                self._metrics.counters.busy += 1
                self.answer(caller, wire.Busy(caller.request_id, RETRY_AFTER_S))
            else:
                self.refuse(caller, refused.reason, refused.detail)

    def read_granted(self, granted: ReadGranted, last_applied: int) -> None:
        """The reads may be served once the read index is applied (rule 18)."""
        reads = self._reads.pop(granted.ticket)
        if granted.read_index <= last_applied:
            self._serve(reads)
        else:
            self._reads_to_apply.append((granted.read_index, reads))

    def transferred(self, done: TransferDone) -> None:
        """A transfer has ended."""
        caller = self._transfers.pop(done.ticket, None)
        if caller is None:
            return
        if done.leader_id:
            self.done(caller, done.leader_id)
        else:
            self.refuse(caller, "not_ready", "expected the target to take over in time, and it did not; it may lag")

    def applied(
        self, entries: Sequence[Entry], results: Sequence[bytes | None], last_applied: int, committed_s: float
    ) -> None:
        """Entries are applied, and were known to be committed at `committed_s`: answer their writers, and the reads
        that waited for them.

        The next leader's entries may come before anyone here has heard that this leader's time is over (rule 22).
        """
        written, own_term = self._written, self._written_term
        for entry, result in zip(entries, results, strict=True):
            if entry.term != own_term:
                continue
            if written and result is not None:
                caller = written.pop(entry.index, None)
                if caller is not None:
                    self._answer_write(caller, result)
            elif entry.kind == EntryKind.CONFIGURATION and self._changing:
                self._configuration_committed(entry)
        while self._uncommitted and self._uncommitted[0][0] <= last_applied:
            _, woke_s, sent_s = self._uncommitted.popleft()
            self._metrics.stages.replicate_s.observe(committed_s - sent_s)
            self._metrics.commit_s.observe(committed_s - woke_s)
        while self._reads_to_apply and self._reads_to_apply[0][0] <= last_applied:
            self._serve(self._reads_to_apply.popleft()[1])

    def leadership_lost(self) -> None:
        """Whatever was in the log may yet be committed by the next leader: nobody knows (rule 24)."""
        waiting = [*self._written.values(), *self._changing.values()]
        self._written.clear()
        self._uncommitted.clear()
        self._changing.clear()
        for caller in waiting:
            self.answer(caller, wire.Unknown(caller.request_id, "leadership was lost before the entry was committed"))

    def redirect(self, caller: Caller) -> None:
        """Name the leader, if there is one."""
        leader = self._state.membership.member(self._state.leader_id) if self._state.leader_id else None
        if leader is None:
            self.answer(caller, wire.Redirect(caller.request_id, "", ""))
        else:
            self.answer(caller, wire.Redirect(caller.request_id, leader.node_id, leader.client_address))

    def refuse(self, caller: Caller, kind: str, message: str) -> None:
        """Say that asking again will not help."""
        self.answer(caller, wire.Refused(caller.request_id, kind, message))

    def done(self, caller: Caller, result: object) -> None:
        """Say that it is done, and what came of it."""
        self.answer(caller, wire.Done(caller.request_id, encode(result)))

    def answer(self, caller: Caller, answer: wire.Answer) -> None:
        """Put an answer with the others for that client."""
        self._admission.ended(caller.client)
        self._answers.setdefault(caller.routing_id, []).append(answer)

    def take_refusals(self) -> dict[bytes, list[wire.Answer]]:
        """The answers "busy" to what was too much to let in, by connection: to be sent before anything else is done."""
        refusals, self._refusals = self._refusals, {}
        return refusals

    def take_answers(self) -> dict[bytes, list[wire.Answer]]:
        """The answers since the last call, by connection."""
        answers, self._answers = self._answers, {}
        return answers

    def forget(self, routing_id: bytes) -> None:
        """Nobody reads the answers there: what has not been begun is not done."""
        dropped: list[tuple[Caller, bytes | wire.Request]] = [
            read for read in self._new_reads if read[0].routing_id == routing_id
        ]
        self._new_reads = [read for read in self._new_reads if read[0].routing_id != routing_id]
        dropped += self._work.forget(routing_id)
        for caller in (*self._drop(dropped), *self._writes.forget(routing_id)):
            self._admission.ended(caller.client)

    @property
    def has_work(self) -> bool:
        """Whether work waits for the next turn."""
        return bool(self._writes or self._new_reads or self._work)

    def levels(self) -> dict[str, int]:
        """How many requests are under way, and how many of them wait for their commit; from any thread."""
        return {"requests_under_way": self._admission.under_way, "writes_under_way": len(self._written)}

    def _ticket(self) -> int:
        self._next_ticket += 1
        return self._next_ticket

    def _serve(self, reads: list[tuple[Caller, bytes]]) -> None:
        for caller, query in reads:
            self._work.add(caller.routing_id, (caller, query))
        self._work.go_on()

    def _do(self, item: tuple[Caller, bytes | wire.Request]) -> int:
        caller, request = item
        if not isinstance(request, bytes):
            self._answer_here(caller, request)
            return 0
        self._metrics.counters.reads += 1
        if len(request) >= LARGE_QUERY_BYTES:
            self._queries.ended(caller.client, len(request))
        found = self._query(request)
        self.answer(caller, wire.Done(caller.request_id, found))
        return len(found)

    def _drop(self, asked: "Iterable[tuple[Caller, bytes | wire.Request]]") -> list[Caller]:
        """Nobody looks these up any more: they make room for other queries. Returns who asked."""
        callers = []
        for caller, request in asked:
            callers.append(caller)
            if isinstance(request, bytes) and len(request) >= LARGE_QUERY_BYTES:
                self._queries.ended(caller.client, len(request))
        return callers

    def _answer_write(self, caller: Caller, result: bytes) -> None:
        if result == SESSION_EXPIRED:
            self.refuse(caller, "session_expired", "expected a live session; open a new one")
        else:
            self.answer(caller, wire.Done(caller.request_id, result))

    def _configuration_committed(self, entry: Entry) -> None:
        if memberships.decode(entry.data).joint:
            return
        for index in [index for index in self._changing if index <= entry.index]:
            self.done(self._changing.pop(index), None)


def _wanted(membership: Membership, request: wire.ChangeMembers) -> tuple[tuple[Member, ...], tuple[Member, ...]]:
    """The voters and learners that the request makes of a membership."""
    promoted = [member for member in membership.learners if member.node_id in request.promote]
    moved = {*request.promote, *request.remove}
    stays = [member for member in membership.learners if member.node_id not in moved]
    voters = [member for member in membership.voters if member.node_id not in request.remove]
    return (*voters, *promoted), (*stays, *request.add)
