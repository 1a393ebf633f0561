"""A ZMTP 3.1 client of our own (RFC 23, NULL mechanism), to send what libzmq never would."""

import os
import socket

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
CURVE_GREETING = GREETING.replace(b"NULL\0", b"CURVE")


def hello() -> bytes:
    """The first step of a CURVE handshake (RFC 26), sealed for nobody."""
    version, padding, nonce = b"\x01\0", bytes(72), bytes(8)
    return frame(b"\x05HELLO" + version + padding + os.urandom(32) + nonce + os.urandom(80), command=True)


def frame(body: bytes, *, more: bool = False, command: bool = False) -> bytes:
    """One frame with its header."""
    flags = (1 if more else 0) | (4 if command else 0)
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | 2]) + len(body).to_bytes(8, "big") + body


def connect(address: str, user_id: bytes = b"") -> socket.socket:
    """A connection with its handshake done, as a DEALER, and with a User-Id if one is given."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(GREETING)
    kind = b"\x0bSocket-Type" + (6).to_bytes(4, "big") + b"DEALER"
    claim = b"\x07User-Id" + len(user_id).to_bytes(4, "big") + user_id if user_id else b""
    connection.sendall(frame(b"\x05READY" + kind + claim, command=True))
    received = b""
    while b"READY" not in received:
        part = connection.recv(4096)
        assert part, "the node ended the handshake"
        received += part
    return connection


def ended(connection: socket.socket) -> bool:
    """Whether the other side has ended the connection, as far as has come through."""
    connection.settimeout(0.01)
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
