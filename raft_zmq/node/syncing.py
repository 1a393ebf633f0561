"""The sync of the disk, as the loop calls it: in the loop's own thread, or beside it while the node is overloaded."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from raft_zmq.node.faults import Faults
from raft_zmq.storage.storage import Storage

LOOK_S = 0.002  # between two looks at who has come meanwhile


class Syncing:
    """Makes durable what was written to the storage.

    A sync may take long, and who is too many is to hear so soon. While `overloaded` says that there are such, a sync
    goes to a thread of its own and `meanwhile` is called until it has ended. At other times the hand-over between the
    threads would make every write wait, for nothing.
    """

    def __init__(
        self, storage: Storage, faults: Faults, overloaded: Callable[[], bool], meanwhile: Callable[[], None]
    ) -> None:
        self._storage = storage
        self._faults = faults
        self._overloaded = overloaded
        self._meanwhile = meanwhile
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sync")

    def run(self) -> float:
        """Return once everything is on the medium: the seconds it took. Raises DiskFullError and StorageError."""
        return self._wait_for(self._executor.submit(self._sync)) if self._overloaded() else self._sync()

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown()

    def _sync(self) -> float:
        begun_s = time.monotonic()
        self._storage.sync()
        self._faults.prolong_sync()
        return time.monotonic() - begun_s

    def _wait_for(self, syncing: Future[float]) -> float:
        while wait((syncing,), LOOK_S).not_done:
            self._meanwhile()
        return syncing.result()
