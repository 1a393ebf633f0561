"""One port's accepted connections: who they are, and what waits on each."""

import socket
from collections.abc import Iterator, Sequence, Sized

from raft_zmq.transport import tcp

HANDSHAKE_S = 5.0  # sockets.py lets a handshake take no longer
_FRAME_OVERHEAD_BYTES = 64  # of ZMTP and CURVE around a frame, rounded up: what is counted as read may be too much


class Traffic:
    """What a port read from and sent to one connection since it told the guard last."""

    __slots__ = ("fd", "key", "owner", "read_bytes", "sent_bytes")

    def __init__(self, fd: int) -> None:
        self.fd = fd  # the connection's file descriptor
        self.read_bytes = 0
        self.sent_bytes = 0
        self.owner = ""  # node id or client name
        self.key = ""  # its public key

    def read(self, frames: Sequence[Sized]) -> None:
        """Count what was read."""
        self.read_bytes += sum(map(len, frames)) + len(frames) * _FRAME_OVERHEAD_BYTES


class Connection:
    """One accepted connection.

    `silent` is so until the port has read a message from it: its key is not known yet. `given_up`: libzmq ended it,
    for what it sent or because it sent nothing, while the other side would have gone on.
    """

    __slots__ = (
        "address",
        "ended",
        "given_up",
        "handle",
        "key",
        "owner",
        "read_bytes",
        "sent_bytes",
        "silent",
        "since_s",
    )

    def __init__(self, handle: socket.socket, since_s: float) -> None:
        self.handle = handle
        self.address = tcp.remote_host(handle)
        self.since_s = since_s
        self.silent = True
        self.ended = False
        self.given_up = False
        self.owner = ""
        self.key = ""
        self.read_bytes = 0
        self.sent_bytes = 0

    def add(self, traffic: Traffic) -> None:
        """Take in what the port has told."""
        self.silent = False
        self.read_bytes += traffic.read_bytes
        self.sent_bytes += traffic.sent_bytes
        self.owner = traffic.owner or self.owner
        self.key = traffic.key or self.key

    def waiting_bytes(self) -> int:
        """Bytes that have come and were not read, and bytes that were sent and have not got through.

        Both counts are corrected where the system knows better: it counts handshakes and heartbeats as well, and what
        was counted as read is rounded up. 0 where the system does not tell.
        """
        progress = tcp.progress(self.handle)
        if progress is None:
            return 0
        self.read_bytes = min(self.read_bytes, progress.received)
        self.sent_bytes = max(self.sent_bytes, progress.acknowledged)
        return progress.received - self.read_bytes + self.sent_bytes - progress.acknowledged


class PortConnections:
    """The connections of one port, in the order in which they came."""

    def __init__(self) -> None:
        self._by_fd: dict[int, Connection] = {}
        self._handshaking: dict[Connection, None] = {}  # those that may be in their handshake, the oldest first

    def __iter__(self) -> Iterator[Connection]:
        return (connection for connection in self._by_fd.values() if not connection.ended)

    def __len__(self) -> int:
        return len(self._by_fd)

    def get(self, fd: int) -> Connection | None:
        """The connection with that file descriptor, as libzmq numbers it."""
        return self._by_fd.get(fd)

    def add(self, fd: int, now_s: float) -> None:
        """A connection was accepted."""
        self.remove(fd)
        handle = tcp.duplicate(fd)
        if handle is not None:
            connection = self._by_fd[fd] = Connection(handle, now_s)
            self._handshaking[connection] = None

    def take(self, connection: Connection, traffic: Traffic) -> None:
        """Take in what the port has told of it."""
        connection.add(traffic)
        self._handshaking.pop(connection, None)

    def end(self, connection: Connection) -> None:
        """Cut it; libzmq notices, forgets what was half received, and says that it is gone."""
        connection.ended = True
        self._handshaking.pop(connection, None)
        tcp.end(connection.handle)

    def remove(self, fd: int) -> Connection | None:
        """A connection is gone for libzmq."""
        connection = self._by_fd.pop(fd, None)
        if connection is not None:
            connection.given_up = not connection.ended and tcp.is_open(connection.handle)
            connection.ended = True
            self._handshaking.pop(connection, None)
            connection.handle.close()
        return connection

    def clear(self) -> None:
        """All are gone: the port was closed."""
        for fd in list(self._by_fd):
            self.remove(fd)

    def handshaking(self, now_s: float) -> int:
        """How many may still be in their handshake."""
        while self._handshaking and now_s - next(iter(self._handshaking)).since_s > HANDSHAKE_S:
            del self._handshaking[next(iter(self._handshaking))]
        return len(self._handshaking)

    def oldest_handshaking(self) -> Connection | None:
        """The one that has been at it for longest: an honest one takes some milliseconds."""
        return next(iter(self._handshaking), None)

    def least_useful(self) -> Connection | None:
        """The oldest that has never said anything; else the newest of all."""
        silent = next((connection for connection in self if connection.silent), None)
        return silent or next((c for c in reversed(self._by_fd.values()) if not c.ended), None)
