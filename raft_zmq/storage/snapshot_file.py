"""One snapshot file: blocks whose checksums form a chain (docs/storage.md has the table).

Each block's checksum starts from the one of the block before, so a block is sound only in its place in its own file;
the first block holds what the snapshot is of, the last one how much came before it. Chunks come back out as they went
in, boundaries included.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
from zlib_ng.zlib_ng import crc32

from raft_zmq.core.errors import StorageError
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Index, Term
from raft_zmq.storage.disk import storage_error
from raft_zmq.storage.errors import CorruptionError
from raft_zmq.storage.record import UNREADABLE

META, CHUNK, END = b"RSM1", b"RSC1", b"RSE1"
CHUNK_BYTES_MAX = 64 << 20  # of one chunk; what a reader must be ready to hold in memory
_BLOCK = struct.Struct("<4sIII")  # magic, block number from 0, data bytes, crc32
_CHECKED_BYTES = 12  # of a block's header; its data follows in the checksum
_END = struct.Struct("<QQ")  # number of chunks, bytes of the whole file


class SnapshotMeta(msgspec.Struct, frozen=True, array_like=True):
    """What the snapshot is of: the state after applying the entry (index, term), and who the members were then.

    `digest` is the caller's own note on the state; nothing here reads it.
    """

    index: Index
    term: Term
    membership: Membership
    digest: bytes = b""


class _Block(NamedTuple):
    magic: bytes
    data: bytes
    crc: int
    end: int


def encode_block(magic: bytes, number: int, data: bytes, former_crc: int) -> tuple[bytes, int]:
    """The block's header (its data comes right behind) and its checksum, for the next block to start from."""
    crc = crc32(data, crc32(_BLOCK.pack(magic, number, len(data), 0)[:_CHECKED_BYTES], former_crc))
    return _BLOCK.pack(magic, number, len(data), crc), crc


def encode_end(chunks: int, bytes_before: int) -> bytes:
    """The data of the last block, of a file that has so many bytes before it."""
    return _END.pack(chunks, bytes_before + _BLOCK.size + _END.size)


def snapshot_path(directory: Path, index: int, term: int) -> Path:
    """The file of that snapshot."""
    return directory / f"snapshot-{index}-{term}.snap"


class SnapshotReader:
    """A snapshot file opened for reading; stays readable after a newer snapshot has replaced it.

    Opening checks the first block and that the file is whole in length; `chunks` checks everything. Both raise
    CorruptionError for damage and StorageError when the disk fails.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            self.total_bytes = os.fstat(self._descriptor).st_size
            self._first = self._read_block(0, 0, 0)
            self.meta = self._decode_meta()
            self._check_length()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the file has been let go."""
        return self._descriptor < 0

    def close(self) -> None:
        """Let go of the file; calling it twice does no harm."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def chunks(self) -> Iterator[bytes]:
        """The chunks in order, each checked before it is given out; ends only after the whole file proved sound."""
        block = self._first
        number = 1
        while True:
            start = block.end
            block = self._read_block(start, number, block.crc)
            if block.magic == END:
                break
            yield block.data
            number += 1
        if block.data != encode_end(number - 1, start) or block.end != self.total_bytes:
            raise CorruptionError(self.path, start, f"expected the end after {number - 1} chunks, found another count")

    def read_at(self, offset: int, length: int) -> bytes:
        """Raw bytes of the file, fewer at its end; raises StorageError when the disk fails."""
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise storage_error(self.path, error) from error

    def _read_block(self, offset: int, number: int, former_crc: int) -> _Block:
        header = self.read_at(offset, _BLOCK.size)
        if len(header) < _BLOCK.size:
            raise CorruptionError(self.path, offset, f"expected block {number}, found the end of the file")
        magic, at_number, data_bytes, crc = _BLOCK.unpack(header)
        room = min(self.total_bytes - offset - _BLOCK.size, CHUNK_BYTES_MAX)
        if magic not in (META, CHUNK, END) or (magic == META) != (number == 0):
            raise CorruptionError(self.path, offset, f"expected block {number}, found bytes that begin none")
        if at_number != number or data_bytes > room:
            reason = f"expected block {number} of at most {room} bytes, found block {at_number} of {data_bytes}"
            raise CorruptionError(self.path, offset, reason)
        data = self.read_at(offset + _BLOCK.size, data_bytes)
        if crc32(data, crc32(header[:_CHECKED_BYTES], former_crc)) != crc:
            raise CorruptionError(self.path, offset, f"expected crc32 {crc:08x} of block {number}, found another")
        return _Block(magic, data, crc, offset + _BLOCK.size + data_bytes)

    def _decode_meta(self) -> SnapshotMeta:
        try:
            return msgspec.msgpack.decode(self._first.data, type=SnapshotMeta)
        except UNREADABLE as error:
            raise CorruptionError(self.path, 0, f"expected what the snapshot is of, found: {error}") from error

    def _check_length(self) -> None:
        """A file that lost its end would show it only at the last chunk; this shows it at once."""
        end_at = self.total_bytes - _BLOCK.size - _END.size
        last = self.read_at(max(end_at, 0), _BLOCK.size + _END.size)
        if last[:4] != END or _END.unpack_from(last, _BLOCK.size)[1] != self.total_bytes:
            raise CorruptionError(self.path, max(end_at, 0), "expected the last block, found none: the file is cut off")


def verify(path: Path) -> SnapshotMeta:
    """Read the whole file, one chunk in memory at a time; raises CorruptionError and StorageError."""
    with SnapshotReader(path) as reader:
        for _ in reader.chunks():
            pass
        return reader.meta


def check_chunk(chunk: bytes) -> None:
    """Raises StorageError for a chunk that no reader would take."""
    if len(chunk) > CHUNK_BYTES_MAX:
        raise StorageError(f"snapshot chunk: expected at most {CHUNK_BYTES_MAX} bytes, found {len(chunk)}. Split it.")
