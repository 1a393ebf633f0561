"""What a simulated server does for clients: the node's own handling of requests, and what no client asks for beside it.

Clients' reads and writes go through `raft_zmq.node.requests`, in the order in which the node's loop calls it, so that
the check of the history judges that as well.
"""

from collections.abc import Callable, Sequence

import msgspec

from raft_zmq.core.inputs import Input, Read
from raft_zmq.core.messages import Entry
from raft_zmq.core.ready import Ready
from raft_zmq.core.state import State
from raft_zmq.node.caller import Caller
from raft_zmq.node.requests import Requests
from raft_zmq.observability.metrics import Metrics
from raft_zmq.settings import Settings
from raft_zmq.state_machine.replica import SESSION_EXPIRED, Replica
from raft_zmq.transport.keys import ANONYMOUS
from raft_zmq.wire import client_messages as wire

OTHER_TICKETS = 1 << 32  # from here on: of requests that no client made
CONNECTION = b"all clients"
_METRICS = Metrics(dict, dict)
_SETTINGS = Settings()


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The answer to one request. `kind`: done, refused (no trace left), expired (the session) or unknown."""

    kind: str
    output: bytes = b""  # an encoded Outcome when done
    leader_id: str = ""


Answer = Callable[[Reply], None]


class Service:
    """Requests that wait in one process; a crash forgets them all, and the clients ask again.

    `deliver` takes inputs to the core; `read_asked` is told the ticket of each round of reads before that.
    """

    def __init__(
        self, replica: Replica, state: State, deliver: Callable[[Input], None], read_asked: Callable[[int], None]
    ) -> None:
        self._replica = replica
        self._deliver = deliver
        self._read_asked = read_asked
        self._inputs: list[Input] = []
        self._requests = Requests(_SETTINGS, state, replica.machine.query, self._inputs.append, _METRICS, _not_asked)
        self._last_request = 0
        self._clients: dict[int, Answer] = {}  # by request, until answered
        self._last_ticket = OTHER_TICKETS
        self._answers: dict[int, Answer] = {}  # of what no client asked for, by ticket, until accepted or refused
        self._accepted: dict[int, tuple[int, Answer]] = {}  # log index -> (term, who waits)

    def ask_for_client(self, payload: bytes, is_read: bool, answer: Answer) -> None:
        """A client's request has come in."""
        self._last_request += 1
        self._clients[self._last_request] = answer
        kind = wire.Read if is_read else wire.Write
        self._requests.receive([(CONNECTION, ANONYMOUS, [kind(self._last_request, payload)])])
        self._requests.go_on()
        inputs = self._inputs.copy()
        self._inputs.clear()
        for item in inputs:
            if isinstance(item, Read):
                self._read_asked(item.ticket)
            self._deliver(item)
        self._answer()

    def ask(self, answer: Answer) -> int:
        """A ticket for a proposal, a transfer or a membership change that no client asked for."""
        self._last_ticket += 1
        self._answers[self._last_ticket] = answer
        return self._last_ticket

    def take(self, ready: Ready) -> None:
        """Note what a Ready says of the requests."""
        for accepted in ready.accepted:
            if accepted.ticket in self._answers:
                self._accepted[accepted.first_index] = (accepted.term, self._answers.pop(accepted.ticket))
            else:
                self._requests.accepted(accepted, 0.0)
        for refused in ready.refused:
            if refused.ticket in self._answers:
                self._answers.pop(refused.ticket)(Reply("refused", leader_id=refused.leader_id))
            else:
                self._requests.refused(refused)
        for granted in ready.reads:
            self._requests.read_granted(granted, self._replica.last_applied)
        for done in ready.transfers:
            self._answers.pop(done.ticket)(Reply("done", leader_id=done.leader_id))
        self._answer()

    def applied(self, entries: Sequence[Entry], outcomes: Sequence[bytes | None]) -> None:
        """Entries have been applied: answer whoever proposed them, or whose place they took."""
        self._requests.applied(entries, outcomes, self._replica.last_applied, 0.0)
        self._answer()
        for entry, outcome in zip(entries, outcomes, strict=True):
            term, answer = self._accepted.pop(entry.index, (0, None))
            if answer is None:
                continue
            if term != entry.term:
                answer(Reply("unknown"))  # this attempt is lost, an earlier one may not be
            elif outcome == SESSION_EXPIRED:
                answer(Reply("expired"))
            else:
                answer(Reply("done", outcome or b""))

    def restored(self) -> None:
        """A snapshot took the place of entries that were waited for."""
        for index in [index for index in self._accepted if index <= self._replica.last_applied]:
            self._accepted.pop(index)[1](Reply("unknown"))

    def stepped_down(self) -> None:
        """Leadership is lost: what is under way may or may not come to be (rule 24)."""
        self._requests.leadership_lost()
        self._answer()
        waiting, self._accepted = self._accepted, {}
        for _, answer in waiting.values():
            answer(Reply("unknown"))

    def _answer(self) -> None:
        """Hand out the answers there are; what takes the node several turns is done in one."""
        while self._requests.has_work:
            self._requests.go_on()
        for answers in (*self._requests.take_answers().values(), *self._requests.take_refusals().values()):
            for answer in answers:
                self._clients.pop(answer.request_id)(_reply(answer))


def _reply(answer: wire.Answer) -> Reply:
    match answer:
        case wire.Done(_, body):
            return Reply("done", body)
        case wire.Redirect(_, leader_id):
            return Reply("refused", leader_id=leader_id)
        case wire.Refused(_, "session_expired"):
            return Reply("expired")
        case wire.Unknown():
            return Reply("unknown")
        case _:
            return Reply("refused")


def _not_asked(caller: Caller, request: wire.Request) -> None:
    raise AssertionError(f"simulated clients read and write only, found {request} of {caller}")
