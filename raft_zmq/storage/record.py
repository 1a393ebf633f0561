"""How one record lies in a segment of the log: header, body, end mark (docs/storage.md has the table).

A record is one sync: at any time at most the last one of the log is not yet known to be on the medium. The checksum
covers the body together with the record's position, sequence number and term, so a sound record in the wrong place is
as bad as a damaged one. The end mark is there to tell, when a record turns out bad, a write that a power cut tore
(its end or one of its sectors never reached the medium) from one that was complete and was damaged later.
"""

import operator
import struct
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from zlib_ng.zlib_ng import crc32

from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Entry, HardState

MAGIC = b"RLR1"
HEADER = struct.Struct("<4sIIIQQQ")  # magic, crc32, body bytes, segment number, offset, sequence, term
CHECKED_FROM = 8  # the checksum covers everything behind itself, up to the end of the body
ALIGNMENT_BYTES = 8
SECTOR_BYTES = 512  # the smallest unit that a disk writes whole
APART_BYTES = 1 << 16  # data of an entry from this size on is written from where it is
_BIN_32 = struct.Struct(">BI")  # how MessagePack begins bytes of 65,536 and more
_NO_DATA = b"\xc4\x00"  # an entry's last field, empty
_NO_ENTRIES = b"\x90\x00"  # a record's last two fields without entries: those, and `segment_bytes`
_CRC = struct.Struct("<I")
_END_MARK = struct.Struct("<Q")
_END_MARK_BASE = int.from_bytes(b"!dnEtfaR", "big")


Piece = bytes | bytearray


class Record(msgspec.Struct, frozen=True, array_like=True):
    """What one record says. Fields may be added at the end, with a default."""

    hard_state: HardState | None = None  # None: as before
    base_membership: Membership | None = None
    start: tuple[int, int] | None = None  # (index, term): the log begins anew behind this entry; see `segment_bytes`
    entries: Sequence[Entry] = ()  # they replace everything from entries[0].index on
    segment_bytes: int = 0  # only in a segment's first record: the file's size; `start` is then the log's last entry


class Frame(NamedTuple):
    """A record whose checksum holds."""

    body: memoryview
    sequence: int
    end: int  # where the next record begins


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what bad bytes make msgspec raise
_data_of = operator.attrgetter("data")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


def encode(record: Record, buffer: bytearray) -> int:
    """Make `buffer` the frame of that record, still to be sealed; returns the number of body bytes."""
    _encoder.encode_into(record, buffer, HEADER.size)
    body_bytes = len(buffer) - HEADER.size
    buffer += bytes(-body_bytes % ALIGNMENT_BYTES + _END_MARK.size)
    return body_bytes


def encode_in_pieces(record: Record, buffer: bytearray) -> tuple[list[Piece], int]:
    """The same frame in pieces, so that large data is not copied; `buffer`, the first of them, may be all.

    The last piece, like the first, is a bytearray that `seal` can fill in.
    """
    if max(map(len, map(_data_of, record.entries)), default=0) < APART_BYTES:
        return [buffer], encode(record, buffer)
    frame = _encoder.encode(msgspec.structs.replace(record, entries=()))
    assert frame.endswith(_NO_ENTRIES), "entries go into records that begin no segment"
    piece = buffer
    piece[:] = bytes(HEADER.size) + frame.removesuffix(_NO_ENTRIES) + _array_header(len(record.entries))
    pieces: list[Piece] = [piece]
    for entry in record.entries:
        if len(entry.data) < APART_BYTES:
            piece += _encoder.encode(entry)
            continue
        piece += _encoder.encode(msgspec.structs.replace(entry, data=b"")).removesuffix(_NO_DATA)
        piece += _BIN_32.pack(0xC6, len(entry.data))
        piece = bytearray()
        pieces += (entry.data, piece)
    piece += _NO_ENTRIES[1:]
    body_bytes = sum(map(len, pieces)) - HEADER.size
    piece += bytes(-body_bytes % ALIGNMENT_BYTES + _END_MARK.size)
    return pieces, body_bytes


def seal(pieces: Sequence[Piece], body_bytes: int, segment: int, offset: int, sequence: int, term: int) -> None:
    """Fill in what binds the frame to its place: header, checksum and end mark."""
    first, last = pieces[0], pieces[-1]
    assert isinstance(first, bytearray)
    assert isinstance(last, bytearray)
    HEADER.pack_into(first, 0, MAGIC, 0, body_bytes, segment, offset, sequence, term)
    crc, checked_bytes, start = 0, HEADER.size + body_bytes, CHECKED_FROM
    for piece in pieces:
        with memoryview(piece) as view:
            crc = crc32(view[start:checked_bytes], crc)
        checked_bytes -= len(piece)
        start = 0
    _CRC.pack_into(first, 4, crc)
    mark_at = len(last) - _END_MARK.size
    end = offset + sum(map(len, pieces))
    _END_MARK.pack_into(last, mark_at, _end_mark(segment, end - _END_MARK.size))


def decode(body: memoryview) -> Record:
    """The record in a frame's body; raises one of UNREADABLE."""
    return _decoder.decode(body)


def read_frame(data: memoryview, offset: int, segment: int) -> Frame | None:
    """The record at that offset of a segment's bytes, or None if none stands there whole and sound."""
    if offset + HEADER.size > len(data):
        return None
    magic, crc, body_bytes, at_segment, at_offset, sequence, _ = HEADER.unpack_from(data, offset)
    if magic != MAGIC or at_segment != segment or at_offset != offset:
        return None
    end = frame_end(offset, body_bytes)
    body_end = offset + HEADER.size + body_bytes
    if end > len(data) or crc32(data[offset + CHECKED_FROM : body_end]) != crc:
        return None
    return Frame(data[offset + HEADER.size : body_end], sequence, end)


def frame_end(offset: int, body_bytes: int) -> int:
    """Where a record with so long a body ends, its padding and end mark counted in."""
    return offset + HEADER.size + body_bytes + -body_bytes % ALIGNMENT_BYTES + _END_MARK.size


def has_end_mark(data: memoryview, end: int, segment: int) -> bool:
    """Whether the end mark of a record that ends at `end` stands there."""
    mark_at = end - _END_MARK.size
    if mark_at < 0 or end > len(data):
        return False
    found: int = _END_MARK.unpack_from(data, mark_at)[0]
    return found == _end_mark(segment, mark_at)


def _array_header(count: int) -> bytes:
    return _encoder.encode((None,) * count)[:-count]  # nil is one byte


def _end_mark(segment: int, offset: int) -> int:
    return _END_MARK_BASE ^ offset ^ (segment << 32)
