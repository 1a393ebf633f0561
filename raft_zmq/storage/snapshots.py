"""The snapshots of a data directory: which is the newest, making one, receiving one.

A snapshot is written aside in a `.tmp` file, synced, renamed, and the directory synced (rule 28); then, and only then,
the older ones go. What was left aside by a crash is removed when the directory is opened.
"""

import contextlib
import os
import re
import threading
from pathlib import Path
from typing import Self

import msgspec

from raft_zmq.core.errors import PeerError, StorageError
from raft_zmq.core.messages import InstallSnapshot
from raft_zmq.storage.disk import SLICE_BYTES, Disk, free, storage_error, unlink_held, write_all
from raft_zmq.storage.errors import CorruptionError
from raft_zmq.storage.snapshot_file import (
    CHUNK,
    END,
    META,
    SnapshotMeta,
    SnapshotReader,
    check_chunk,
    encode_block,
    encode_end,
    snapshot_path,
    verify,
)

SNAPSHOT_NAME = re.compile(r"snapshot-(\d+)-(\d+)\.snap")
RECEIVED_FILE = "received.tmp"


class SnapshotInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The newest snapshot."""

    meta: SnapshotMeta
    path: Path
    total_bytes: int


class SnapshotStore:
    """Keeps exactly one snapshot, the newest. `publish` may be called from any thread."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        """Find the newest snapshot; raises CorruptionError if it is damaged. Changes nothing; see `tidy`."""
        self.directory = directory
        self.disk = disk
        self._publishing = threading.Lock()
        self._opening = threading.Lock()  # no reader opens a file whose name is being removed; held for a moment only
        self._readers: list[SnapshotReader] = []
        names = [SNAPSHOT_NAME.fullmatch(path.name) for path in directory.iterdir()]
        found = sorted((int(name[1]), int(name[2])) for name in names if name)
        self.newest = self._inspect(*found[-1]) if found else None

    def tidy(self) -> None:
        """Remove what a crash left: files aside, and snapshots older than the newest."""
        for path in self.directory.iterdir():
            old = SNAPSHOT_NAME.fullmatch(path.name) and self.newest is not None and path != self.newest.path
            if old or path.suffix == ".tmp":
                path.unlink(missing_ok=True)

    def publish(self, aside: Path, meta: SnapshotMeta, total_bytes: int) -> None:
        """Make a synced file the newest snapshot, unless there is a newer one by now. Raises OSError."""
        with self._publishing:
            former = self.newest
            if former is not None and former.meta.index >= meta.index:
                aside.unlink()
                return
            path = snapshot_path(self.directory, meta.index, meta.term)
            self.disk.rename(aside, path)
            self.disk.sync_directory(self.directory)
            with self._opening:
                self.newest = SnapshotInfo(meta=meta, path=path, total_bytes=total_bytes)
                if former is not None:
                    self._remove(former.path)

    def open_newest(self, of: tuple[int, int] | None = None) -> SnapshotReader | None:
        """A reader of the newest snapshot, if there is one and it is of that (index, term); the caller closes it.

        It stays readable after a newer snapshot has replaced it.
        """
        with self._opening:
            newest = self.newest
            if newest is None or of not in (None, (newest.meta.index, newest.meta.term)):
                return None
            reader = SnapshotReader(newest.path)
            self._readers = [each for each in self._readers if not each.closed]
            self._readers.append(reader)
            return reader

    def _remove(self, path: Path) -> None:
        if any(reader.path == path and not reader.closed for reader in self._readers):
            path.unlink(missing_ok=True)  # its blocks are still needed, and go with the reader
            return
        with contextlib.suppress(FileNotFoundError):
            free([unlink_held(path)])

    def _inspect(self, index: int, term: int) -> SnapshotInfo:
        path = snapshot_path(self.directory, index, term)
        with SnapshotReader(path) as reader:
            if (reader.meta.index, reader.meta.term) != (index, term):
                found = (reader.meta.index, reader.meta.term)
                raise CorruptionError(path, 0, f"expected the snapshot of {(index, term)}, found that of {found}")
            return SnapshotInfo(meta=reader.meta, path=path, total_bytes=reader.total_bytes)


class _AsideFile:
    """A file being written aside: buffered, synced every SLICE_BYTES. Any failure removes it."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self.total_bytes = 0
        self._disk = disk
        self._buffer = bytearray()
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise storage_error(path, error) from error

    def append(self, data: bytes) -> None:
        self._buffer += data
        self.total_bytes += len(data)
        if len(self._buffer) >= SLICE_BYTES:
            self.sync()

    def sync(self) -> None:
        """Bring what is buffered to the medium, in slices."""
        start = self.total_bytes - len(self._buffer)
        try:
            with memoryview(self._buffer) as view:
                for offset in range(0, len(view), SLICE_BYTES):
                    write_all(self._disk, self._descriptor, view[offset : offset + SLICE_BYTES], start + offset)
                    self._disk.fdatasync(self._descriptor)
        except OSError as error:
            self.remove()
            raise storage_error(self.path, error) from error
        self._buffer.clear()

    def publish(self, store: SnapshotStore, meta: SnapshotMeta) -> None:
        self.sync()
        try:
            store.publish(self.path, meta, self.total_bytes)
        except OSError as error:
            self.remove()
            raise storage_error(self.path, error) from error
        os.close(self._descriptor)
        self._descriptor = -1

    def remove(self) -> None:
        """Leave nothing behind; does nothing once published or removed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self.path.unlink(missing_ok=True)


class SnapshotWriter:
    """Writes one snapshot, in any one thread: `write` each chunk, then `finish`, or `abort`.

    As a context manager it aborts unless finished. All raise DiskFullError or StorageError, after which the file is
    gone and everything else as it was.
    """

    def __init__(self, store: SnapshotStore, meta: SnapshotMeta) -> None:
        self.meta = meta
        self._store = store
        path = snapshot_path(store.directory, meta.index, meta.term).with_suffix(".tmp")
        self._file = _AsideFile(path, store.disk)
        self._blocks = 0
        self._crc = 0
        self._append(META, msgspec.msgpack.encode(meta))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def write(self, chunk: bytes) -> None:
        """Add one chunk, of at most 64 MiB."""
        check_chunk(chunk)
        self._append(CHUNK, chunk)

    def finish(self) -> int:
        """Make it the newest snapshot, durably; returns the file's size in bytes."""
        self._append(END, encode_end(self._blocks - 1, self._file.total_bytes))
        self._file.publish(self._store, self.meta)
        return self._file.total_bytes

    def abort(self) -> None:
        """Leave nothing behind; after `finish` it does nothing."""
        self._file.remove()

    def _append(self, magic: bytes, data: bytes) -> None:
        header, self._crc = encode_block(magic, self._blocks, data, self._crc)
        self._blocks += 1
        self._file.append(header)
        self._file.append(data)


