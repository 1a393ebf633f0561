"""Bounds on what others may take up here: connections, handshakes under way, bytes that wait inside libzmq.

libzmq itself bounds none of these. It accepts as many connections as there are file descriptors. Its high-water marks
count whole messages, of any size, and the frames of a message whose last one never comes are not counted at all. But
the system knows how many bytes of a connection came in and got through (tcp.py) and the ports know how many they have
read and sent; the difference waits in between. Whoever lets too much of it gather is cut off, and with the connection
goes what had gathered.

All of this happens in a thread of its own, as bytes gather while the node's loop waits for its disk.
"""

import contextlib
import select
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import zmq

from raft_zmq.settings import Settings
from raft_zmq.transport import tcp
from raft_zmq.transport.connections import HANDSHAKE_S, Connection, PortConnections, Traffic
from raft_zmq.transport.counters import TransportCounters, count
from raft_zmq.transport.sockets import Context, Socket

PEERS = "peers"
CLIENTS = "clients"
PEER_CONNECTIONS_MAX = 250

_CHECK_S = 0.05
_NODES_CHECK_S = 0.2  # while nobody is connected but nodes that have shown their key; whoever connects ends that
_PAUSE_S = 0.005  # after events: when strangers storm the port, waking for each of them would hold up the node's loop
_EVENT_AND_VALUE = struct.Struct("=Hi")
_KEY_SHOWN = (zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_HANDSHAKE_FAILED_AUTH)  # libzmq does not say whose
_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | _KEY_SHOWN[0]
    | _KEY_SHOWN[1]
)
_REASONS = {
    int(zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC): "wrong_server_key",
    int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH): "no_curve",
}


class Failure(NamedTuple):
    """A handshake that failed before a key was shown."""

    port: str
    address: str
    reason: str


