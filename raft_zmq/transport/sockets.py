"""How every TCP socket of the project is set up: its limits, its patience, its keys.

ZeroMQ's own defaults wait for ever, queue without bound in bytes, and let any key in; each line below changes one of
them. Limits are per connection. TCP_NODELAY needs no line: libzmq always sets it.
"""

import contextlib
import errno
import ipaddress
import os
from collections.abc import Mapping
from typing import TypeAlias

import zmq

from raft_zmq.core.errors import SettingsError
from raft_zmq.transport.key_files import KeyPair

Socket: TypeAlias = zmq.Socket[bytes]
Context: TypeAlias = zmq.Context[Socket]

LOOKUP_THREADS = 6
# As plain numbers: pyzmq's own are enumerations, and `|` on those costs more than handing a frame over.
LAST_FRAME = int(zmq.DONTWAIT)
MORE_FRAMES = int(zmq.DONTWAIT | zmq.SNDMORE)
_READABLE = int(zmq.POLLIN)
FRAME_BYTES_MAX = 20 << 20  # what a reader takes when no setting says otherwise
SLOW_BYTES_PER_S = 1 << 20  # the slowest link that a frame of that size gets over
QUEUED_MESSAGES_MAX = 1000
_SHARED_BYTES = 64 << 10

# libzmq hears nothing of a frame before it is there as a whole, and what is sent meanwhile comes behind it.
_SILENCE_MS = 5_000 + 1_000 * FRAME_BYTES_MAX // SLOW_BYTES_PER_S
_OPTIONS: Mapping[int, int] = {
    zmq.LINGER: 0,  # closing never waits for a peer
    zmq.SNDHWM: QUEUED_MESSAGES_MAX,
    zmq.RCVHWM: QUEUED_MESSAGES_MAX,
    zmq.HANDSHAKE_IVL: 5_000,  # ms; a connection that says nothing is closed after this
    zmq.CONNECT_TIMEOUT: 2_000,  # ms
    # A connection that went silent is given up: by the kernel when nothing is confirmed, or taken in (power lost, cable
    # cut), and by libzmq when the process is stopped. Elections have their own, shorter patience; this only frees the
    # connection and looks the address up again.
    zmq.TCP_MAXRT: 5_000,  # ms
    zmq.HEARTBEAT_IVL: 1_000,  # ms
    zmq.HEARTBEAT_TIMEOUT: _SILENCE_MS,
    zmq.HEARTBEAT_TTL: _SILENCE_MS,  # how long the other side is to wait for us
    # The interval doubles up to the maximum and a random part of the first is added: at most 100 ms. Every attempt
    # looks the host name up again, so a pod that came back under another address is found.
    zmq.RECONNECT_IVL: 20,  # ms
    zmq.RECONNECT_IVL_MAX: 80,  # ms
    zmq.BACKLOG: 1024,  # connections the kernel holds until they are accepted
    zmq.IPV6: 1,  # IPv4 as well
}


def new_context() -> Context:
    """A node's ZeroMQ context: I/O thread 0 for everything but connections to host names, which share the others.

    libzmq looks host names up inside the I/O thread, and a name server that does not answer holds that thread for
    seconds; heartbeats to the other peers must not wait for it.
    """
    return zmq.Context(io_threads=1 + LOOKUP_THREADS)


def lookup_thread(context: Context, number: int) -> int:
    """The I/O thread for the context's connection of that number among those to host names."""
    others = context.get(zmq.IO_THREADS) - 1
    return 1 + number % others if others else 0


def new_socket(context: Context, kind: int, frame_bytes_max: int, io_thread: int = 0) -> Socket:
    """A socket with the limits above; a connection that sends a larger frame is closed."""
    socket = context.socket(kind)
    for option, value in _OPTIONS.items():
        socket.set(option, value)
    socket.set(zmq.MAXMSGSIZE, frame_bytes_max)
    socket.set(zmq.AFFINITY, 1 << io_thread)
    return socket


