"""Disks that fail in one chosen way, and small helpers shared by the tests of the storage."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import Entry, EntryKind
from raft_zmq.storage.disk import Bytes, Disk
from raft_zmq.storage.spare import SPARE_FILE
from raft_zmq.storage.storage import Storage

MEMBERS = Membership(voters=(Member("n1", "h:1", "h:2", "00"), Member("n2", "h:3", "h:4", "01")))


def entry(index: int, term: int = 1, data: bytes | None = None) -> Entry:
    return Entry(index, term, EntryKind.COMMAND, b"command %d of term %d" % (index, term) if data is None else data)


def log(first: int, last: int, term: int = 1) -> list[Entry]:
    return [entry(index, term) for index in range(first, last + 1)]


def opened(directory: Path, **options: Any) -> Storage:
    """The storage of node n1; small segments and no waiting for the medium unless told otherwise."""
    return Storage.open(
        directory, **({"cluster_id": "raft", "node_id": "n1", "segment_bytes": 4096, "disk": QuickDisk()} | options)
    )


def put(storage: Storage, *args: Any, **kwargs: Any) -> None:
    """One record, synced."""
    storage.write(*args, **kwargs)
    storage.sync()


def put_each(storage: Storage, entries: Iterable[Entry]) -> None:
    """One record for each entry."""
    for each in entries:
        put(storage, entries=[each])


def segments(directory: Path) -> list[str]:
    """The log's files, by name."""
    return sorted(path.name for path in directory.glob("wal-*.log"))


def overwrite(path: Path, data: bytes | bytearray) -> None:
    """Replace the file's content without emptying it first, which some file systems answer with a sync."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def wait_until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """For what a thread does in the background."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come about in time"
        threading.Event().wait(0.001)


def name_of(descriptor: int) -> str:
    return Path(f"/proc/self/fd/{descriptor}").readlink().name


class QuickDisk(Disk):
    """Syncs nothing: what a test reads back, it reads from the page cache anyway."""

    def pwritev(self, descriptor: int, pieces: Sequence[Bytes], offset: int) -> int:
        return self.pwrite(descriptor, b"".join(pieces), offset)  # what derives from this has one way to look after

    def fdatasync(self, descriptor: int) -> None:
        pass

    def sync_directory(self, directory: Path) -> None:
        pass


class FullDisk(QuickDisk):
    """Has room for so many more bytes; writing over what is there needs none."""

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes

    def pwrite(self, descriptor: int, data: Bytes, offset: int) -> int:
        self._grow(descriptor, offset + len(data))
        return super().pwrite(descriptor, data, offset)

    def allocate(self, descriptor: int, size_bytes: int) -> None:
        self._grow(descriptor, size_bytes)
        super().allocate(descriptor, size_bytes)

    def _grow(self, descriptor: int, size_bytes: int) -> None:
        growth = max(0, size_bytes - os.fstat(descriptor).st_size)
        if growth > self.room_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room_bytes -= growth


class WatchedSpare(FullDisk):
    """Counts what happens to the spare segment before it holds a record, and can hold back its zeros."""

    def __init__(self, room_bytes: int = 1 << 30) -> None:
        super().__init__(room_bytes)
        self.allocated = 0
        self.zeros_written = 0
        self.held = threading.Event()  # a slice waits
        self._released = threading.Event()
        self._hold_at = 1 << 60

    def hold_zeros(self, after_bytes: int = 0) -> None:
        self._hold_at = self.zeros_written + after_bytes

    def release_zeros(self) -> None:
        self._released.set()

    def allocate(self, descriptor: int, size_bytes: int) -> None:
        super().allocate(descriptor, size_bytes)
        self.allocated += 1

    def pwrite(self, descriptor: int, data: Bytes, offset: int) -> int:
        if name_of(descriptor) == SPARE_FILE and not any(data):
            if self.zeros_written >= self._hold_at:
                self.held.set()
                assert self._released.wait(10)
            self.zeros_written += len(data)
        return super().pwrite(descriptor, data, offset)


class FailingDisk(QuickDisk):
    """Fails the given call on files whose name starts so, while `failing`."""

    def __init__(self, call: str, prefix: str = "wal-") -> None:
        self.call, self.prefix, self.failing = call, prefix, False

    def _check(self, call: str, descriptor: int) -> None:
        if self.failing and call == self.call and name_of(descriptor).startswith(self.prefix):
            raise OSError(errno.EIO, "Input/output error")

    def pwrite(self, descriptor: int, data: Bytes, offset: int) -> int:
        self._check("pwrite", descriptor)
        return super().pwrite(descriptor, data, offset)

    def allocate(self, descriptor: int, size_bytes: int) -> None:
        self._check("allocate", descriptor)
        super().allocate(descriptor, size_bytes)

    def fdatasync(self, descriptor: int) -> None:
        self._check("fdatasync", descriptor)


class TearingDisk(QuickDisk):
    """Once `keep` is set, the next record is written through it and the write fails: power is cut."""

    def __init__(self) -> None:
        self.keep: Callable[[bytes, int], bytes] | None = None

    def pwrite(self, descriptor: int, data: Bytes, offset: int) -> int:
        if self.keep is None or not name_of(descriptor).startswith("wal-"):
            return super().pwrite(descriptor, data, offset)
        super().pwrite(descriptor, self.keep(bytes(data), offset), offset)
        raise OSError(errno.EIO, "power cut")


class HoldingDisk(Disk):
    """Syncs of the log wait until they are released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.released.set()
        self.waiting = threading.Event()

    def fdatasync(self, descriptor: int) -> None:
        if name_of(descriptor).startswith("wal-"):
            self.waiting.set()
            assert self.released.wait(10)
        super().fdatasync(descriptor)


class TracingDisk(QuickDisk):
    """Writes down the calls, each with the file it was for and what `look` saw at that moment."""

    def __init__(self, look: Callable[[], Any] = lambda: None) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.look = look

    def pwrite(self, descriptor: int, data: Bytes, offset: int) -> int:
        self.calls.append(("pwrite", name_of(descriptor), self.look()))
        return super().pwrite(descriptor, data, offset)

    def allocate(self, descriptor: int, size_bytes: int) -> None:
        self.calls.append(("allocate", name_of(descriptor), self.look()))
        super().allocate(descriptor, size_bytes)

    def fdatasync(self, descriptor: int) -> None:
        self.calls.append(("fdatasync", name_of(descriptor), self.look()))

    def rename(self, source: Path, target: Path) -> None:
        self.calls.append(("rename", target.name, self.look()))
        super().rename(source, target)

    def sync_directory(self, directory: Path) -> None:
        self.calls.append(("sync_directory", directory.name, self.look()))