class Guard:
    """Watches both ports from `start` to `close`; every method may be called from the node's loop."""

    def __init__(self, context: Context, settings: Settings, counters: TransportCounters) -> None:
        """Raises SettingsError when the system does not allow the connections that the settings do."""
        tcp.allow_connections(settings.connections_max + PEER_CONNECTIONS_MAX)
        self._context = context
        self._counters = counters
        self._connections_max = {CLIENTS: settings.connections_max, PEERS: PEER_CONNECTIONS_MAX}
        self._owner_connections_max = settings.client_connections_max
        self._handshakes_max = settings.handshakes_max
        self._connection_bytes_max = settings.connection_bytes_max
        self._waiting_bytes_max = settings.waiting_bytes_max
        self._ports: dict[str, PortConnections] = {}
        self._monitors: dict[Socket, str] = {}
        self._watched: list[Socket] = []
        self._early: list[tuple[str, int, Traffic]] = []  # of connections whose beginning has not been read yet
        self._failing: dict[str, str] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._failures: deque[Failure] = deque(maxlen=10_000)
        self._levels: dict[str, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)

    def watch(self, port: str, socket: Socket) -> None:
        """Watch that port from now on; call it before the socket is bound, and before `start`."""
        address = f"inproc://guard.{port}"
        socket.monitor(address, _EVENTS)
        monitor = self._context.socket(zmq.PAIR)
        monitor.set(zmq.LINGER, 0)
        monitor.set(zmq.RCVHWM, 0)  # libzmq waits in its I/O thread for room, which would stop all traffic
        monitor.connect(address)
        self._monitors[monitor] = port
        self._watched.append(socket)
        self._ports[port] = PortConnections()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        for socket in self._watched:
            if not socket.closed:
                socket.disable_monitor()
        for monitor in self._monitors:
            monitor.close(linger=0)
        for connections in self._ports.values():
            connections.clear()

    def tell(self, port: str, traffic: dict[int, Traffic]) -> None:
        """What a port has read and sent, by file descriptor."""
        self._calls.append(lambda: self._take_all(port, traffic))

    def end(self, port: str, fd: int, reason: str) -> None:
        """Cut that connection, within _NODES_CHECK_S: an answer on its way gets through."""
        self._calls.append(lambda: self._end(port, self._ports[port].get(fd), reason))

    def end_where(self, port: str, is_revoked: Callable[[str], bool]) -> None:
        """Cut the connections whose key is no longer let in. Those that have said nothing are cut when they do."""

        def end_all() -> None:
            for connection in list(self._ports[port]):
                if connection.key and is_revoked(connection.key):
                    self._end(port, connection, "revoked_key")

        self._calls.append(end_all)

    def take_failures(self) -> list[Failure]:
        """The handshakes that failed since the last call."""
        return [self._failures.popleft() for _ in range(len(self._failures))]

    def levels(self) -> dict[str, int]:
        """What there is right now, by name; from any thread."""
        return self._levels.copy()

    def _run(self) -> None:
        waiting = select.poll()  # not ZeroMQ's, which costs several times as much each time
        for monitor in self._monitors:
            waiting.register(int(monitor.get(zmq.FD)), select.POLLIN)
        checked_s = 0.0
        happened = True  # a message is told only when there is nothing before it that has not been read
        while not self._stopping.is_set():
            now_s = time.monotonic()
            for _ in range(len(self._calls)):
                self._calls.popleft()()
            if happened or self._early:
                for monitor, port in self._monitors.items():
                    self._read_events(monitor, port, now_s)
            for port, fd, told in self._early:
                self._take(port, fd, told)
            self._early.clear()
            check_s = _NODES_CHECK_S if self._nodes_only() else _CHECK_S
            if now_s >= checked_s + check_s:
                checked_s = now_s
                self._check_bytes(now_s)
            if happened:
                self._stopping.wait(_PAUSE_S)
            happened = bool(waiting.poll(check_s * 1000))

    def _read_events(self, monitor: Socket, port: str, now_s: float) -> None:
        events: list[tuple[int, int]] = []
        with contextlib.suppress(zmq.Again):
            while True:
                event_and_value, _endpoint = monitor.recv_multipart(zmq.DONTWAIT)
                events.append(_EVENT_AND_VALUE.unpack(event_and_value))
        ended_at = {value: at for at, (event, value) in enumerate(events) if event == zmq.EVENT_DISCONNECTED}
        shown = 0
        brief: dict[int, int] = {}  # those that came and went meanwhile; how many keys had been shown when they came
        for at, (event, value) in enumerate(events):
            if event in _KEY_SHOWN:
                shown += 1
                continue
            if event == zmq.EVENT_ACCEPTED and ended_at.get(value, 0) > at:
                brief[value] = shown  # not to be looked at: by now its number may be another file's
                continue
            if event == zmq.EVENT_DISCONNECTED and brief.pop(value, -1) == shown:
                self._failing.setdefault(port, "no_zmtp")
            self._note(port, event, value, now_s)

    def _note(self, port: str, event: int, value: int, now_s: float) -> None:
        connections = self._ports[port]
        if event == zmq.EVENT_ACCEPTED:
            connections.add(value, now_s)
            self._check_numbers(port, now_s)
        elif event == zmq.EVENT_DISCONNECTED:
            self._note_end(port, connections.remove(value), now_s)
        elif event == zmq.EVENT_CLOSED:  # the port, to be opened anew with another key
            connections.clear()
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self._failing[port] = _REASONS.get(value, "no_zmtp")
        else:
            self._failing[port] = "unfinished"

    def _note_end(self, port: str, connection: Connection | None, now_s: float) -> None:
        """libzmq tells of a failed handshake first, and then whose it was; of some failures it tells nothing."""
        reason = self._failing.pop(port, "")
        if not reason and connection is not None and connection.given_up:
            if connection.silent and now_s - connection.since_s < HANDSHAKE_S:
                reason = "no_zmtp"
            else:
                count(self._counters.connections_cut, "oversized_or_silent")
        if reason:
            count(self._counters.handshakes_failed, reason)
            self._failures.append(Failure(port, connection.address if connection else "", reason))

    def _check_numbers(self, port: str, now_s: float) -> None:
        connections = self._ports[port]
        if connections.handshaking(now_s) > self._handshakes_max:
            self._end(port, connections.oldest_handshaking(), "handshakes_max")
        if len(connections) > self._connections_max[port]:
            self._end(port, connections.least_useful(), "connections_max")

    def _take_all(self, port: str, traffic: dict[int, Traffic]) -> None:
        for fd, told in traffic.items():
            connection = self._ports[port].get(fd)
            if connection is None or connection.ended:  # a new one may have the number of one that was cut
                self._early.append((port, fd, told))
            else:
                self._take(port, fd, told)

    def _take(self, port: str, fd: int, told: Traffic) -> None:
        connections = self._ports[port]
        connection = connections.get(fd)
        if connection is None:
            return  # it has ended meanwhile
        is_new = not connection.owner
        connections.take(connection, told)
        if is_new and sum(c.owner == told.owner for c in connections) > self._owner_connections_max:
            self._end(port, connection, "client_connections_max")

    def _nodes_only(self) -> bool:
        return not self._ports[CLIENTS] and all(connection.owner for connection in self._ports[PEERS])

    def _check_bytes(self, now_s: float) -> None:
        waiting = {
            (port, connection): connection.waiting_bytes()
            for port, connections in self._ports.items()
            for connection in connections
        }
        for (port, connection), size_bytes in waiting.items():
            if size_bytes > self._connection_bytes_max:
                self._end(port, connection, "connection_bytes_max")
        total_bytes = sum(waiting.values())
        if total_bytes > self._waiting_bytes_max:
            self._end(*max(waiting, key=waiting.__getitem__), "waiting_bytes_max")
        self._levels = {
            "client_connections": len(self._ports[CLIENTS]),
            "peer_connections": len(self._ports[PEERS]),
            "handshakes_under_way": sum(connections.handshaking(now_s) for connections in self._ports.values()),
            "waiting_bytes": total_bytes,
            "waiting_bytes_of_one": max(waiting.values(), default=0),
        }

    def _end(self, port: str, connection: Connection | None, reason: str) -> None:
        if connection is not None and not connection.ended:
            count(self._counters.connections_cut, reason)  # first: whoever is cut may look at once
            self._ports[port].end(connection)
