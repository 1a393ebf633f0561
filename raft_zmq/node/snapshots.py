"""Snapshots on their way from the state machine to the disk and from a leader to the disk.

Writing one takes as long as the disk takes, so a thread does it from a frozen view of the state, while the loop goes on
(thesis 5.1.1).
"""

import threading
import time
from collections.abc import Callable, Iterator

import msgspec

from raft_zmq.core.errors import PeerError
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import InstallSnapshot
from raft_zmq.node.mailbox import Mailbox
from raft_zmq.observability.events import SnapshotTaken
from raft_zmq.state_machine.replica import Replica
from raft_zmq.storage.snapshots import SnapshotWriter
from raft_zmq.storage.storage import Storage

Written = Callable[[SnapshotTaken], None]
Failed = Callable[[Exception], None]


class Snapshots:
    """Of one node. `written` and `failed` are called in the loop when a snapshot that was begun has ended."""

    def __init__(self, storage: Storage, replica: Replica, mailbox: Mailbox, written: Written, failed: Failed) -> None:
        self._storage = storage
        self._replica = replica
        self._mailbox = mailbox
        self._written = written
        self._failed = failed
        self._thread: threading.Thread | None = None

    @property
    def under_way(self) -> bool:
        """Whether one is being written."""
        return self._thread is not None

    def begin(self, membership: Membership) -> None:
        """Freeze the applied state, as of last_applied and under that membership, and write it from a thread."""
        assert self._thread is None
        replica = self._replica
        taken = SnapshotTaken(
            index=replica.last_applied,
            entry_term=replica.last_applied_term,
            digest=replica.digest,
            total_bytes=0,
            seconds=0.0,
        )
        chunks = replica.snapshot()
        writer = self._storage.snapshot_writer(taken.index, taken.entry_term, membership, taken.digest.encode())
        self._thread = threading.Thread(target=self._write, args=(writer, chunks, taken), name="snapshot", daemon=True)
        self._thread.start()

    def _write(self, writer: SnapshotWriter, chunks: Iterator[bytes], taken: SnapshotTaken) -> None:
        begun_s = time.monotonic()
        try:
            with writer:
                for chunk in chunks:
                    writer.write(chunk)
                total_bytes = writer.finish()
        except Exception as error:  # noqa: BLE001  # the loop decides, and raises it
            self._tell(self._failed, error)
            return
        seconds = time.monotonic() - begun_s
        self._tell(self._written, msgspec.structs.replace(taken, total_bytes=total_bytes, seconds=seconds))

    def _tell(self, callback: Callable[..., None], result: object) -> None:
        def ended() -> None:
            self._thread = None
            callback(result)

        self._mailbox.post(ended)

    def receive(self, chunk: InstallSnapshot) -> tuple[bool, str]:
        """Write a leader's chunk aside; after the last one restore the state machine.

        Returns (True, "") when the snapshot is installed, (False, why) when it is to be sent again, (False, "") while
        more is to come. Raises DiskFullError, with nothing kept, and StorageError when the disk fails.
        """
        try:
            if not self._storage.receive_chunk(chunk):
                return False, ""
        except PeerError as error:
            return False, str(error)
        self.restore()
        return True, ""

    def restore(self) -> None:
        """Bring the state machine to where the newest snapshot is, if there is one. Raises StorageError on damage."""
        reader = self._storage.open_snapshot()
        if reader is not None:
            with reader:
                self._replica.restore(reader.chunks())
