"""What follows when the disk has become better or worse: the core is told, and leadership goes to a better one."""

from raft_zmq.core import handover, inputs
from raft_zmq.core.messages import DiskState
from raft_zmq.core.raft import Raft
from raft_zmq.core.state import Role
from raft_zmq.node.disk_watch import DiskWatch
from raft_zmq.observability import events
from raft_zmq.observability.log import EventLog
from raft_zmq.storage.storage import Storage

HANDOVER_PAUSE_S = 10.0  # between two attempts to hand over because of the disk


class DiskCare:
    """Of one node."""

    def __init__(self, watch: DiskWatch, storage: Storage, raft: Raft, log: EventLog) -> None:
        self._watch = watch
        self._storage = storage
        self._raft = raft
        self._log = log
        self._handover_at_s = 0.0

    def look(self, now_s: float) -> None:
        """To be called after each sync, and some times a second."""
        before = self._watch.state
        disk = self._watch.look(now_s)
        if disk is not before:
            room_bytes = self._storage.room_bytes
            changed = events.DiskStateChanged(disk=_name(disk), before=_name(before), room_bytes=room_bytes)
            self._log.emit(changed)
            self._raft.step(now_s, inputs.DiskChanged(disk))
        if disk is DiskState.GOOD or self._raft.state.role is not Role.LEADER or now_s < self._handover_at_s:
            return
        target = handover.with_better_disk(self._raft.state)
        if target:
            self._handover_at_s = now_s + HANDOVER_PAUSE_S
            self._log.emit(events.DiskHandover(target=target, disk=_name(disk)))
            self._raft.step(now_s, inputs.TransferLeadership(0, target))


def _name(disk: DiskState) -> str:
    return disk.name.lower()
