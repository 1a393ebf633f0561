"""A network that misbehaves on purpose, in front of the real one: for `raftctl fault` and for tests."""

import heapq
import itertools
import math
import random
import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from raft_zmq.core.errors import SettingsError
from raft_zmq.core.messages import PeerMessage
from raft_zmq.transport.peers import Delivery, PeerTransport

KINDS = ("drop", "delay", "duplicate", "partition")
_EVERYONE = ""


class _Fault(NamedTuple):
    share: float  # of the messages, 0 to 1
    seconds: float


class FaultShim:
    """Its send() and receive() stand for those of the PeerTransport behind it; poll() lets held messages go.

    A fault holds towards the peers it was applied to until clear(): `drop` loses a share of the messages sent, `delay`
    holds a share back for some seconds (so that later ones overtake them), `duplicate` sends a share twice, and
    `partition` lets nothing through, in either direction. A `drop` of everything is a partition in one direction.
    Equal seeds and equal calls give equal faults.
    """

    def __init__(
        self, transport: PeerTransport, *, seed: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport = transport
        self._random = random.Random(seed)
        self._clock = clock
        self._faults: dict[tuple[str, str], _Fault] = {}  # by kind and peer
        self._held: list[tuple[float, int, str, PeerMessage]] = []  # a heap of release time, order, receiver, message
        self._order = itertools.count()

    @property
    def active(self) -> bool:
        """Whether any fault holds."""
        return bool(self._faults)

    @property
    def next_release_s(self) -> float:
        """When poll() has a held message to send; infinity when none is held."""
        return self._held[0][0] if self._held else math.inf

    def apply(self, kind: str, peers: Collection[str] = (), share: float = 1.0, seconds: float = 0.0) -> None:
        """Begin a fault towards the peers, () being everyone; it takes the place of an earlier one of that kind.

        Raises SettingsError on a kind it does not know.
        """
        if kind not in KINDS:
            raise SettingsError(f"fault: expected one of {', '.join(KINDS)}, found {kind!r}. Name one of them.")
        for peer in peers or (_EVERYONE,):
            self._faults[kind, peer] = _Fault(share, seconds)

    def clear(self) -> None:
        """End all faults and send what is still held back."""
        self._faults.clear()
        self.poll(math.inf)

    def send(self, to: str, messages: Sequence[PeerMessage]) -> None:
        """Send what the faults let through; see PeerTransport.send."""
        if not self._faults:
            self._transport.send(to, messages)
        elif not self._hits("partition", to):
            passing = [copy for message in messages for copy in self._passing(to, message)]
            if passing:
                self._transport.send(to, passing)

    def send_all(self, peers: Sequence[str], messages: Sequence[PeerMessage]) -> None:
        """Send the same to several peers, as far as the faults towards each let it through."""
        if not self._faults:
            self._transport.send_all(peers, messages)
            return
        for peer in peers:
            self.send(peer, messages)

    def receive(self) -> list[Delivery]:
        """Receive what a partition lets through; see PeerTransport.receive."""
        received = self._transport.receive()
        if not self._faults:
            return received
        return [delivery for delivery in received if not self._hits("partition", delivery[0])]

    def poll(self, now_s: float) -> None:
        """Send the held messages whose time has come."""
        while self.next_release_s <= now_s and self._held:
            _, _, to, message = heapq.heappop(self._held)
            self._transport.send(to, [message])

    def _passing(self, to: str, message: PeerMessage) -> list[PeerMessage]:
        """The copies of the message that go out now."""
        if self._hits("drop", to):
            return []
        copies = [message, message] if self._hits("duplicate", to) else [message]
        delay = self._hits("delay", to)
        if delay is None:
            return copies
        for copy in copies:
            heapq.heappush(self._held, (self._clock() + delay.seconds, next(self._order), to, copy))
        return []

    def _hits(self, kind: str, peer: str) -> _Fault | None:
        """The fault of that kind, if there is one towards that peer and the dice choose this message."""
        fault = self._faults.get((kind, peer)) or self._faults.get((kind, _EVERYONE))
        return fault if fault and self._random.random() < fault.share else None
