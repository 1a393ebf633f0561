"""The connections of one engine, opened when first needed, and the poller that watches them."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import zmq

from raft_zmq.wire.client_messages import Answer, Request


class Connection(Protocol):
    """What the engine needs of `transport.dealer.ClientConnection`."""

    @property
    def socket(self) -> "zmq.Socket[bytes]":
        """For the poller."""
        ...

    def send(self, requests: Sequence[Request]) -> bool:
        """Queue one message with all these requests; False if the queue is full. Never waits."""
        ...

    def receive(self) -> list[Answer]:
        """All answers that have come."""
        ...

    def close(self) -> None:
        """Close the socket; what is still queued is dropped."""
        ...


class Link:
    """One connection to one address."""

    __slots__ = ("address", "connection")

    def __init__(self, address: str, connection: Connection) -> None:
        self.address = address
        self.connection = connection


class Links:
    """Connections by address and lane: several lanes give one client program several connections to the same node."""

    def __init__(self, connect: Callable[[str], Connection]) -> None:
        self._connect = connect
        self._links: dict[tuple[str, int], Link] = {}
        self._by_socket: dict[zmq.Socket[bytes], Link] = {}
        self._heard_at: dict[str, float] = {}
        self._poller = zmq.Poller()

    def get(self, address: str, lane: int = 0) -> Link:
        """The link to that address, opened if need be (the connection is made in the background)."""
        link = self._links.get((address, lane))
        if link is None:
            link = self._links[address, lane] = Link(address, self._connect(address))
            self._by_socket[link.connection.socket] = link
            self._poller.register(link.connection.socket, zmq.POLLIN)
        return link

    def wait(self, timeout_s: float | None) -> list[tuple[Link, list[Answer]]]:
        """What came in on each link, within that time at most; None waits for as long as it takes."""
        ready = self._poller.poll(None if timeout_s is None else math.ceil(max(0.0, timeout_s) * 1000))
        if not ready:
            return []
        now = time.monotonic()
        received = []
        for socket, _ in ready:
            link = self._by_socket[socket]
            self._heard_at[link.address] = now
            received.append((link, link.connection.receive()))
        return received

    def heard_at(self, address: str) -> float:
        """When that address last answered anything, on any lane; 0 if never."""
        return self._heard_at.get(address, 0.0)

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
        self._poller.unregister(link.connection.socket)
        del self._by_socket[link.connection.socket]
        link.connection.close()
