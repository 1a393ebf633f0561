"""The connections of one engine, opened when first needed, and the poller that watches them."""

import math
import time
from collections.abc import Callable, Sequence

import zmq

from raft_zmq.transport.dealer import ClientConnection
from raft_zmq.transport.monitor import Change
from raft_zmq.wire.client_messages import Answer

GIVEN_UP_S = 1.0  # a connection that ended and is not back after this long is replaced: libzmq may not try again
BROKEN_S = 0.1  # the same for one whose handshake broke, which libzmq certainly does not try again
# Of several requests in one message. A node ends a connection on more than its `frame_bytes_max`, without a word: after
# a loss no more goes into one than a node takes however low that is set, which costs more messages.
BATCH_BYTES_MAX = 4 << 20
CAUTIOUS_BATCH_BYTES_MAX = 64 << 10


class Link:
    """One connection to one address."""

    __slots__ = ("address", "batch_bytes_max", "connection", "given_up_at")

    def __init__(self, address: str, connection: ClientConnection) -> None:
        self.address = address
        self.connection = connection
        self.given_up_at = math.inf
        self.batch_bytes_max = BATCH_BYTES_MAX

    def is_over(self, now: float) -> bool:
        """Whether nothing more is to be expected of it."""
        return now - self.given_up_at > (BROKEN_S if self.connection.monitor.broken_handshakes else GIVEN_UP_S)

    def changes(self, now: float) -> list[Change]:
        """What has happened to the connection since the last call."""
        changes = self.connection.changes()
        if Change.LOST in changes:
            self.batch_bytes_max = CAUTIOUS_BATCH_BYTES_MAX
        self.given_up_at = now if self.connection.monitor.given_up else math.inf
        return changes


class Links:
    """Connections by address and lane: several lanes give one client program several connections to the same node."""

    def __init__(self, connect: Callable[[str], ClientConnection]) -> None:
        self._connect = connect
        self._links: dict[tuple[str, int], Link] = {}
        self._heard_at: dict[str, float] = {}
        self._by_socket: dict[zmq.Socket[bytes], Link] = {}
        self._by_monitor: dict[zmq.Socket[bytes], Link] = {}
        self._poller = zmq.Poller()

    def get(self, address: str, lane: int, now: float) -> Link:
        """The link to that address, opened if need be (the connection is made in the background)."""
        link = self._links.get((address, lane))
        if link is not None and link.is_over(now):
            self._close(link)
            link = None
        if link is None:
            link = self._links[address, lane] = Link(address, self._connect(address))
            self._by_socket[link.connection.socket] = link
            self._by_monitor[link.connection.monitor.socket] = link
            for socket in (link.connection.socket, link.connection.monitor.socket):
                self._poller.register(socket, zmq.POLLIN)
        return link

    def wait(self, timeout_s: float | None) -> tuple[list[tuple[Link, list[Answer]]], list[tuple[Link, Change]]]:
        """The answers on each link, and what befell the links, within that time; None waits for as long as it takes."""
        ready = self._poller.poll(None if timeout_s is None else math.ceil(max(0.0, timeout_s) * 1000))
        received: list[tuple[Link, list[Answer]]] = []
        changed: list[tuple[Link, Change]] = []
        now = time.monotonic()
        for socket, _ in ready:
            link = self._by_socket.get(socket)
            if link is not None:
                self._heard_at[link.address] = now
                received.append((link, link.connection.receive()))
            else:
                link = self._by_monitor[socket]
                changed += [(link, change) for change in link.changes(now)]
        return received, changed

    def heard_at(self, address: str) -> float:
        """When that address last answered anything, on any lane; 0 if never."""
        return self._heard_at.get(address, 0.0)

    def connected(self, address: str) -> bool:
        """Whether there is a connection to that address, on any lane."""
        return any(link.address == address and link.connection.monitor.connected for link in self._links.values())

    def drop(self, addresses: Sequence[str]) -> None:
        """Close these links; the next use opens new ones (by way of a service: perhaps to another pod)."""
        for key in [key for key in self._links if key[0] in addresses]:
            self._close(self._links.pop(key))

    def close(self) -> None:
        """Close all."""
        for link in self._links.values():
            self._close(link)
        self._links.clear()

    def _close(self, link: Link) -> None:
        for socket in (link.connection.socket, link.connection.monitor.socket):
            self._poller.unregister(socket)
        del self._by_socket[link.connection.socket]
        del self._by_monitor[link.connection.monitor.socket]
        link.connection.close()
