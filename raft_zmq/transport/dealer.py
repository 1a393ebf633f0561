"""The client's end of a connection to one node."""

from collections.abc import Sequence

import zmq

from raft_zmq.core.errors import PeerError, SettingsError
from raft_zmq.transport import sockets
from raft_zmq.transport.keys import ClientKeys
from raft_zmq.transport.monitor import Change, ConnectionMonitor
from raft_zmq.wire import codec
from raft_zmq.wire.client_messages import Answer, Request
from raft_zmq.wire.frames import CLIENT_BATCH_MAX, PROTOCOL_VERSION, ClientHeader

_MESSAGES_PER_RECEIVE = 256


class ClientConnection:
    """A DEALER to the client port of one node, which keeps connecting until it is closed.

    Poll `.socket` for answers and, if the loss of the connection matters, `.monitor.socket` for changes. Not for use
    by several threads. Requests sent while there is no connection wait in the socket, up to a bound; close() drops
    them. Answers may come in any order, and an answer to `request_id` 0 is about a whole message that the node could
    not read. When `.monitor` says REFUSED or stays `given_up`, close it and make another.
    """

    def __init__(
        self,
        address: str,
        keys: ClientKeys | None,
        cluster_id: str,
        *,
        context: sockets.Context | None = None,
        frame_bytes_max: int = sockets.FRAME_BYTES_MAX,
        stops_when_broken: bool = False,
    ) -> None:
        """`address` is "host:port"; without `keys` nothing is encrypted, which the node must have been told too.

        `stops_when_broken`: a handshake that ends without a word is the end of it, and of the requests that wait. Where
        connections are taken and ended at once, as by a proxy with no node behind it, libzmq would come again some 50
        times a second, for ever: its pauses grow only while there is no connection at all.

        Raises SettingsError when the address is none.
        """
        self.address = address
        self._keys = keys
        self._key_in_turn = 0
        self.unreadable_answers = 0
        self._header = codec.encode_client_header(ClientHeader(PROTOCOL_VERSION, cluster_id))
        self.socket = sockets.new_socket(context or zmq.Context.instance(), zmq.DEALER, frame_bytes_max)
        if stops_when_broken:
            self.socket.set(zmq.RECONNECT_STOP, zmq.RECONNECT_STOP_HANDSHAKE_FAILED)
        self.monitor = ConnectionMonitor(self.socket)
        if keys is not None:
            sockets.use_curve(self.socket, keys.own, keys.server_public)
        try:
            sockets.connect(self.socket, address)
        except SettingsError:
            self.close()
            raise

    def send(self, requests: Sequence[Request]) -> bool:
        """Send the requests in one message, or in as few as their number allows. Never blocks.

        False: the queue is full, and the requests from some point on have not been sent.
        """
        try:
            for first in range(0, len(requests), CLIENT_BATCH_MAX):
                body = codec.encode_requests(requests[first : first + CLIENT_BATCH_MAX])
                self.socket.send(self._header, sockets.MORE_FRAMES)
                self.socket.send(body, sockets.LAST_FRAME)
        except zmq.Again:
            return False
        sockets.let_go()
        return True

    def receive(self) -> list[Answer]:
        """The answers that have come, in the order they came; [] when there are none. Never blocks.

        Answers that this version cannot read are skipped and counted in `unreadable_answers`.
        """
        answers: list[Answer] = []
        for _ in range(_MESSAGES_PER_RECEIVE):
            if not sockets.is_readable(self.socket):
                break
            _header, *bodies = self.socket.recv_multipart(zmq.DONTWAIT)
            answers += self._read(bodies)
        return answers

    def changes(self) -> list[Change]:
        """What has happened to the connection since the last call, oldest first. Never blocks.

        While the service changes its key there are two to expect of a node: they are tried in turn.
        """
        changes = self.monitor.changes()
        if self._keys is not None and self._keys.other_server_publics and self.monitor.broken_handshakes:
            servers = (self._keys.server_public, *self._keys.other_server_publics)
            self._key_in_turn = (self._key_in_turn + 1) % len(servers)
            self.socket.disconnect(sockets.last_endpoint(self.socket))
            sockets.use_curve(self.socket, self._keys.own, servers[self._key_in_turn])
            sockets.connect(self.socket, self.address)
            self.monitor.reset()
        return changes

    def close(self) -> None:
        """Close at once; what was not sent yet is dropped."""
        self.monitor.close()
        self.socket.close(linger=0)

    def _read(self, bodies: list[bytes]) -> list[Answer]:
        try:
            return [answer for body in bodies for answer in codec.decode_answers(body)]
        except PeerError:
            self.unreadable_answers += 1
            return []
