"""Whose data directory this is: `identity.json`, drawn once, and the lock that lets one process in at a time.

The incarnation tells a node from itself with another disk: a node that lost its data gets a new one, and so can never
vote again as the member it was (rule 15).
"""

import fcntl
import json
import os
import secrets
import zlib
from pathlib import Path

import msgspec

from raft_zmq.storage.disk import Disk, write_durably
from raft_zmq.storage.errors import CorruptionError, DataDirectoryError
from raft_zmq.storage.record import UNREADABLE

FORMAT_VERSION = 1  # of everything in the directory: identity, log and snapshots
IDENTITY_FILE = "identity.json"
LOCK_FILE = "LOCK"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What `identity.json` says, apart from its checksum."""

    format: int = FORMAT_VERSION
    cluster_id: str
    node_id: str
    incarnation: str  # 16 random hex digits


def lock(directory: Path) -> int:
    """Make the directory if need be and lock it until the returned descriptor is closed.

    Raises DataDirectoryError if it cannot be used, or is in use by another process.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        next(directory.iterdir(), None)
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DataDirectoryError(
            f"data_dir {directory}: expected a folder this process may read and write, found: {error}. "
            "Set RAFT_DATA_DIR to another one, or mend its owner and mode."
        ) from error
    _lock(directory, descriptor)
    return descriptor


def lock_existing(directory: Path) -> int:
    """The same of a directory that a node has used, changing nothing in it."""
    try:
        descriptor = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DataDirectoryError(
            f"{directory}: expected the data directory of a node, found: {error}. Name the one RAFT_DATA_DIR names."
        ) from error
    _lock(directory, descriptor)
    return descriptor


def _lock(directory: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DataDirectoryError(
            f"data_dir {directory}: expected it to be free, found it locked by another process ({error.strerror}). "
            "Stop that node, or give this one a folder of its own."
        ) from error


def load(directory: Path, cluster_id: str, node_id: str) -> Identity | None:
    """The identity found, checked to be this node's; None in a directory that has none.

    Raises DataDirectoryError for another node's, another cluster's or a newer version's directory, and
    CorruptionError for a damaged file.
    """
    path = directory / IDENTITY_FILE
    found = read(directory)
    if found is None:
        return None
    for name, expected in (("cluster_id", cluster_id), ("node_id", node_id)):
        if getattr(found, name) != expected:
            raise DataDirectoryError(
                f"{path}: expected {name} {expected!r}, found {getattr(found, name)!r}: the data of another "
                f"{'cluster' if name == 'cluster_id' else 'node'}. Set RAFT_DATA_DIR or RAFT_{name.upper()} right."
            )
    return found


def read(directory: Path) -> Identity | None:
    """The identity found, whosever it is; None in a directory that has none. Raises as `load` does."""
    path = directory / IDENTITY_FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataDirectoryError(
            f"{path}: expected a readable file, found: {error}. Mend its owner and mode."
        ) from error
    return _decode(path, text)


def create(directory: Path, cluster_id: str, node_id: str, disk: Disk) -> Identity:
    """Draw a new incarnation and make it durable; raises OSError."""
    identity = Identity(cluster_id=cluster_id, node_id=node_id, incarnation=secrets.token_hex(8))
    fields = msgspec.to_builtins(identity) | {"crc32": _checksum(identity)}
    write_durably(disk, directory / IDENTITY_FILE, (json.dumps(fields, indent=2) + "\n").encode())
    return identity


def _decode(path: Path, text: bytes) -> Identity:
    try:
        fields = msgspec.json.decode(text, type=dict[str, object])
        version = fields.get("format")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise DataDirectoryError(
                f"{path}: expected format {FORMAT_VERSION} or older, found {version}. Start the newer release that "
                "wrote it, or one that knows it."
            )
        identity = msgspec.convert(fields, Identity)
    except UNREADABLE as error:
        raise CorruptionError(path, 0, f"expected the identity that a node wrote, found: {error}") from error
    if fields.get("crc32") != _checksum(identity):
        raise CorruptionError(
            path, 0, f"expected crc32 {_checksum(identity)!r} for these fields, found {fields.get('crc32')!r}"
        )
    return identity


def _checksum(identity: Identity) -> str:
    return f"{zlib.crc32(msgspec.json.encode(identity)):08x}"
