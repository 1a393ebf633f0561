"""Whole messages off a ROUTER socket, with a bound on their frames."""

from typing import TypeAlias

import zmq

from raft_zmq.transport.connections import Traffic
from raft_zmq.transport.sockets import Socket

_SKIPPED_FRAMES_PER_READ = 5_000  # some milliseconds of work

Frame: TypeAlias = zmq.Frame
Message: TypeAlias = tuple[bytes, list[Frame], Traffic]  # its routing id, its frames, and whose traffic it is


class MessageReader:
    """Reads a message frame by frame: MAXMSGSIZE bounds a frame, and nothing in ZeroMQ bounds their number.

    What lies beyond the bound is thrown away piecemeal over several calls, so that no sender holds up the node's loop.
    `traffic` is what has been read, by file descriptor of the connection, until take_traffic().
    """

    def __init__(self, socket: Socket, frames_max: int) -> None:
        self._socket = socket
        self._frames_max = frames_max
        self._skipping = False
        self.traffic: dict[int, Traffic] = {}

    def take_traffic(self) -> dict[int, Traffic]:
        """The traffic since the last call."""
        taken, self.traffic = self.traffic, {}
        return taken

    def traffic_of(self, fd: int) -> Traffic:
        """The traffic of one connection, to add to."""
        traffic = self.traffic.get(fd)
        if traffic is None:
            traffic = self.traffic[fd] = Traffic(fd)
        return traffic

    def read(self) -> Message | None:
        """The next message, or None when no other has come. Never blocks.

        A message with too many frames comes with frames_max + 1 of them.
        """
        if self._skipping:
            self._skip()
        if self._skipping:
            return None
        try:
            routing_id = self._socket.recv(zmq.DONTWAIT)
        except zmq.Again:
            return None
        frames: list[Frame] = []
        more = True
        while more and len(frames) <= self._frames_max:
            # Not copied: a Frame knows its own `more` and the sender's properties, and a large body stays where it is.
            frame = self._socket.recv(zmq.DONTWAIT, copy=False)
            frames.append(frame)
            more = frame.more
        self._skipping = more
        traffic = self.traffic_of(connection_of(frames[0]))
        traffic.read(frames)
        return routing_id, frames, traffic

    def _skip(self) -> None:
        for _ in range(_SKIPPED_FRAMES_PER_READ):
            frame = self._socket.recv(zmq.DONTWAIT, copy=False)
            self.traffic_of(connection_of(frame)).read([frame])
            if not frame.more:
                self._skipping = False
                return


def connection_of(frame: Frame) -> int:
    """The file descriptor of the connection that the frame came by."""
    return int(frame.get(zmq.SRCFD))


def user_key(frame: Frame) -> str:
    """The sender's public key, which the ZAP handler gave libzmq as user id; "" where there is no CURVE."""
    try:
        return str(frame.get("User-Id"))
    except (zmq.ZMQError, UnicodeDecodeError):  # without CURVE the other side may claim any bytes
        return ""
