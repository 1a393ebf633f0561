"""What can be wrong with a data directory, and what an opening repaired."""

from pathlib import Path

import msgspec

from raft_zmq.core.errors import StorageError


class DataDirectoryError(StorageError):
    """The data directory cannot be this node's: a person chose the wrong one. Nothing in it has been changed."""

    exit_code = 2


class DiskFullError(StorageError):
    """There was no room, found out before anything was half written: the same call may be made again later."""


class CorruptionError(StorageError):
    """Something that was once safe on disk is damaged or missing at `offset` of `file`; nothing has been changed."""

    def __init__(self, file: Path, offset: int, reason: str) -> None:
        super().__init__(
            f"{file}, offset {offset}: {reason}. Nothing was cut, for acknowledged entries may be lost: restore the "
            "data directory, or move it away and let the node come back as a new member."
        )
        self.file = file
        self.offset = offset
        self.reason = reason


class Repair(msgspec.Struct, frozen=True):
    """What an opening changed on disk, without loss of anything that was ever synced: the line `storage_repaired`."""

    file: str  # its name in the data directory
    offset: int
    bytes: int  # how many of them were cut (or added)
    reason: str
