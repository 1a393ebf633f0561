"""What is wrong with a data directory, found without changing it, and what a repair would do and lose."""

from pathlib import Path

import msgspec

from raft_zmq.core import membership as memberships
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import EntryKind, HardState
from raft_zmq.storage import identity as identities
from raft_zmq.storage.errors import CorruptionError, Repair
from raft_zmq.storage.identity import Identity
from raft_zmq.storage.record import ALIGNMENT_BYTES, MAGIC, UNREADABLE, decode, read_frame
from raft_zmq.storage.replay import Replay, read_log, segment_files
from raft_zmq.storage.snapshot_file import SnapshotMeta, verify
from raft_zmq.storage.snapshots import SNAPSHOT_NAME, SnapshotInfo
from raft_zmq.storage.storage import check_whole


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """What sound records behind the damage tell of what a repair gives up; there may have been more."""

    last_index: int = 0  # the highest entry seen
    commit_index: int = 0  # the highest index that was known to be committed
    hard_state: HardState | None = None  # the newest


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair would do: remove files, cut one, and draw a new incarnation if anything synced is lost by it."""

    remove: tuple[Path, ...] = ()
    cut: tuple[Path, int] | None = None  # blank that file from there on
    start_over: bool = False  # nothing is left: the node comes back with an empty disk
    lost: Lost | None = None  # None: nothing that was ever synced


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. Without `damages` it is sound: a start puts `notes` right by itself, and loses nothing by it."""

    identity: Identity | None
    replay: Replay  # the log, up to the first damage
    snapshot: SnapshotInfo | None  # the newest one that is sound to its last byte
    notes: tuple[Repair, ...]
    damages: tuple[CorruptionError, ...]
    plan: Plan | None  # where there are damages

    @property
    def membership(self) -> Membership:
        """Who the members were, as far as the log can be read."""
        for entry in reversed(self.replay.entries):
            if entry.kind is EntryKind.CONFIGURATION:
                return memberships.decode(entry.data)
        return self.snapshot.meta.membership if self.snapshot else self.replay.base_membership

    @property
    def last(self) -> tuple[int, int]:
        """(index, term) of the last entry that log or snapshot hold."""
        covered = (self.snapshot.meta.index, self.snapshot.meta.term) if self.snapshot else (0, 0)
        return max(self.replay.last, covered)


def examine(directory: Path) -> Report:
    """Read everything, to the last byte. The caller holds the lock (`identities.lock_existing`).

    Raises DataDirectoryError for a directory of a newer format, StorageError when the disk fails.
    """
    damages: list[CorruptionError] = []
    identity = None
    try:
        identity = identities.read(directory)
    except CorruptionError as damage:
        damages.append(damage)
    identity_damaged = bool(damages)
    snapshot, bad_snapshots = _snapshots(directory, damages)
    replay = Replay()
    log_damage = None
    try:
        read_log(directory, replay)
    except CorruptionError as damage:
        log_damage = damage
        damages.append(damage)
    whole = True
    try:
        if not identity_damaged and (log_damage is None or replay.segments):
            check_whole(directory, identity, replay, snapshot)
    except CorruptionError as damage:
        whole = False
        damages.append(damage)
    notes = (replay.torn,) if replay.torn is not None else ()
    plan = None
    if damages:
        usable = whole and identity is not None
        plan = _plan(directory, log_damage, bad_snapshots) if usable else None
        plan = plan or Plan(start_over=True, remove=data_files(directory), lost=_seen(directory, Path(), 0))
    return Report(identity=identity, replay=replay, snapshot=snapshot, notes=notes, damages=tuple(damages), plan=plan)


def data_files(directory: Path) -> tuple[Path, ...]:
    """Every file of the directory but the lock; folders in it, backups among them, are nobody's business here."""
    return tuple(path for path in sorted(directory.iterdir()) if path.is_file() and path.name != identities.LOCK_FILE)


def _snapshots(directory: Path, damages: list[CorruptionError]) -> tuple[SnapshotInfo | None, list[Path]]:
    """The newest sound snapshot, and the newer ones that are damaged."""
    bad: list[Path] = []
    matches = [(SNAPSHOT_NAME.fullmatch(path.name), path) for path in directory.iterdir()]
    found = sorted(((int(match[1]), int(match[2])), path) for match, path in matches if match)
    for named, path in reversed(found):
        try:
            meta = _verified(path, named)
        except CorruptionError as damage:
            damages.append(damage)
            bad.append(path)
        else:
            return SnapshotInfo(meta=meta, path=path, total_bytes=path.stat().st_size), bad
    return None, bad


def _verified(path: Path, named: tuple[int, int]) -> SnapshotMeta:
    meta = verify(path)
    if (meta.index, meta.term) != named:
        raise CorruptionError(path, 0, f"expected the snapshot of {named}, found that of {(meta.index, meta.term)}")
    return meta


def _plan(directory: Path, log_damage: CorruptionError | None, bad_snapshots: list[Path]) -> Plan | None:
    """Keep the log up to its damage; None if nothing is left of it then."""
    if log_damage is None:
        return Plan(remove=tuple(bad_snapshots))
    later = [path for _, path in segment_files(directory) if path.name > log_damage.file.name]
    cut: tuple[Path, int] | None = (log_damage.file, log_damage.offset)
    if not log_damage.offset:  # the file is missing, or no record of it is sound
        later += [log_damage.file] if log_damage.file.exists() else []
        cut = None
    if len(later) == len(segment_files(directory)):
        return None
    lost = _seen(directory, log_damage.file, log_damage.offset)
    return Plan(remove=(*sorted(later), *bad_snapshots), cut=cut, lost=lost)


def _seen(directory: Path, file: Path, offset: int) -> Lost:
    """Look for sound records from there on, whatever stands between them."""
    lost = Lost()
    for number, path in segment_files(directory):
        if path.name < file.name:
            continue
        data = path.read_bytes()
        position = data.find(MAGIC, offset if path == file else 0)
        with memoryview(data) as view:
            while position != -1:
                if position % ALIGNMENT_BYTES == 0:
                    lost = _with_record(lost, view, position, number)
                position = data.find(MAGIC, position + 1)
    return lost


def _with_record(lost: Lost, view: memoryview, position: int, number: int) -> Lost:
    frame = read_frame(view, position, number)
    if frame is None:
        return lost
    try:
        record = decode(frame.body)
    except UNREADABLE:
        return lost
    hard_state = record.hard_state or lost.hard_state
    return Lost(
        last_index=max([lost.last_index, *(entry.index for entry in record.entries)]),
        commit_index=max(lost.commit_index, hard_state.commit_index if hard_state else 0),
        hard_state=hard_state,
    )
