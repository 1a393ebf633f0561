"""The few system calls that durability hangs on, in one place so that a test can make them fail, wait or lie."""

import contextlib
import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from raft_zmq.core.errors import StorageError
from raft_zmq.storage.errors import DiskFullError

Bytes = bytes | bytearray | memoryview

SLICE_BYTES = 1 << 20  # written between two syncs of a big file, so that no single sync takes long
PIECES_MAX = os.sysconf("SC_IOV_MAX")
_FREED_BYTES = 4 << 20  # at a time
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Disk:
    """The real disk; every method raises OSError. Tests derive from it."""

    def pwrite(self, descriptor: int, data: Bytes, offset: int) -> int:
        """Write at `offset`; returns how many bytes were taken."""
        return os.pwrite(descriptor, data, offset)

    def pwritev(self, descriptor: int, pieces: Sequence[Bytes], offset: int) -> int:
        """The same for data in pieces, at most PIECES_MAX of them: as one write, whichever page a piece ends in."""
        return os.pwritev(descriptor, pieces, offset)

    def allocate(self, descriptor: int, size_bytes: int) -> None:
        """Make the file at least so long and take room for all of it; what is new in it reads as zeros."""
        os.posix_fallocate(descriptor, 0, size_bytes)

    def fdatasync(self, descriptor: int) -> None:
        """Return once the file's data, and the size needed to read it, are on the medium."""
        os.fdatasync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give `source` the name `target`, in place of whatever had it."""
        source.replace(target)

    def sync_directory(self, directory: Path) -> None:
        """Return once the names in the directory are on the medium."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_all(disk: Disk, descriptor: int, data: Bytes, offset: int) -> None:
    """Write every byte; the kernel may take them in several goes."""
    written = disk.pwrite(descriptor, data, offset)
    if written == len(data):
        return
    with memoryview(data) as view:
        while written < len(view):
            written += disk.pwrite(descriptor, view[written:], offset + written)


def write_pieces(disk: Disk, descriptor: int, pieces: Sequence[Bytes], offset: int) -> None:
    """Write every byte of the pieces, one behind the other."""
    if len(pieces) == 1:
        write_all(disk, descriptor, pieces[0], offset)
        return
    written = disk.pwritev(descriptor, pieces, offset) if len(pieces) <= PIECES_MAX else 0
    if written < sum(map(len, pieces)):
        write_all(disk, descriptor, b"".join(pieces)[written:], offset + written)


def write_durably(disk: Disk, path: Path, data: bytes) -> None:
    """Put a whole small file in place: written aside, synced, renamed, the directory synced (rule 28)."""
    aside = path.with_name(path.name + ".tmp")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        write_all(disk, descriptor, data, 0)
        disk.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    disk.rename(aside, path)
    disk.sync_directory(path.parent)


def unlink_held(path: Path) -> int:
    """Remove the file's name and return a descriptor that still holds its blocks, for `free`; raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        path.unlink()
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def free(descriptors: Sequence[int]) -> None:
    """Let the blocks of files without a name go, in a thread and piece by piece.

    All blocks of a large file at once are one change to the file system, for which a sync of any other file may have to
    wait: 28 ms for 200 MB.
    """
    threading.Thread(target=_free, args=(descriptors,), name="free-blocks", daemon=True).start()


def _free(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # closing it frees what is left
            found = os.fstat(descriptor)
            if found.st_nlink == 0:  # somebody's backup may be another name of it
                for size_bytes in range(found.st_size - _FREED_BYTES, 0, -_FREED_BYTES):
                    os.ftruncate(descriptor, size_bytes)
        os.close(descriptor)


def storage_error(path: Path, error: OSError) -> StorageError:
    """The error to raise for a failed call on a file that nothing depends on yet."""
    if error.errno in _NO_ROOM:
        return DiskFullError(f"{path}: expected room on the disk, found none ({error.strerror}). Make room.")
    return StorageError(f"{path}: expected to read and write it, found: {error}. Check the disk.")
