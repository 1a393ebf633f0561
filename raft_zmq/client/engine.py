"""Many requests under way at once, over few connections, in the caller's own thread.

The owner submits calls and then goes round in `turn()`, which sends all that wait as one message to each node, takes in
what comes, and reports each call's end through its `on_end`. Nothing runs between turns: an idle client costs nothing.

What happens to a request for the leader:
- It waits until a leader is known. To find one, every node is asked for its status; the highest term is believed.
- A redirect or a busy answer left no trace: the request goes out again, to the leader named, or after a pause.
- Silence, or a lost connection, makes the client ask all nodes who leads. The request is sent again when that is
  someone else or the connection is new: always the same bytes, so a write keeps its session and number.
- At its deadline it ends: with NotDoneError if it certainly left no trace, else with OutcomeUnknownError.
"""

import math
import random
import time
from collections.abc import Callable, Iterator

import msgspec

from raft_zmq.client.calls import Call, State
from raft_zmq.client.config import Endpoint
from raft_zmq.client.errors import NotDoneError, RefusedError
from raft_zmq.client.leader import LeaderBelief
from raft_zmq.client.links import BROKEN_S, Link, Links
from raft_zmq.core.errors import NotLeaderError, OutcomeUnknownError, RaftLabError, SettingsError
from raft_zmq.transport.dealer import ClientConnection
from raft_zmq.transport.monitor import Change
from raft_zmq.wire.client_messages import (
    Answer,
    Busy,
    Done,
    LogRange,
    NodeStatus,
    Read,
    Redirect,
    Refused,
    Request,
    Status,
    Unknown,
    Write,
)

SUSPECT_S = 0.1  # silence of a node after which the others are asked who leads
PROBE_PAUSE_S = 0.02  # between two rounds of asking
PROBE_S = 0.3  # how long one of these questions may take
REOPEN_S = 1.0  # a search this long opens new connections: a service may then lead to another node
PAUSE_S = 0.01  # before the next try, at least; all pauses end on a beat of this length
BUSY_PAUSE_S_MAX = 1.0  # between two tries of a request that has been told "busy" again and again
BATCH_REQUESTS_MAX = 256  # a node works off a message in one go: others wait for no more than this

_decode_status = msgspec.msgpack.Decoder(NodeStatus).decode

OnEnd = Callable[[Call], None]