class SnapshotReceiver:
    """Puts together the snapshot that a leader sends in chunks of raw bytes, each behind the last.

    A break loses nothing: the same snapshot goes on at `next_offset`. The chunk at offset 0, and only that, starts
    anew, be it of the same snapshot or another.
    """

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self._of = (0, 0)
        self._file: _AsideFile | None = None

    def next_offset(self, index: int, term: int) -> int:
        """The first byte not yet received of that snapshot."""
        return self._file.total_bytes if self._file is not None and self._of == (index, term) else 0

    def receive(self, message: InstallSnapshot) -> bool:
        """Take one chunk in; True when it was the last and the snapshot is checked, durable and the newest.

        Raises PeerError, having thrown away what was received, when the bytes are out of order or make no sound
        snapshot: it is to be sent from the start. Raises DiskFullError and StorageError when the disk fails.
        """
        of = (message.last_index, message.last_term)
        if message.offset == 0:
            self.abort()
            self._of = of
            self._file = _AsideFile(self._store.directory / RECEIVED_FILE, self._store.disk)
        expected = self.next_offset(*of)
        file = self._file
        if file is None or message.offset != expected:
            self.abort()
            raise PeerError(f"snapshot of {of}: expected the chunk at {expected}, found {message.offset}. Start again.")
        try:
            file.append(message.data)
            if message.done:
                self._install(file, of)
        except (PeerError, StorageError):
            self.abort()
            raise
        return message.done

    def abort(self) -> None:
        """Throw away what was received."""
        if self._file is not None:
            self._file.remove()
            self._file = None

    def _install(self, file: _AsideFile, of: tuple[int, int]) -> None:
        file.sync()
        try:
            meta = verify(file.path)
        except CorruptionError as error:
            raise PeerError(f"snapshot of {of}: expected a sound file, found: {error.reason}. Start again.") from error
        if (meta.index, meta.term) != of:
            raise PeerError(f"snapshot of {of}: expected it, found that of {(meta.index, meta.term)}. Start again.")
        file.publish(self._store, meta)
        self._file = None