def watch_by_kernel(socket: Socket) -> None:
    """Have the kernel find out that a connection went silent, instead of libzmq's thread; before `bind`.

    For a port whose callers send heartbeats of libzmq themselves. Their time to live does not do here: libzmq stops
    waiting for the next one as soon as anything else has come. A process that was stopped is not found out so (its
    kernel answers), and keeps its place.
    """
    socket.set(zmq.HEARTBEAT_IVL, 0)
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.TCP_KEEPALIVE_IDLE, 2)  # s
    socket.set(zmq.TCP_KEEPALIVE_INTVL, 1)  # s


def is_readable(socket: Socket) -> bool:
    """Whether a message has come. Asking is cheaper than trying to receive, which fails by an exception."""
    return bool(int(socket.get(zmq.EVENTS)) & _READABLE)


def let_go() -> None:
    """To be called behind messages that somebody waits for, when there is more to do: they leave first.

    libzmq sends in a thread of its own, and while every core is busy that thread waits until one is given up.
    """
    os.sched_yield()


def shareable(data: bytes) -> bytes | zmq.Frame:
    """What to hand to several sockets one after the other: libzmq copies bytes for each, and a frame for none.

    Making a frame costs more than copying little, and takes one copy itself.
    """
    return zmq.Frame(data, copy=True) if len(data) >= _SHARED_BYTES else data


def serve_curve(socket: Socket, own: KeyPair, domain: str) -> None:
    """Encrypt, and ask the ZAP handler about every key: without the domain enforced, libzmq lets any key in."""
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_SECRETKEY, own.secret)
    socket.set(zmq.ZAP_DOMAIN, domain.encode())
    socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)


def listen_with(socket: Socket, own: KeyPair) -> bool:
    """Go on listening at the same place with another key, which ends all connections; False: try again soon.

    libzmq reads the key when a socket is bound, and frees the port in its own time.
    """
    endpoint = last_endpoint(socket)
    with contextlib.suppress(zmq.ZMQError):  # ENOENT: an earlier call has done that
        socket.unbind(endpoint)
    socket.set(zmq.CURVE_SECRETKEY, own.secret)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError:
        return False
    return True


def last_endpoint(socket: Socket) -> str:
    """Where the socket was bound or connected to last."""
    endpoint = socket.get(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.rstrip(b"\0").decode()


def use_curve(socket: Socket, own: KeyPair, server_public: bytes) -> None:
    """Encrypt towards the server with that key and no other."""
    socket.set(zmq.CURVE_SERVERKEY, server_public)
    socket.set(zmq.CURVE_PUBLICKEY, own.public)
    socket.set(zmq.CURVE_SECRETKEY, own.secret)


def needs_lookup(address: str) -> bool:
    """Whether the host of "host:port" is a name rather than an IP address."""
    try:
        ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:
        return True
    return False


def bind(socket: Socket, host: str, port: int, setting: str) -> None:
    """Listen on host:port ("*" is every interface).

    When that cannot be, closes the socket and raises SettingsError naming the setting.
    """
    try:
        socket.bind(f"tcp://{host}:{port}")
    except zmq.ZMQError as error:
        socket.close(linger=0)
        variable = f"RAFT_{setting.upper()}"
        if error.errno == errno.EADDRINUSE:
            found = f"{setting}: expected a free port, found {port} in use on {host}"
            raise SettingsError(f"{found}. Stop the other program, or set {variable}.") from error
        if error.errno == errno.EACCES:
            found = f"{setting}: expected a port this user may open, found {port}"
            raise SettingsError(f"{found}. Set {variable} to 1024 or more.") from error
        found = f"bind_host: expected an address of this machine or *, found {host!r} ({error.strerror})"
        raise SettingsError(f"{found}. Set RAFT_BIND_HOST.") from error


def connect(socket: Socket, address: str) -> None:
    """Start connecting to "host:port" and go on trying; raises SettingsError when that is no address."""
    host, _, port = address.rpartition(":")
    if host == "localhost":
        # Both ::1 and 127.0.0.1 bear that name and libzmq would try the first alone.
        socket.set(zmq.IPV6, 0)
    try:
        if not (host and port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            raise ValueError(address)
        socket.connect(f"tcp://{address}")
    except (ValueError, zmq.ZMQError) as error:
        raise SettingsError(
            f"address: expected host:port, found {address!r}. Mend it in the members or endpoints."
        ) from error
