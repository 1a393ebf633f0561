"""Making a damaged data directory one that a node starts on: what is lost is lost, and a backup has all that was there.

A node that lost anything it had synced may have promised it: an entry it acknowledged, a vote it gave. So it gets a new
incarnation, as after the loss of its disk: the cluster takes it for a new server, which has no vote until it has been
brought up to date and promoted (rule 15).
"""

import os
import shutil
import time
from pathlib import Path

from raft_zmq.core.errors import SettingsError
from raft_zmq.storage import identity as identities
from raft_zmq.storage.check import Plan, Report, data_files, examine
from raft_zmq.storage.disk import Disk, storage_error
from raft_zmq.storage.identity import IDENTITY_FILE
from raft_zmq.storage.spare import write_zeros


def back_up(directory: Path, place: Path | None = None) -> Path:
    """Copy every file to a new folder, durably; `place` is that folder, by default one inside the directory.

    Raises StorageError, having removed what it copied, when there is no room; SettingsError if the folder exists.
    """
    place = place or directory / time.strftime("backup-%Y%m%dT%H%M%SZ", time.gmtime())
    disk = Disk()
    try:
        place.mkdir(parents=True)
    except FileExistsError as error:
        raise SettingsError(
            f"{place}: expected a folder not yet there for the backup, found one. Name another."
        ) from error
    except OSError as error:
        raise storage_error(place, error) from error
    try:
        for path in data_files(directory):
            shutil.copy2(path, place / path.name)
            with (place / path.name).open("rb") as copy:
                os.fsync(copy.fileno())
        disk.sync_directory(place)
        disk.sync_directory(place.parent)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise storage_error(place, error) from error
    return place


def repair(directory: Path, report: Report, *, keep_identity: bool = False) -> Report:
    """Carry out the report's plan, after `back_up`; returns what is there now. The caller holds the lock.

    After a crash in between the directory is damaged still, or the node a new one. Raises StorageError.
    """
    plan, identity = report.plan, report.identity
    assert plan is not None
    disk = Disk()
    try:
        # The old identity goes before anything else does: no crash leaves it with a log that looks whole and is not.
        if plan.start_over:
            (directory / IDENTITY_FILE).unlink(missing_ok=True)
        elif identity is not None and needs_new_identity(plan) and not keep_identity:
            identities.create(directory, identity.cluster_id, identity.node_id, disk)
        disk.sync_directory(directory)
        for path in reversed(plan.remove):  # the newest first: what is left is a beginning of the log
            path.unlink(missing_ok=True)
        disk.sync_directory(directory)
        if plan.cut is not None:
            _blank(*plan.cut, _made_bytes(report, plan.cut[0]), disk)
    except OSError as error:
        raise storage_error(directory, error) from error
    return examine(directory)


def needs_new_identity(plan: Plan) -> bool:
    """Whether something the node may have promised is lost, while its identity is still there."""
    return plan.lost is not None and not plan.start_over


def _blank(path: Path, start: int, end: int, disk: Disk) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        write_zeros(disk, descriptor, start, max(end, os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)


def _made_bytes(report: Report, path: Path) -> int:
    """The size that a segment was made with, as its first record tells; it may be shorter now."""
    return next((segment.size_bytes for segment in report.replay.segments if segment.path == path), 0)
