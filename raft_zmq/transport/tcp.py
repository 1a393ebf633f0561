"""What the system knows of an open TCP connection, and how many of them this process may have."""

import os
import resource
import socket
import struct
from typing import NamedTuple

from raft_zmq.core.errors import SettingsError

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
_BYTES_ACKED_AND_RECEIVED = struct.Struct("=QQ")  # two fields of Linux' struct tcp_info …
_OFFSET = 120  # … that begin here
_ESTABLISHED = 1
_NO_LINGER = struct.pack("ii", 1, 0)
_ROOMY_FILES = 65_536


class Progress(NamedTuple):
    """Bytes since the connection began."""

    acknowledged: int  # of those we sent
    received: int


def duplicate(fd: int) -> socket.socket | None:
    """A handle of our own on that connection, so that its number goes to no other; None if it is gone."""
    try:
        copy = os.dup(fd)
    except OSError:
        return None
    try:
        handle = socket.socket(fileno=copy)
    except OSError:  # the number has gone to another kind of file
        os.close(copy)
        return None
    if handle.type == socket.SOCK_STREAM and handle.family in (socket.AF_INET, socket.AF_INET6):
        return handle
    handle.close()
    return None


def remote_host(handle: socket.socket) -> str:
    """The other side's IP address, "" when it has gone already."""
    try:
        host = str(handle.getpeername()[0])
    except OSError:
        return ""
    return host.removeprefix("::ffff:")


def progress(handle: socket.socket) -> Progress | None:
    """How far the connection has come; None where the system does not tell (only Linux does)."""
    if _TCP_INFO is None:
        return None
    try:
        info = handle.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _OFFSET + _BYTES_ACKED_AND_RECEIVED.size)
        return Progress(*_BYTES_ACKED_AND_RECEIVED.unpack_from(info, _OFFSET))
    except (OSError, struct.error):
        return None


def is_open(handle: socket.socket) -> bool:
    """Whether neither side has begun to close it: if libzmq is done with it, then for a reason of its own."""
    if _TCP_INFO is None:
        return False
    try:
        return handle.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] == _ESTABLISHED
    except OSError:
        return False


def end(handle: socket.socket) -> None:
    """End the connection for every holder of it, and leave nothing of it in the system: the other side gets a reset."""
    try:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        handle.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended already


def allow_connections(connections: int) -> None:
    """Raise the limit on open files to what so many connections need; SettingsError when the system does not let us.

    Without room for files a node can neither accept a connection nor write its log.
    """
    needed = 2 * connections + 512  # two handles for each; the log, the snapshots, libzmq's own
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if hard != unlimited and hard < needed:
        raise SettingsError(
            f"connections_max: expected a limit of at least {needed} open files (ulimit -n), found {hard}. "
            "Raise the limit or lower RAFT_CONNECTIONS_MAX."
        )
    wanted = max(needed, _ROOMY_FILES if hard == unlimited else min(hard, _ROOMY_FILES))
    if soft != unlimited and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
