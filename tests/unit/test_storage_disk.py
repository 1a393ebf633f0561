"""Freeing the blocks of a large file that has been removed."""

import os
from pathlib import Path

from raft_zmq.storage import disk
from tests.unit.storage_disks import wait_until

SIZE_BYTES = 3 * (4 << 20) + 5


def is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


def test_a_removed_file_is_freed_piece_by_piece(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(SIZE_BYTES))
    sizes: list[int] = []
    shorten = os.ftruncate
    monkeypatch.setattr(disk.os, "ftruncate", lambda fd, size: (sizes.append(size), shorten(fd, size)))
    descriptor = disk.unlink_held(path)
    assert not path.exists()
    disk.free([descriptor])
    wait_until(lambda: is_closed(descriptor))
    assert sizes == [2 * (4 << 20) + 5, (4 << 20) + 5, 5]


def test_another_name_of_the_file_keeps_its_bytes(tmp_path: Path) -> None:
    path, backup = tmp_path / "large", tmp_path / "backup"
    path.write_bytes(bytes(SIZE_BYTES))
    backup.hardlink_to(path)
    descriptor = disk.unlink_held(path)
    disk.free([descriptor])
    wait_until(lambda: is_closed(descriptor))
    assert backup.stat().st_size == SIZE_BYTES