class Engine:
    """Multiplexes calls over one connection per node and lane. Not for use by two threads at once."""

    def __init__(self, endpoints: tuple[Endpoint, ...], connect: Callable[[str], ClientConnection]) -> None:
        self.belief = LeaderBelief(endpoints)
        self._links = Links(connect)
        self._calls: dict[int, Call] = {}
        self._waiting: list[Call] = []
        self._request_id = 0
        self._wake_at = math.inf
        self._probing: set[str] = set()
        self._probe_at = 0.0
        self._reopen_at = 0.0

    # Submitting

    def write(self, command: bytes, timeout_s: float, on_end: OnEnd, lane: int = 0) -> Call:
        """Put an encoded command through the log."""
        self._request_id += 1
        return self._submit(Write(self._request_id, command), timeout_s, on_end, lane=lane)

    def read(self, query: bytes, timeout_s: float, on_end: OnEnd, lane: int = 0) -> Call:
        """Answer an encoded query linearizably."""
        self._request_id += 1
        return self._submit(Read(self._request_id, query), timeout_s, on_end, lane=lane)

    def ask(
        self,
        request: Callable[[int], Request],
        timeout_s: float,
        on_end: OnEnd,
        *,
        address: str = "",
        retry: bool = True,
    ) -> Call:
        """Any other request, made from its id: to the node at `address`, or to the leader; `retry` if sending it
        twice does no harm.
        """
        self._request_id += 1
        return self._submit(request(self._request_id), timeout_s, on_end, address=address, retry=retry)

    def _submit(
        self, request: Request, timeout_s: float, on_end: OnEnd, *, address: str = "", lane: int = 0, retry: bool = True
    ) -> Call:
        call = Call(request, on_end, time.monotonic() + timeout_s, timeout_s, address=address, lane=lane, retry=retry)
        self._calls[request.request_id] = call
        self._waiting.append(call)
        if call.deadline_at < self._wake_at:
            self._wake_at = call.deadline_at
        return call

    # Going round

    @property
    def idle(self) -> bool:
        """Whether no call is under way."""
        return not self._calls

    def turn(self, timeout_s: float | None = None) -> None:
        """Send what waits, then take in what comes within that time (None: as long as any call may wait)."""
        self._flush()
        wait_s = self._wake_at - time.monotonic()
        if timeout_s is not None and timeout_s < wait_s:
            wait_s = timeout_s
        received, changed = self._links.wait(None if wait_s == math.inf else wait_s)
        for link, answers in received:
            self._take(link, answers)
        for link, change in changed:
            self._changed(link, change)
        now = time.monotonic()
        if now >= self._wake_at:
            self._sweep(now)
        self._flush()

    def wait_for(self, call: Call) -> bytes:
        """Go round until that call has ended; its result, or raises its error."""
        while call.state is not State.ENDED:
            self.turn()
        if call.error is not None:
            raise call.error
        return call.body

    def close(self) -> None:
        """Close all connections; calls under way never end."""
        self._links.close()

    # Sending

    def _flush(self) -> None:
        if not self._waiting:
            return
        now = time.monotonic()
        leader = self.belief.leader
        if leader is None and any(not call.address for call in self._waiting):
            self._search(now)
        held: list[Call] = []
        batches: dict[tuple[str, int], list[Call]] = {}
        for call in self._waiting:
            if call.state is not State.WAITING:
                continue
            address = call.address
            if not address:
                if leader is None:
                    held.append(call)
                    continue
                address = leader.address
                call.leader = leader
            batches.setdefault((address, call.lane), []).append(call)
        self._waiting = held
        for (address, lane), calls in batches.items():
            try:
                link = self._links.get(address, lane, now)
            except SettingsError as error:  # of these calls alone
                for call in calls:
                    self._end(call, error)
                continue
            for batch in _batches(calls, link.batch_bytes_max):
                self._send(link, batch, now)

    def _send(self, link: Link, batch: list[Call], now: float) -> None:
        if not link.connection.send([call.request for call in batch]):
            for call in batch:
                self._pause(call, now, PAUSE_S)
            return
        due_at = now + SUSPECT_S
        for call in batch:
            call.state = State.SENT
            call.sent_at = now
            call.due_at = due_at
            call.open_attempts += 1
        self._wake_by(due_at)

    def _again(self, call: Call) -> None:
        call.state = State.WAITING
        call.due_at = call.deadline_at
        self._waiting.append(call)

    def _pause(self, call: Call, now: float, pause_s: float) -> None:
        call.state = State.DELAYED
        call.due_at = math.ceil((now + pause_s) / PAUSE_S) * PAUSE_S  # so that one look finds all that end about now
        self._wake_by(call.due_at)

    def _wake_by(self, moment: float) -> None:
        if moment < self._wake_at:
            self._wake_at = moment

    # Receiving

    def _take(self, link: Link, answers: list[Answer]) -> None:
        leader = self.belief.leader
        if leader is not None and link.address == leader.address:
            self.belief.confirmed()
        calls = self._calls
        for answer in answers:
            call = calls.get(answer.request_id)
            if call is None:  # answered before, or past its deadline; id 0 is about a message the node could not read
                if answer.request_id == 0 and isinstance(answer, Refused):
                    self.belief.heard_refusal(link.address, answer.message)
                continue
            if type(answer) is Done:
                del calls[answer.request_id]
                call.body = answer.body
                call.end(None)
            else:
                self._not_done(call, answer, link)

    def _not_done(self, call: Call, answer: Answer, link: Link) -> None:
        if not isinstance(answer, Unknown):
            call.open_attempts -= 1  # that sending left no trace
        if call.state is not State.SENT or link.address != _destination(call):
            return  # about an earlier sending; the present one has its own answer to come
        now = time.monotonic()
        if isinstance(answer, Redirect):
            self._redirected(call, answer, now)
        elif isinstance(answer, Busy):
            self._pause(call, now, _busy_pause_s(call, answer.retry_after_s))
        elif isinstance(answer, Refused):
            if answer.kind == "disk_full" and not call.address:
                self._search(now)  # a leader that waits for room hears no peer, and may have a successor
            self._end(call, _refusal(call, answer))
        elif isinstance(answer, Unknown):
            if call.retry:
                self._pause(call, now, PAUSE_S)
            else:
                self._end(call, OutcomeUnknownError(f"it may have happened, or may still: {answer.message}"))

    def _redirected(self, call: Call, answer: Redirect, now: float) -> None:
        if call.address:
            self._end(call, NotLeaderError(answer.leader_id))
            return
        if call.leader is self.belief.leader:
            self.belief.redirected(answer.leader_id, answer.address, now)
        self._again(call)

    def _changed(self, link: Link, change: Change) -> None:
        """A lost connection has lost what was under way on it, and one whose handshake broke what waited for it: do not
        wait for those answers.
        """
        if change is Change.REFUSED:
            self.belief.heard_refusal(link.address, "it does not let this client's key in")
        elif change is Change.LOST:
            leader = self.belief.leader
            if leader is not None and leader.address == link.address:
                self.belief.doubt()
            self._send_again(lambda call: _destination(call) == link.address)
        elif change is Change.BROKEN:
            now = time.monotonic()
            for call in self._calls.values():
                if call.state is State.SENT and call.retry and _destination(call) == link.address:
                    self._pause(call, now, BROKEN_S)

    def _end(self, call: Call, error: RaftLabError) -> None:
        del self._calls[call.request.request_id]
        call.end(error)

    # Waking up

    def _sweep(self, now: float) -> None:
        """Look at every call for a deadline or a silence, and find out when to look next."""
        self._wake_at = math.inf
        for call in list(self._calls.values()):
            if now >= call.deadline_at:
                self._end(call, self._no_answer(call))
                continue
            if now >= call.due_at:
                self._overdue(call, now)
            if call.state is State.WAITING and not call.address:
                self._wake_by(self._probe_at)
            self._wake_by(min(call.due_at, call.deadline_at))

    def _overdue(self, call: Call, now: float) -> None:
        if call.state is State.DELAYED:
            self._again(call)
            return
        if not call.address and call.leader is not self.belief.leader:
            if call.retry:
                self._again(call)
            else:
                call.due_at = call.deadline_at
            return
        silent = self._links.heard_at(_destination(call)) < now - SUSPECT_S
        if silent and not call.address:
            self._search(now)
        if call.retry and now - call.sent_at >= call.resend_after_s:
            call.resend_after_s *= 2
            self._again(call)
        else:
            call.due_at = now + (PROBE_PAUSE_S if silent else SUSPECT_S)

    # Searching

    def _search(self, now: float) -> None:
        """Ask every node who leads, if that has not just been done.

        A leader that is silent behind a connection that stands may be busy with something large: what is on its way
        there, or back, would be lost with the connection.
        """
        if now < self._probe_at:
            self._wake_by(self._probe_at)
            return
        self._probe_at = now + PROBE_PAUSE_S
        self._wake_by(self._probe_at)
        leader = self.belief.leader
        kept = leader.address if leader is not None and self._links.connected(leader.address) else ""
        if self.belief.searching_since is None:
            self._reopen_at = now + REOPEN_S
        elif now >= self._reopen_at:
            self._links.drop([address for address in self.belief.addresses() if address != kept])
            self._reopen_at = now + REOPEN_S
        self.belief.search(now, may_forget=not kept)
        for address in self.belief.addresses():
            if address not in self._probing:
                self._probing.add(address)
                self.ask(Status, PROBE_S, self._on_probe, address=address, retry=False)

    def _on_probe(self, call: Call) -> None:
        self._probing.discard(call.address)
        before = self.belief.leader
        try:
            status = None if call.error else _decode_status(call.body)
        except msgspec.MsgspecError:
            status = None
        if status is None:
            self.belief.heard_nothing(call.address)
        else:
            self.belief.heard(call.address, status)
        if self.belief.leader is not before:
            self._send_again(lambda call: not call.address and call.leader is not self.belief.leader)

    def _send_again(self, which: Callable[[Call], bool]) -> None:
        for call in self._calls.values():
            if call.state is State.SENT and call.retry and which(call):
                self._again(call)

    def _no_answer(self, call: Call) -> RaftLabError:
        """What to say of a call whose deadline has passed."""
        if call.address:
            whom, found = f"the node at {call.address}", "none"
        elif call.leader is not None and call.leader is self.belief.leader:
            whom, found = f"the leader {call.leader}", "none"
        else:
            whom, found = "a leader", f"none: {self.belief.account()}"
        expected = f"expected an answer from {whom} within {call.timeout_s:.3g} s, found {found}"
        check = "check that the nodes run, that a majority can reach each other, and the addresses and keys given"
        if call.open_attempts > 0 and not isinstance(call.request, Read | Status | LogRange):
            return OutcomeUnknownError(f"{expected}; the request was sent and may still take effect; {check}")
        return NotDoneError(f"{expected}; {check}")


