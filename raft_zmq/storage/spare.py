"""The next segment, made ahead: a file with all its room taken, so that a full disk shows early.

A thread allocates it while the present segment fills. Where records are small it goes on and writes the zeros that the
file reads as anyway: a sync later then has no metadata to write with the data. That is a help and no condition: it is
done in slices with pauses, and ends with the slice at hand when the file is wanted. The file becomes part of the log
when the log renames it.
"""

import os
import threading
import time
from pathlib import Path

from raft_zmq.core.errors import StorageError
from raft_zmq.storage.disk import SLICE_BYTES, Disk, storage_error, write_all
from raft_zmq.storage.errors import DiskFullError

SPARE_FILE = "wal.spare"
PAUSE_S = 0.001  # at least, between two slices of zeros that a thread writes; the log's own syncs come first
_ZEROS = bytes(SLICE_BYTES)


def write_zeros(disk: Disk, descriptor: int, start: int, end: int, stop: threading.Event | None = None) -> None:
    """Make that range of the file durable zeros; raises OSError.

    With `stop`, ends early once it is set, and leaves the disk to others for half of the time.
    """
    pause_s = PAUSE_S
    for offset in range(start, end, SLICE_BYTES):
        if stop is not None and stop.wait(pause_s):
            return
        begun_s = time.monotonic()
        write_all(disk, descriptor, memoryview(_ZEROS)[: end - offset], offset)
        disk.fdatasync(descriptor)
        pause_s = max(PAUSE_S, time.monotonic() - begun_s)


class SpareSegment:
    """One spare file at most. Of the thread that uses it, nothing is seen outside."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self.path = directory / SPARE_FILE
        self._disk = disk
        self._thread: threading.Thread | None = None
        self._wanted = threading.Event()  # ends the writing of zeros
        self._descriptor = -1
        self._size_bytes = 0  # that room is taken for
        self._error: StorageError | None = None
        self.disk_full = False  # whether the last attempt that has ended did so for want of room

    def make(self, size_bytes: int) -> None:
        """Make it in this thread, zeros and all, before there is a log that waits; `take` raises what went wrong."""
        self._make(size_bytes, zeros=True)

    def prepare(self, size_bytes: int, *, zeros: bool) -> None:
        """Begin to make the spare, once; cheap to call again. `zeros`: write them, too."""
        if self._thread is None:
            arguments = (size_bytes, zeros, self._wanted)
            self._thread = threading.Thread(target=self._make, args=arguments, name="spare-segment", daemon=True)
            self._thread.start()

    def retry(self, size_bytes: int) -> None:
        """Begin again if there was no room the last time, and no attempt is under way."""
        if self.disk_full and (self._thread is None or not self._thread.is_alive()):
            self._wait()
            self.prepare(size_bytes, zeros=False)

    def take(self, size_bytes: int) -> int:
        """A descriptor of the spare, now the caller's; waits for the slice of zeros at hand and no more of them.

        Raises DiskFullError when there is no room, and may then be called again; StorageError when the disk fails.
        """
        self._wait()
        if self._error is None or self.disk_full:
            self._make(size_bytes, zeros=False)
        if self._error is not None:
            raise self._error
        descriptor, self._descriptor, self._size_bytes = self._descriptor, -1, 0
        return descriptor

    def close(self) -> None:
        """Stop the thread and remove the file."""
        self._wait()
        self._discard()

    def _wait(self) -> None:
        if self._thread is not None:
            self._wanted.set()
            self._thread.join()
            self._thread = None
            self._wanted.clear()

    def _make(self, size_bytes: int, zeros: bool, stop: threading.Event | None = None) -> None:
        """Bring the spare to that size at least; leaves either a whole one or none, and in that case the error."""
        self._error = None
        try:
            if self._descriptor < 0:
                flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                self._descriptor = os.open(self.path, flags, 0o644)
            if self._size_bytes < size_bytes:
                self._disk.allocate(self._descriptor, size_bytes)
                self._disk.fdatasync(self._descriptor)
                self._size_bytes = size_bytes
            self.disk_full = False
            if zeros:
                write_zeros(self._disk, self._descriptor, 0, size_bytes, stop)
        except OSError as error:
            self._discard()
            self._error = storage_error(self.path, error)
            self.disk_full = isinstance(self._error, DiskFullError)

    def _discard(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._size_bytes = -1, 0
            self.path.unlink(missing_ok=True)
