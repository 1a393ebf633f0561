"""A disk whose power can be cut: what was not synced is then there in part, or not at all."""

import errno
import itertools
import os
import random
import threading
from collections.abc import Sequence
from pathlib import Path

from raft_zmq.storage.disk import Bytes, Disk

SECTOR_BYTES = 512


class _File:
    """What the medium surely holds of one file, and what was written since."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = os.dup(descriptor)  # so that no other file gets its inode number
        self.durable = bytearray()
        self.written: list[tuple[int, bytes]] = []

    def synced(self) -> None:
        self.durable = self._with(self.written)
        self.written.clear()

    def not_synced(self) -> None:
        """The kernel keeps showing what it could not write, and takes it for written: no later sync will write it."""
        self.written.clear()

    def after_the_cut(self, rng: random.Random) -> bytes:
        """Any of the sectors written since the last sync may have made it."""
        share = rng.choice([0.0, 0.5, 1.0])
        return bytes(
            self._with([piece for write in self.written for piece in _sectors(*write) if rng.random() < share])
        )

    def _with(self, writes: list[tuple[int, bytes]]) -> bytearray:
        content = bytearray(self.durable)
        for offset, data in writes:
            content += bytes(max(0, offset + len(data) - len(content)))
            content[offset : offset + len(data)] = data
        return content


def _sectors(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    """A write as the sectors it goes into."""
    end = offset + len(data)
    bounds = [offset, *range(offset - offset % SECTOR_BYTES + SECTOR_BYTES, end, SECTOR_BYTES), end]
    return [(start, data[start - offset : until - offset]) for start, until in itertools.pairwise(bounds)]


class PowerCutDisk(Disk):
    """Fails all calls from the one on that `cut_after` counts down to; `leave` then shows what a start finds.

    The one sync that `fail_sync_after` counts down to fails by itself, and the machine runs on.

    Names change in order, as in a journal: after the cut the directory is as it was at some moment since it was synced.
    """

    def __init__(self, directory: Path, rng: random.Random) -> None:
        self.cut_after: int | None = None
        self.fail_sync_after: int | None = None
        self.off = False
        self._directory = directory
        self._rng = rng
        self._lock = threading.Lock()  # the spare segment is made by a thread
        self._files: dict[int, _File] = {}
        directory.mkdir(exist_ok=True)
        for path in directory.iterdir():
            with path.open("rb") as file:
                self._file(file.fileno()).durable = bytearray(path.read_bytes())
        self._names = [self._listed()]  # since the last sync of the directory, in order

    def pwrite(self, descriptor: int, data: Bytes, offset: int) -> int:
        with self._lock:
            file = self._file(descriptor)
            file.written.append((offset, bytes(data)))
            self._may_go_off()
            return super().pwrite(descriptor, data, offset)

    def pwritev(self, descriptor: int, pieces: Sequence[Bytes], offset: int) -> int:
        return self.pwrite(descriptor, b"".join(pieces), offset)

    def allocate(self, descriptor: int, size_bytes: int) -> None:
        with self._lock:
            file = self._file(descriptor)
            found_bytes = os.fstat(descriptor).st_size
            file.written.append((found_bytes, bytes(max(0, size_bytes - found_bytes))))
            self._may_go_off()
            super().allocate(descriptor, size_bytes)

    def fdatasync(self, descriptor: int) -> None:
        with self._lock:
            self._may_go_off()
            file = self._file(descriptor)
            if self._sync_fails():
                file.not_synced()
                raise OSError(errno.EIO, "Input/output error")
            file.synced()

    def rename(self, source: Path, target: Path) -> None:
        with self._lock:
            self._may_go_off()
            super().rename(source, target)
            self._names.append(self._listed())

    def sync_directory(self, directory: Path) -> None:
        with self._lock:
            self._may_go_off()
            self._names = [self._listed()]

    def stays_on(self) -> bool:
        """Whether there is power; then nothing more fails. The spare segment's thread may have cut it meanwhile."""
        with self._lock:
            if not self.off:
                self.cut_after = self.fail_sync_after = None
            return not self.off

    def leave(self, target: Path) -> None:
        """Write down what is left after the cut."""
        with self._lock:
            self.off = True
            self._names.append(self._listed())
            target.mkdir()
            for name, inode in self._rng.choice(self._names).items():
                file = self._files.get(inode)
                (target / name).write_bytes(file.after_the_cut(self._rng) if file is not None else b"")

    def close(self) -> None:
        for file in self._files.values():
            os.close(file.descriptor)

    def _may_go_off(self) -> None:
        if self.cut_after is not None:
            self.cut_after -= 1
            self.off = self.off or self.cut_after < 0
        if self.off:
            raise OSError(errno.EIO, "power cut")
        self._names.append(self._listed())

    def _sync_fails(self) -> bool:
        if self.fail_sync_after is None:
            return False
        self.fail_sync_after -= 1
        return self.fail_sync_after == -1

    def _file(self, descriptor: int) -> _File:
        inode = os.fstat(descriptor).st_ino
        if inode not in self._files:
            self._files[inode] = _File(descriptor)
        return self._files[inode]

    def _listed(self) -> dict[str, int]:
        return {entry.name: entry.inode() for entry in os.scandir(self._directory) if entry.is_file()}
