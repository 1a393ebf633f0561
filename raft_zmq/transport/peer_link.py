"""Our end of the connection to one other node: messages leave here and none come back (replies have their own way)."""

from collections.abc import Sequence

import zmq

from raft_zmq.core.errors import SettingsError
from raft_zmq.transport import sockets
from raft_zmq.transport.key_files import KeyPair
from raft_zmq.transport.monitor import Change, ConnectionMonitor
from raft_zmq.transport.sockets import LAST_FRAME, MORE_FRAMES, Context, Socket

_RENEW_AFTER_S = 1.0

Curve = tuple[KeyPair, tuple[bytes, ...]]  # our own pair, and the keys that the other side may answer with


class PeerLink:
    """A DEALER that is made anew when libzmq gives the connection up.

    libzmq tries again by itself after a lost connection, but not after a refused key or a stranger's answer; both pass
    when keys are exchanged or a port gets its rightful owner back.
    """

    def __init__(
        self,
        context: Context,
        address: str,
        curve: Curve | None,
        frame_bytes_max: int,
        io_thread: int,
    ) -> None:
        """The other side's keys are tried in turn. Raises SettingsError when `address` is none."""
        self.address = address
        self._context = context
        self._curve = curve
        self._key_in_turn = 0
        self._frame_bytes_max = frame_bytes_max
        self._io_thread = io_thread
        self._given_up_at_s: float | None = None
        self._open()

    @property
    def connected(self) -> bool:
        """Whether messages get through, as far as check() has seen."""
        return self._monitor.connected

    def send(self, header: bytes, frames: Sequence[bytes | zmq.Frame]) -> bool:
        """Send one ZeroMQ message; False when it was dropped. Never blocks."""
        try:
            self._socket.send(header, MORE_FRAMES)
            for frame in frames[:-1]:
                self._socket.send(frame, MORE_FRAMES)
            self._socket.send(frames[-1], LAST_FRAME)
        except zmq.Again:
            # In the middle of a message this means a lost connection; libzmq then drops the rest up to its last frame.
            return False
        return True

    def check(self, now_s: float) -> list[Change]:
        """What happened to the connection since the last call."""
        changes = self._monitor.changes()
        if not self._monitor.given_up:
            self._given_up_at_s = None
        elif self._given_up_at_s is None:
            self._given_up_at_s = now_s
        elif now_s - self._given_up_at_s >= _RENEW_AFTER_S:
            self._reopen()
        if self._curve is not None and len(self._curve[1]) > 1 and self._monitor.broken_handshakes:
            self._key_in_turn += 1  # the other side may have gone over to its new key, or not yet
            self._reopen()
        return changes

    def use(self, curve: Curve) -> bool:
        """Take other keys; False when the connection has to be made anew for that."""
        assert self._curve is not None
        own, servers = self._curve
        if own != curve[0] or servers[self._key_in_turn % len(servers)] not in curve[1]:
            return False
        self._key_in_turn = curve[1].index(servers[self._key_in_turn % len(servers)])
        self._curve = curve
        return True

    def close(self) -> None:
        """Close at once; what was not sent yet is dropped."""
        self._monitor.close()
        self._socket.close(linger=0)

    def _reopen(self) -> None:
        self.close()
        self._open()

    def _open(self) -> None:
        self._given_up_at_s = None
        self._socket: Socket = sockets.new_socket(self._context, zmq.DEALER, self._frame_bytes_max, self._io_thread)
        self._socket.set(zmq.IMMEDIATE, 1)  # no connection, no queue: old messages are of no use to Raft
        if self._curve is not None:
            own, servers = self._curve
            sockets.use_curve(self._socket, own, servers[self._key_in_turn % len(servers)])
        self._monitor = ConnectionMonitor(self._socket)
        try:
            sockets.connect(self._socket, self.address)
        except SettingsError:
            self.close()
            raise
