"""What a client believes about who leads, and on whose word.

Nodes tell their term with what they say of the leader, and a term has one leader at most (§5.2), so the word with the
highest term is the one to believe. Redirects carry no term; they are followed, but not twice at once: two nodes that
name each other are asked for their terms instead. A leader whose connection broke, or who denies being one, is believed
again only on its own word: the followers take an election timeout to notice.
"""

from collections.abc import Sequence

from raft_zmq.client.config import Endpoint
from raft_zmq.core.membership import is_host, is_port
from raft_zmq.wire.client_messages import NodeStatus

SEARCH_AFRESH_S = 2.0  # a search this long forgets terms: the cluster may have been set up anew
HEARSAY_PAUSE_S = 0.05


class Leader:
    """One leader of one term; compared by identity: a call remembers which one it was sent to."""

    __slots__ = ("address", "hearsay", "node_id", "term")

    def __init__(self, term: int, node_id: str, address: str, *, hearsay: bool = False) -> None:
        self.term = term
        self.hearsay = hearsay  # from a redirect: the term is a lower bound
        self.node_id = node_id
        self.address = address

    def __str__(self) -> str:
        return str(Endpoint(self.node_id, self.address))


class LeaderBelief:
    """Who leads, as far as this client knows; `leader` is None while it knows of none."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = tuple(endpoints)
        self._address_of = {endpoint.node_id: endpoint.address for endpoint in endpoints if endpoint.node_id}
        self._named: dict[str, str] = {}  # further members and where they answer, by the newest word on the membership
        self._named_in_term = 0
        self._words: dict[str, str] = {}
        self._refusals: dict[str, str] = {}
        self._term_min = 0
        self._hearsay_at = -HEARSAY_PAUSE_S
        self._doubted: Leader | None = None
        self.leader: Leader | None = None
        self.searching_since: float | None = None

    def addresses(self) -> list[str]:
        """Everyone worth asking: the configured endpoints, the leader, and the members that the nodes have named.

        The last matter when everyone configured has been removed: they know who the members are, but not who leads.
        """
        last = self.leader or self._doubted
        known = [endpoint.address for endpoint in self.endpoints]
        known += [last.address] if last else []
        return list(dict.fromkeys([*known, *self._named.values()]))

    def resolve(self, node_id: str, address: str) -> str:
        """Where to reach that node: as configured, else as the nodes themselves say, if that can be an address."""
        return self._address_of.get(node_id) or (address if _is_address(address) else "")

    def heard(self, asked: str, status: NodeStatus) -> None:
        """Weigh what the node at `asked` says; sets `leader` anew if that is news."""
        self._refusals.pop(asked, None)
        self._note_members(status)
        names = f", names {status.leader_id}" if status.leader_id else ", knows no leader"
        self._words[asked] = f"{status.role} of term {status.term}" + ("" if status.role == "leader" else names)
        address = self.resolve(status.leader_id, status.leader_address)
        if not status.leader_id or not address or status.term < self._term_min:
            return
        known = self.leader or self._doubted
        if known is not None:
            if status.term < known.term:
                return
            if status.term == known.term and status.role != "leader":
                return
            if (
                known is self.leader
                and status.leader_id == known.node_id
                and (known.hearsay or status.term == known.term)
            ):
                known.term, known.hearsay = status.term, False
                self._term_min = status.term
                return
        self._believe(Leader(status.term, status.leader_id, address))

    def heard_refusal(self, asked: str, reason: str) -> None:
        """The node at `asked` does not talk to this client."""
        self._refusals[asked] = reason.rstrip(".")

    def heard_nothing(self, asked: str) -> None:
        """The node at `asked` did not answer."""
        self._words[asked] = "no answer"

    def redirected(self, node_id: str, address: str, now: float) -> None:
        """The leader we knew says that it is none, and names another, or nobody."""
        place = self.resolve(node_id, address)
        denied = self.leader
        self.doubt()
        named_itself = denied is not None and place == denied.address
        if place and not named_itself and now - self._hearsay_at >= HEARSAY_PAUSE_S:
            self._hearsay_at = now
            self._believe(Leader(self._term_min, node_id, place, hearsay=True))

    def doubt(self) -> None:
        """The leader we knew may be none any more."""
        self._doubted = self.leader or self._doubted
        self.leader = None

    def search(self, now: float, *, may_forget: bool = True) -> None:
        """Note that a search is on; one that goes on for long may forget what it knew of leader and term."""
        if self.searching_since is None:
            self.searching_since = now
        elif may_forget and now - self.searching_since > SEARCH_AFRESH_S:
            self.leader = self._doubted = None
            self._term_min = self._named_in_term = 0

    def confirmed(self) -> None:
        """The leader answers: no search is needed."""
        self.searching_since = None

    def account(self) -> str:
        """What each node last said, for an error message."""
        names = {endpoint.address: str(endpoint) for endpoint in self.endpoints}
        words = {**self._words, **self._refusals}
        return "; ".join(f"{names.get(place, place)}: {words.get(place, 'no answer')}" for place in self.addresses())

    def _note_members(self, status: NodeStatus) -> None:
        if status.term < self._named_in_term or not status.client_addresses:
            return
        members = status.client_addresses.items()
        self._named = {
            node_id: place for node_id, place in members if _is_address(place) and node_id not in self._address_of
        }
        self._named_in_term = status.term

    def _believe(self, leader: Leader) -> None:
        self._term_min = max(self._term_min, leader.term)
        self._doubted = None
        self.leader = leader


def _is_address(text: str) -> bool:
    """Whether a connection can be tried there: a typing error in one member's address is not to end every client."""
    host, _, port = text.rpartition(":")
    return is_host(host) and is_port(port)
