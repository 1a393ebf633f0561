"""Changes to an input that keep its shape: MessagePack stays MessagePack, pieces stay pieces.

The decoders are compiled code, in which the fuzzer sees no branches; flipping bits alone rarely gets past them.
"""

import random
from collections.abc import Callable
from typing import Any

import msgspec

from tests.fuzz.readers import PIECE_BYTES_MAX, WITH_CHECKSUMS, joined, pieces

DEPTH = 2_000  # more than Python's stack takes
_VALUES: tuple[Any, ...] = (None, True, 0, 1, -1, 2**31, 2**63 - 1, 2**64 - 1, 0.5, b"", b"\xff" * 40, "", "n1", [], {})
_Change = Callable[[Any, random.Random], Any]


def mutate(reader: str, data: bytes, rng: random.Random) -> bytes | None:
    """A changed input, or None where this one has no shape to keep."""
    if reader in ("log", "snapshot"):
        return data[:1] + _one_piece(data[1:], rng) if data[:1] == WITH_CHECKSUMS else None
    if reader == "wire":
        changed = message(data[1:], rng)
        return None if changed is None else data[:1] + changed
    return None


def _one_piece(data: bytes, rng: random.Random) -> bytes:
    parts = pieces(data)
    if not parts:
        return data
    at = rng.randrange(len(parts))
    choice = rng.random()
    if choice < 0.05:
        parts.insert(at, rng.choice(parts))
    elif choice < 0.1:
        del parts[at]
    else:
        changed = message(parts[at], rng)
        if changed is not None and len(changed) <= PIECE_BYTES_MAX:
            parts[at] = changed
    return joined(parts)


def message(data: bytes, rng: random.Random) -> bytes | None:
    """MessagePack with one of its values changed; None for bytes that are none."""
    try:
        value = msgspec.msgpack.decode(data)
        if rng.random() < 0.02:
            return _nested(msgspec.msgpack.encode(_somewhere(value, rng, lambda *_: _MARK)), rng)
        return msgspec.msgpack.encode(_somewhere(value, rng, _changed))
    except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError, OverflowError):
        return None


_MARK = "nest here"


def _nested(data: bytes, rng: random.Random) -> bytes:
    opening = rng.choice([b"\x91", b"\x81\xa1k"])
    return data.replace(msgspec.msgpack.encode(_MARK), opening * DEPTH + b"\xc0", 1)


def _somewhere(value: Any, rng: random.Random, change: _Change) -> Any:
    """Apply the change to one of the values within, each as likely as its level is near."""
    if isinstance(value, list) and rng.random() < 0.8:
        at = rng.randrange(len(value) + 1)
        if at == len(value):
            return [*value, change(None, rng)]
        return [*value[:at], _somewhere(value[at], rng, change), *value[at + 1 :]]
    return change(value, rng)


def _changed(value: Any, rng: random.Random) -> Any:
    choice = rng.random()
    if choice < 0.3:
        return rng.choice(_VALUES)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice([-1, 1, 2**32, -(2**32), -2 * value])
    if isinstance(value, str | bytes):
        cut = rng.randrange(len(value) + 1)
        return rng.choice([value[:cut], value[cut:], value * rng.choice([2, 300])])
    if isinstance(value, list) and value:
        return rng.choice([value[:-1], value[1:], value * 2, value[::-1], [value]])
    return [value]
