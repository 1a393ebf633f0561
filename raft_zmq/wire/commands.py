"""What a client may ask of the key-value store, as bytes in log entries and in reads.

A command is encoded once, by the client; the leader carries the bytes through the log unread, and every node's state
machine decodes them when it applies the entry. Keys and values are bytes of any content.

Operations and commands are strict, unlike messages: a field that only some nodes know would make their states differ.
"""

from typing import Annotated

import msgspec

KEY_BYTES_MAX = 4096
VALUE_BYTES_MAX = 16 << 20

Key = Annotated[bytes, msgspec.Meta(min_length=1, max_length=KEY_BYTES_MAX)]
Value = Annotated[bytes, msgspec.Meta(max_length=VALUE_BYTES_MAX)]


class _Operation(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False, forbid_unknown_fields=True):
    """Shared shape: the class name is the tag."""


class Put(_Operation, frozen=True, gc=False):
    """Set the key. Output: nil."""

    key: Key
    value: Value


class Delete(_Operation, frozen=True, gc=False):
    """Remove the key. Output: true if it existed, false if not."""

    key: Key


class CompareAndSwap(_Operation, frozen=True, gc=False):
    """Set the key to `value` if it holds `expected` (None: if it does not exist). Output: whether it did."""

    key: Key
    expected: Value | None
    value: Value


class Append(_Operation, frozen=True, gc=False):
    """Add `value` at the end of what the key holds (nothing, if it does not exist). Output: the new length in bytes."""

    key: Key
    value: Value


class Increment(_Operation, frozen=True, gc=False):
    """Add to the key's decimal integer (0 if it does not exist). Output: the new number.

    Output is an error (see Outcome) when the value is no integer or the sum leaves the signed 64-bit range.
    """

    key: Key
    amount: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Get(_Operation, frozen=True, gc=False):
    """Read the key. Output: its value as bytes, or nil."""

    key: Key


class Scan(_Operation, frozen=True, gc=False):
    """Read up to `limit` pairs whose key starts with `prefix`, in key order, after the key `after`.

    Output: an array of [key, value].
    """

    prefix: Annotated[bytes, msgspec.Meta(max_length=KEY_BYTES_MAX)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1000
    after: bytes = b""


Operation = Put | Delete | CompareAndSwap | Append | Increment
Query = Get | Scan


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an operation or a query gave: its output, or an error text: it could not be done, or was long ago."""

    output: bytes | bool | int | list[tuple[bytes, bytes]] | None = None
    error: str | None = None


class SessionCommand(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False, forbid_unknown_fields=True):
    """An operation of a client session (thesis 6.3): the same `number` is applied once, however often it is sent.

    `acknowledged`: the client has the answers to all numbers up to this one, so the server may forget them.
    `operation` is an encoded `Operation` of the state machine.
    """

    session_id: Annotated[int, msgspec.Meta(ge=1)]
    number: Annotated[int, msgspec.Meta(ge=1)]
    acknowledged: Annotated[int, msgspec.Meta(ge=0)]
    operation: bytes


class OpenSession(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False, forbid_unknown_fields=True):
    """Start a session. `nonce`, which is random, makes a repeated opening recognisable and the id hard to guess."""

    nonce: bytes


class AdvanceClock(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False, forbid_unknown_fields=True):
    """The leader's word on cluster time (milliseconds, never going back): sessions idle for longer than the session
    time-to-live at that time end here, on every node alike (thesis 6.3).
    """

    cluster_time_ms: Annotated[int, msgspec.Meta(ge=0)]
    session_ttl_ms: Annotated[int, msgspec.Meta(ge=1)]


Command = SessionCommand | OpenSession | AdvanceClock

_CLIENT_TAGS = (SessionCommand.__struct_config__.tag, OpenSession.__struct_config__.tag)


def is_from_client(command: bytes) -> bool:
    """Whether a client may send that command, judged by its tag alone: AdvanceClock is the leader's own."""
    return len(command) > 1 and command[0] & 0xF0 == 0x90 and command[1] in _CLIENT_TAGS
