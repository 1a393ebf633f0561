"""A dict that can be frozen in no time, however large it is.

Copying a dict of a million keys stops the node for 50 ms and more. So the keys are spread over many small dicts, and
freezing only marks those as shared: the first write to a shared one copies it (10 µs with a million keys in all) and
leaves the original to whoever reads the frozen view, from any thread.
"""

from collections.abc import Iterator
from typing import Final
from zlib import crc32

PARTS: Final = 1 << 12
_MASK: Final = PARTS - 1


class PartedDict:
    """Bytes to bytes; spread by CRC-32, so that the order of a frozen view is the same in every process."""

    def __init__(self) -> None:
        self._parts: list[dict[bytes, bytes]] = [{} for _ in range(PARTS)]
        self._shared = bytearray(PARTS)  # 1 for a part that a frozen view reads
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and key in self._parts[crc32(key) & _MASK]

    def __getitem__(self, key: bytes) -> bytes:
        return self._parts[crc32(key) & _MASK][key]

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            yield from part

    def get(self, key: bytes) -> bytes | None:
        """The value of the key, None without one."""
        return self._parts[crc32(key) & _MASK].get(key)

    def put(self, key: bytes, value: bytes) -> bool:
        """Set the key; whether it is new."""
        number = crc32(key) & _MASK
        part = self._own_part(number) if self._shared[number] else self._parts[number]
        length = len(part)
        part[key] = value
        if len(part) == length:
            return False
        self._length += 1
        return True

    def remove(self, key: bytes) -> bool:
        """Remove the key; whether it was there."""
        if key not in self:
            return False
        number = crc32(key) & _MASK
        part = self._own_part(number) if self._shared[number] else self._parts[number]
        del part[key]
        self._length -= 1
        return True

    def frozen(self) -> Iterator[tuple[bytes, bytes]]:
        """All pairs as they are at this call, whatever is written later."""
        self._shared = bytearray(b"\x01" * PARTS)
        return _pairs(self._parts[::-1])

    def _own_part(self, number: int) -> dict[bytes, bytes]:
        """A copy in place of a part that frozen views read."""
        self._parts[number] = part = self._parts[number].copy()
        self._shared[number] = 0
        return part


def _pairs(parts_reversed: list[dict[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    while parts_reversed:  # each part is let go when read: to free all at the end would stop the process
        yield from parts_reversed.pop().items()
