"""Everything a node keeps on disk, behind one door: identity, log and snapshots of a data directory."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Entry, HardState, InstallSnapshot
from raft_zmq.core.stored import Stored
from raft_zmq.storage import identity as identities
from raft_zmq.storage.disk import Disk, storage_error
from raft_zmq.storage.errors import CorruptionError, Repair
from raft_zmq.storage.identity import IDENTITY_FILE, Identity
from raft_zmq.storage.replay import Replay, read_log, segment_path
from raft_zmq.storage.snapshot_file import SnapshotMeta, SnapshotReader
from raft_zmq.storage.snapshots import SnapshotInfo, SnapshotReceiver, SnapshotStore, SnapshotWriter
from raft_zmq.storage.wal import Wal


class Storage:
    """The data directory of one running node; made by `open`.

    `stored` is what the opening found, for the core to start from, and `repairs` what it had to change for that.
    Every method may raise StorageError, which ends the node, and DiskFullError, which leaves everything as it was.
    """

    def __init__(self, identity: Identity, wal: Wal, snapshots: SnapshotStore, chunk_bytes: int) -> None:
        self.identity = identity
        self.stored = Stored()
        self.repairs = list(wal.repairs)
        self._wal = wal
        self._snapshots = snapshots
        self._receiver = SnapshotReceiver(snapshots)
        self._sending: SnapshotReader | None = None
        self._chunk_bytes = chunk_bytes
        self._held = contextlib.ExitStack()  # what `close` lets go of
        self._held.callback(self._receiver.abort)
        self._held.callback(self._close_sending)

    @classmethod
    def open(
        cls,
        data_dir: str | Path,
        *,
        cluster_id: str,
        node_id: str,
        segment_bytes: int = 16 << 20,
        snapshot_chunk_bytes: int = 256 << 10,
        disk: Disk | None = None,
    ) -> Self:
        """Lock the directory, check whose it is, read it back, and repair a torn tail; makes what is not there yet.

        Raises DataDirectoryError when the directory is not this node's to use and CorruptionError when something in it
        is damaged (neither has changed anything), DiskFullError and StorageError.
        """
        directory = Path(data_dir)
        disk = disk or Disk()
        with contextlib.ExitStack() as held:
            held.callback(os.close, identities.lock(directory))
            try:
                identity = identities.load(directory, cluster_id, node_id)
                snapshots = SnapshotStore(directory, disk)
                replay = read_log(directory)
                check_whole(directory, identity, replay, snapshots.newest)
                snapshots.tidy()
                wal = Wal(directory, replay, segment_bytes, disk)
                held.callback(wal.close)
                # The log is made first and the identity last: where there is an identity, a log has been.
                identity = identity or identities.create(directory, cluster_id, node_id, disk)
            except OSError as error:
                raise storage_error(directory, error) from error
            storage = cls(identity, wal, snapshots, snapshot_chunk_bytes)
            storage._match_log_to_snapshot(replay)
            storage.stored = storage._describe(replay)
            storage._held.push(held.pop_all())
        return storage

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and lock. What was written and not synced is dropped, as is a snapshot half received."""
        self._held.close()

    def forget_stored(self) -> None:
        """Let the memory of the entries read at `open` go; to be called once the core has them."""
        self.stored = Stored()

    @property
    def wal_bytes(self) -> int:
        """Bytes of the log's records on disk; it falls when `compact` deletes segments."""
        return self._wal.used_bytes

    @property
    def disk_full(self) -> bool:
        """Whether there was no room for the log's next segment.

        It shows while about half of the present segment is still free: time to refuse new commands, and to call
        `retry_allocation` now and then.
        """
        return self._wal.disk_full

    @property
    def room_bytes(self) -> int:
        """What the log can still take while `disk_full`, in records."""
        return self._wal.room_bytes

    @property
    def segment_bytes(self) -> int:
        """Size of one file of the log; only one made for a larger record is larger."""
        return self._wal.segment_bytes

    @property
    def snapshot(self) -> SnapshotInfo | None:
        """The newest snapshot."""
        return self._snapshots.newest

    def write(
        self,
        hard_state: HardState | None = None,
        base_membership: Membership | None = None,
        entries: Sequence[Entry] = (),
        reset_to: tuple[int, int] | None = None,
    ) -> None:
        """Buffer one record; see `Wal.write`. Touches no disk."""
        self._wal.write(hard_state, base_membership, entries, reset_to)

    def sync(self) -> None:
        """Return once what was written is on the medium; see `Wal.sync`. May be called in another thread."""
        self._wal.sync()

    def retry_allocation(self) -> None:
        """When `disk_full`: see, in the background, whether there is room by now."""
        self._wal.retry_allocation()

    def compact(self, first_index_to_keep: int, *, sending: bool = False) -> None:
        """Delete what of the log comes wholly before that index, and never what the snapshot does not cover.

        Unless a snapshot is being sent, let go of the one that was: a newer one may have taken its place, and its
        blocks are free only when nobody has it open.
        """
        if not sending:
            self._close_sending()
        covered = self.snapshot.meta.index if self.snapshot else 0
        self._wal.compact(min(first_index_to_keep, covered + 1))

    def snapshot_writer(self, index: int, term: int, membership: Membership, digest: bytes = b"") -> SnapshotWriter:
        """Begin a snapshot of the state after (index, term); the writer may be used in a thread of its own."""
        return SnapshotWriter(self._snapshots, SnapshotMeta(index, term, membership, digest))

    def open_snapshot(self) -> SnapshotReader | None:
        """The newest snapshot, to restore the state machine from; the caller closes it. None if there is none."""
        return self._snapshots.open_newest()

    def fill_chunk(self, message: InstallSnapshot) -> InstallSnapshot | None:
        """The message with the bytes at its offset put in; None when that snapshot has given way to a newer one."""
        reader = self._reader_of(message.last_index, message.last_term)
        if reader is None:
            return None
        data = reader.read_at(message.offset, self._chunk_bytes)
        done = message.offset + len(data) >= reader.total_bytes
        return msgspec.structs.replace(message, data=data, done=done, total_bytes=reader.total_bytes)

    def receive_chunk(self, message: InstallSnapshot) -> bool:
        """Take in a chunk; True once the snapshot is whole, durable and the newest. See `SnapshotReceiver.receive`."""
        return self._receiver.receive(message)

    def next_snapshot_offset(self, index: int, term: int) -> int:
        """The first byte not yet received of that snapshot."""
        return self._receiver.next_offset(index, term)

    def _reader_of(self, index: int, term: int) -> SnapshotReader | None:
        """A reader that stays open from chunk to chunk, so that the file outlives its replacement meanwhile."""
        of = (index, term)
        if self._sending is not None and (self._sending.meta.index, self._sending.meta.term) == of:
            return self._sending
        reader = self._snapshots.open_newest(of)
        if reader is not None:
            self._close_sending()
            self._sending = reader
        return reader

    def _close_sending(self) -> None:
        if self._sending is not None:
            self._sending.close()
            self._sending = None

    def _match_log_to_snapshot(self, replay: Replay) -> None:
        """After a crash between the installing of a snapshot and the write that goes with it: finish it (rule 20).

        A log that holds the snapshot's last entry keeps what follows it; any other goes, down to the last entry.
        """
        if self.snapshot is None:
            return
        meta = self.snapshot.meta
        if replay.term_at(meta.index) == meta.term:
            return
        reason = f"the log does not lead to the snapshot of {(meta.index, meta.term)}: all of its entries were dropped"
        last = replay.segments[-1]
        self.repairs.append(Repair(last.path.name, last.used_bytes, 0, reason))
        if replay.hard_state.current_term < meta.term:
            replay.hard_state = HardState(meta.term, "", replay.hard_state.commit_index)
        replay.reset((meta.index, meta.term))
        self.write(hard_state=replay.hard_state, reset_to=replay.last)
        self.sync()

    def _describe(self, replay: Replay) -> Stored:
        found = Stored(
            hard_state=replay.hard_state,
            base_membership=replay.base_membership,
            entries=tuple(replay.entries),
            start_term=replay.start_term,
        )
        if self.snapshot is None:
            return found
        meta = self.snapshot.meta
        return msgspec.structs.replace(
            found,
            snapshot_index=meta.index,
            snapshot_term=meta.term,
            snapshot_membership=meta.membership,
            snapshot_bytes=self.snapshot.total_bytes,
        )


def check_whole(directory: Path, identity: Identity | None, replay: Replay, snapshot: SnapshotInfo | None) -> None:
    """Whether the parts that must be there are: identity with log, log with snapshot. Raises CorruptionError."""
    first_log_file = replay.segments[0].path if replay.segments else segment_path(directory, 1)
    if identity is None and (replay.next_sequence > 2 or snapshot is not None):  # record 1 may be there after a crash
        raise CorruptionError(
            directory / IDENTITY_FILE, 0, "expected it beside the log and snapshots, found it missing"
        )
    if identity is not None and not replay.segments:
        raise CorruptionError(first_log_file, 0, "expected the log that goes with the identity, found it missing")
    covered = snapshot.meta.index if snapshot else 0
    if replay.start_index > covered:
        raise CorruptionError(
            first_log_file,
            0,
            f"expected the log to begin at entry {covered + 1} or before, found {replay.start_index + 1}",
        )
