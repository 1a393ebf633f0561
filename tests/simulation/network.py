"""The simulated network: loses, delays, repeats and reorders messages, and falls apart in every shape.

Messages cross it as bytes, so that no server ever shares a value with another one and sizes are those of the wire.
"""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec

from raft_zmq.core.messages import PeerMessage

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PeerMessage).decode

Deliver = Callable[[str, str, str, PeerMessage], None]  # (sender, incarnation, receiver, message)


class Weather(msgspec.Struct, frozen=True):
    """How the network treats every message; chances from 0 to 1, times in seconds."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_s_min: float = 0.001
    delay_s_max: float = 0.005
    straggler: float = 0.0  # the chance of a delay up to straggler_s, which also reorders
    straggler_s: float = 0.0


CALM = Weather()


class Network:
    """All links of a world, one way each."""

    def __init__(self, rng: random.Random, at: Callable[..., None], deliver: Deliver, counts: Counter[str]) -> None:
        self._rng = rng
        self._at = at  # at(delay_s, function, *arguments)
        self._deliver = deliver
        self._counts = counts
        self.weather = CALM
        self._blocked: set[tuple[str, str]] = set()  # (from, to) that takes no message
        self._lost: set[tuple[str, str]] = set()  # (from, to) on which what was sent before is lost too
        self.messages: Counter[str] = Counter()  # sent, by kind
        self.sent_bytes: Counter[str] = Counter()

    def send(self, sender: str, incarnation: str, to: str, message: PeerMessage) -> None:
        """Take a message; it arrives never, once or twice."""
        data = _encode(message)
        kind = type(message).__name__
        self.messages[kind] += 1
        self.sent_bytes[kind] += len(data)
        weather, rng = self.weather, self._rng
        if (sender, to) in self._blocked:
            self._counts["message_cut"] += 1
            return
        if weather.loss and rng.random() < weather.loss:
            self._counts["message_lost"] += 1
            return
        self._at(self._delay_s(), self._arrive, sender, incarnation, to, data)
        if weather.duplication and rng.random() < weather.duplication:
            self._counts["message_duplicated"] += 1
            self._at(self._delay_s(), self._arrive, sender, incarnation, to, data)

    def _delay_s(self) -> float:
        weather, rng = self.weather, self._rng
        if weather.straggler and rng.random() < weather.straggler:
            self._counts["message_delayed"] += 1
            return rng.uniform(weather.delay_s_max, weather.straggler_s)
        return rng.uniform(weather.delay_s_min, weather.delay_s_max)

    def _arrive(self, sender: str, incarnation: str, to: str, data: bytes) -> None:
        if (sender, to) in self._lost:
            self._counts["message_cut"] += 1
            return
        self._deliver(sender, incarnation, to, _decode(data))

    # -- shapes of partitions: each returns the links that nothing passes ----------------------------------------------

    def cut(self, links: Iterable[tuple[str, str]], spare_the_sent: bool = False) -> None:
        """Let nothing pass on these links from now on, and all else; what is on its way may arrive all the same."""
        self._blocked = set(links)
        self._lost = set() if spare_the_sent else self._blocked


def split(groups: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Servers hear only those of their own group."""
    return [link for ours, theirs in itertools.permutations(groups, 2) for link in itertools.product(ours, theirs)]


def isolate(node_id: str, node_ids: Sequence[str]) -> list[tuple[str, str]]:
    """One server is alone."""
    return split([[node_id], [other for other in node_ids if other != node_id]])


def one_way(node_id: str, node_ids: Sequence[str], *, deaf: bool) -> list[tuple[str, str]]:
    """One server cannot hear, or cannot be heard."""
    others = [other for other in node_ids if other != node_id]
    return [(other, node_id) if deaf else (node_id, other) for other in others]


def ring(node_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Every server hears only its two neighbours."""
    count = len(node_ids)
    return [
        (node_ids[a], node_ids[b])
        for a, b in itertools.permutations(range(count), 2)
        if (a - b) % count not in (1, count - 1)
    ]


def bridge(node_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Two halves hear each other only through the server in the middle, which hears all."""
    middle = len(node_ids) // 2
    return split([node_ids[:middle], node_ids[middle + 1 :]])
