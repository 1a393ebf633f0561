"""Small disks and read-only ones, mounted for one test."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MakeDisk = Callable[..., "SmallDisk"]


class SmallDisk:
    """A file system of its own, in memory, that a test can fill up and make room on."""

    def __init__(self, place: Path, size_bytes: int) -> None:
        place.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place))
        self.place = place
        self._ballast = place / "ballast"

    def fill(self, leave_bytes: int = 0) -> None:
        """Take all but so much of what is free."""
        found = os.statvfs(self.place)
        with self._ballast.open("ab") as ballast:
            ballast.write(bytes(max(0, found.f_bavail * found.f_frsize - leave_bytes)))

    def make_room(self) -> None:
        """Give back what `fill` has taken."""
        self._ballast.unlink()

    def make_read_only(self) -> None:
        _run("mount", "-o", "remount,ro", str(self.place))

    def unmount(self) -> None:
        _run("umount", "--lazy", str(self.place))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=10)


@pytest.fixture
def small_disk() -> Iterator[MakeDisk]:
    """Call it with a folder and a size. Name it before `start_cluster`, whose nodes end before the disk goes."""
    disks: list[SmallDisk] = []

    def make(place: Path, size_bytes: int) -> SmallDisk:
        disks.append(SmallDisk(place, size_bytes))
        return disks[-1]

    yield make
    for disk in disks:
        disk.unmount()
