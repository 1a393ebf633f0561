"""Whether a connecting socket has its connection: libzmq's own word, as it happens."""

import enum
import itertools
import struct

import zmq

from raft_zmq.transport.sockets import Socket, is_readable


class Change(enum.Enum):
    """What happened to a connection."""

    CONNECTED = "connected"  # and the handshake is done: messages flow
    LOST = "lost"
    REFUSED = "refused"  # the other side does not let our key in
    BROKEN = "broken"  # a handshake ended without a word


_BROKEN = (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
# Without EVENT_CONNECT_RETRIED: who rests while the other side is away would gather a million of them a day.
_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_DISCONNECTED | _BROKEN[0] | _BROKEN[1]
)
_EVENTS_PER_CALL = 1000
_EVENT_AND_VALUE = struct.Struct("=Hi")
_numbers = itertools.count()  # an address of its own for each, as libzmq is late to free those of closed sockets


class ConnectionMonitor:
    """Watches a socket that has one `connect`. LOST is told only after CONNECTED. `.socket` may go into a poller.

    `given_up`: the connection has ended and is not back. libzmq mostly tries again, but not when the other side refuses
    the key or speaks another protocol, or a socket was told not to. If it lasts, the owner needs a new socket.
    `broken_handshakes`: how many have ended without a word since the connection was last there or reset() was called,
    as they do when the other side has another key than the one expected of it.

    Call changes() now and then: each connection that is made and ends again leaves some events to be read.
    """

    def __init__(self, watched: Socket) -> None:
        self._watched = watched
        self.connected = False
        self.given_up = False
        self.broken_handshakes = 0
        address = f"inproc://monitor.{next(_numbers)}"
        watched.monitor(address, _EVENTS)
        self.socket: Socket = watched.context.socket(zmq.PAIR)
        self.socket.set(zmq.LINGER, 0)
        # Without a bound: libzmq waits for room in its I/O thread, and with that stop all connections of the context.
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.connect(address)

    def changes(self) -> list[Change]:
        """What has happened since the last call, oldest first. Never blocks; what is too much stays for the next."""
        changes: list[Change] = []
        for _ in range(_EVENTS_PER_CALL):
            if not is_readable(self.socket):
                break
            event_and_value, _endpoint = self.socket.recv_multipart(zmq.DONTWAIT)
            event, _value = _EVENT_AND_VALUE.unpack(event_and_value)
            change = self._note(event)
            if change:
                changes.append(change)
        return changes

    def reset(self) -> None:
        """Another key is expected from now on."""
        self.broken_handshakes = 0

    def close(self) -> None:
        """Stop watching; to be called before the watched socket is closed."""
        self._watched.disable_monitor()
        self.socket.close(linger=0)

    def _note(self, event: int) -> Change | None:
        was_connected = self.connected
        self.connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        self.given_up = event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        if self.connected:
            self.broken_handshakes = 0
        elif event in _BROKEN:
            self.broken_handshakes += 1
        if self.connected:
            return Change.CONNECTED
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return Change.REFUSED
        if was_connected:
            return Change.LOST
        return Change.BROKEN if event in _BROKEN else None