def _busy_pause_s(call: Call, retry_after_s: float) -> float:
    """Twice as long after each refusal, and not for all alike: an overload passes only if fewer come again."""
    # The time comes from the other side, and may be none at all: not a number is not greater than anything.
    shortest_s = min(retry_after_s, call.timeout_s) if retry_after_s > PAUSE_S else PAUSE_S
    longest_s = max(shortest_s, min(shortest_s * 2**call.refusals, BUSY_PAUSE_S_MAX))
    call.refusals = min(call.refusals + 1, 30)
    return random.uniform(shortest_s, longest_s)


def _destination(call: Call) -> str:
    """Where the present sending of that call went."""
    return call.address or (call.leader.address if call.leader else "")


def _refusal(call: Call, answer: Refused) -> RaftLabError:
    """A refusal is final, but says nothing of earlier sendings that were never answered."""
    if call.open_attempts > 0:
        return OutcomeUnknownError(
            f"an earlier sending went unanswered and may have taken effect; the last was refused: {answer.message}"
        )
    return RefusedError(answer.kind, answer.message)


def _batches(calls: list[Call], bytes_max: int) -> Iterator[list[Call]]:
    """Cut into messages of a size that the node takes."""
    if len(calls) <= BATCH_REQUESTS_MAX and sum(call.size_bytes for call in calls) <= bytes_max:
        yield calls
        return
    batch: list[Call] = []
    size_bytes = 0
    for call in calls:
        if batch and (len(batch) == BATCH_REQUESTS_MAX or size_bytes + call.size_bytes > bytes_max):
            yield batch
            batch, size_bytes = [], 0
        batch.append(call)
        size_bytes += call.size_bytes
    yield batch
