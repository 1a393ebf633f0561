"""One simulated server: goes through the steps of `raft_zmq.core` and may die between any two of them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from raft_zmq.core import bootstrap
from raft_zmq.core.config import Config
from raft_zmq.core.errors import StorageError
from raft_zmq.core.events import SteppedDown
from raft_zmq.core.inputs import (
    DiskChanged,
    Input,
    SnapshotFailed,
    SnapshotGone,
    SnapshotInstalled,
    SnapshotWritten,
    Tick,
)
from raft_zmq.core.membership import Member, Membership, decode
from raft_zmq.core.messages import DiskState, InstallSnapshot, PeerMessage
from raft_zmq.core.raft import Raft
from raft_zmq.core.ready import Ready
from raft_zmq.state_machine.kv import KeyValueStore
from raft_zmq.state_machine.replica import Replica
from tests.simulation.clock import Clock
from tests.simulation.disk import CorruptionError, Disk, Record, Snapshot, seal, unseal
from tests.simulation.service import Service

if TYPE_CHECKING:
    from tests.simulation.world import World

# The places in a round where a server can be made to die, in their order.
STAGES = ("ready", "sent", "written", "synced", "half_promised", "promised", "applied", "received", "advanced")

TICK_S_MIN = 1e-4  # a wake-up that is due at once still lets the world go on


class Server:
    """A node without sockets and files: the core, its replica, its service, and a disk that outlives them."""

    def __init__(
        self,
        world: "World",
        node_id: str,
        disk: Disk,
        clock: Clock,
        config: Config,
        first_members: tuple[Member, ...],
    ) -> None:
        self.world = world
        self.node_id = node_id
        self.disk = disk
        self.clock = clock
        self.config = config
        self.first_members = first_members  # as its settings name them
        self.uniform = world.make_uniform(node_id)
        self.raft: Raft | None = None
        self.replica = Replica(KeyValueStore())
        self._service: Service | None = None
        self.life = 0  # counts starts; what was planned for an earlier life does not happen
        self.crash_at = ""  # one of STAGES
        self.sync_s = (0.0, 0.0)  # how long a sync takes, at least and at most
        self.paused_until_s = 0.0
        self.flip_next_chunk = False
        self._inbox: list[Input] = []
        self._round: Iterator[str] | None = None
        self._tick_at_s = 0.0  # world time of the planned tick; 0 is "none"
        self._snapshots: dict[int, Snapshot] = {}  # files still open for sending
        self._writing_snapshot = False

    @property
    def up(self) -> bool:
        """Whether the process runs."""
        return self.raft is not None

    @property
    def service(self) -> Service:
        """What it does for clients; only while it runs."""
        assert self._service is not None, f"{self.node_id} was never started"
        return self._service

    @property
    def now_s(self) -> float:
        """What this server's clock shows."""
        return self.clock.local_s(self.world.now_s)

    # -- life and death ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Read the disk and run. Raises CorruptionError."""
        stored = bootstrap.with_first_members(self.disk.load(), self.first_members)
        self.life += 1
        self.replica = Replica(KeyValueStore())
        if self.disk.snapshot is not None:
            self.replica.restore(unseal(self.disk.snapshot.data))
            self._open_snapshot()
        self.raft = Raft(self.config, stored, self.uniform, self.now_s)
        self._service = Service(self.replica, self.raft.state, self.deliver, self._read_asked)
        self.world.checker.started(self.raft, stored, self.disk)
        self.world.note(
            self.node_id, "started", f"t{self.raft.state.current_term}", f"log={self.raft.state.log.last_index}"
        )
        self._plan_tick(self.raft.wake_at_s())
        self._turn()

    def crash(self, why: str) -> None:
        """Die at once; what was written and not synced may be lost."""
        self.raft = None
        self._inbox, self._round, self._snapshots = [], None, {}
        self._tick_at_s, self.paused_until_s = 0.0, 0.0
        self.crash_at, self._writing_snapshot = "", False
        fate = self.disk.crash(self.world.disk_rng)
        if fate:
            self.world.counts[fate] += 1
        self.world.note(self.node_id, "crashed", why, fate)
        self.world.server_died(self)

    def pause(self, seconds: float) -> None:
        """Stand still (SIGSTOP); messages wait."""
        self.paused_until_s = self.world.now_s + seconds
        self.world.at(seconds, self._wake, self.life)

    def be_well(self) -> None:
        """End what makes this server slow or about to fail: its disk, its clock, its pause."""
        self.crash_at, self.flip_next_chunk = "", False
        self.disk.full = self.disk.failing_sync = False
        self.sync_s = self.world.options.sync_s
        self.clock.thaw(self.world.now_s)
        self.paused_until_s = 0.0
        self.world.at(0.0, self._wake, self.life)
        self.deliver(DiskChanged(DiskState.GOOD))

    # -- inputs --------------------------------------------------------------------------------------------------------

    def deliver(self, item: Input) -> None:
        """Take an input when there is time for it."""
        if self.raft is None:
            return
        self._inbox.append(item)
        if self.world.now_s >= self.paused_until_s:
            self._turn()

    def _turn(self) -> None:
        """Step all that has come in, then do what it calls for, until nothing is left or the disk takes its time."""
        while self.raft is not None:
            if self._round is None or self.world.options.overlap:
                self._step(self.raft)
            if self._round is not None:
                return
            if not self.raft.has_ready():
                self._compact(self.raft)
                self._plan_tick(self.raft.wake_at_s())
                return
            self._round = self._work(self.raft)
            self._continue()

    def _step(self, raft: Raft) -> None:
        inbox, self._inbox = self._inbox, []
        now_s, world = self.now_s, self.world
        for item in inbox:
            state = raft.state
            before = (state.current_term, state.voted_for)
            world.count_step(state.role.value, item)
            raft.step(now_s, item)
            world.checker.stepped(raft, item, before)

    def _plan_tick(self, wake_at_s: float) -> None:
        delay_s = max(TICK_S_MIN, self.clock.world_s(wake_at_s) - self.world.now_s + 1e-6)
        at_s = self.world.now_s + delay_s
        if not self._tick_at_s or at_s < self._tick_at_s:
            self._tick_at_s = at_s
            self.world.at(delay_s, self._tick, self.life, at_s)

    def _tick(self, life: int, planned_for_s: float) -> None:
        if life != self.life or self.raft is None or planned_for_s != self._tick_at_s:
            return
        self._tick_at_s = 0.0
        if self.world.now_s < self.paused_until_s:
            return  # _wake ticks
        if self.now_s >= self.raft.wake_at_s():
            self.deliver(Tick())
        elif self._round is None:
            self._plan_tick(self.raft.wake_at_s())

    def clock_changed(self) -> None:
        """The clock was tampered with: look at it again."""
        if self.raft is not None and self._round is None:
            self._tick_at_s = 0.0
            self._plan_tick(self.raft.wake_at_s())

    # -- a round -------------------------------------------------------------------------------------------------------

    def _continue(self) -> None:
        """Go on with the round until it is done, waits for the disk, or the server dies."""
        assert self._round is not None
        try:
            for stage in self._round:
                if stage == self.crash_at:
                    self.world.counts[f"crash_{stage}"] += 1
                    self.crash(f"at stage {stage}")
                    return
                if stage == "written":
                    wait_s = self.world.disk_rng.uniform(*self.sync_s)
                    if wait_s > 0:
                        self.world.at(wait_s, self._disk_done, self._round)
                        return
        except StorageError as error:
            self.crash(str(error))
            return
        self._round = None
        self.world.round_done(self)

    def _disk_done(self, round_: Iterator[str]) -> None:
        """The sync that this round waited for has taken its time."""
        if self._round is not round_:
            return
        if self.world.now_s < self.paused_until_s:
            self.world.at(self.paused_until_s - self.world.now_s, self._disk_done, round_)
            return
        self._continue()
        self._turn()

    def _wake(self, life: int) -> None:
        """A pause is over: see what time it is."""
        if life == self.life and self.world.now_s >= self.paused_until_s:
            self.deliver(Tick())

    def _work(self, raft: Raft) -> Iterator[str]:
        """The steps of the package docstring of raft_zmq.core; yields between them."""
        checker, disk = self.world.checker, self.disk
        ready = raft.ready()
        self._report(ready)
        checker.round(raft, ready, disk)
        yield "ready"
        for to, message in ready.messages:
            self._send(to, message)
        self._send_chunks(ready)
        yield "sent"
        if ready.hard_state or ready.base_membership or ready.entries or ready.reset_log_to:
            disk.write(Record(ready.hard_state, ready.base_membership, ready.entries, ready.reset_log_to))
            checker.written(raft, disk)
            yield "written"
            disk.sync()
            checker.synced(self.node_id, disk)
            yield "synced"
        yield from self._promise(ready)
        self.service.take(ready)
        self._apply(ready)
        if any(isinstance(event, SteppedDown) for event in ready.events):
            self.service.stepped_down()
        yield "applied"
        received = self._receive_chunks(ready)
        if received is not None:
            yield "received"
        raft.advance()
        if received is not None:
            self._inbox.insert(0, received)
        yield "advanced"

    def _send(self, to: str, message: PeerMessage) -> None:
        self.world.checker.sent(self.node_id, to, message, self.disk)
        self.world.note(f"{self.node_id}>{to}", "sends", message)
        self.world.network.send(self.node_id, self.disk.incarnation, to, message)

    def _promise(self, ready: Ready) -> Iterator[str]:
        messages = ready.messages_after_sync
        half = (len(messages) + 1) // 2
        for to, message in messages[:half]:
            self._send(to, message)
        if messages:
            yield "half_promised"
        for to, message in messages[half:]:
            self._send(to, message)
        yield "promised"

    def _apply(self, ready: Ready) -> None:
        if ready.committed:
            outcomes = self.replica.apply(ready.committed)
            self.world.checker.applied(self.node_id, ready.committed, self.replica.digest)
            self.service.applied(ready.committed, outcomes)
            self.world.applied(self)

    def _read_asked(self, ticket: int) -> None:
        self.world.checker.read_asked(self.node_id, ticket)

    def _report(self, ready: Ready) -> None:
        for event in ready.events:
            self.world.core_event(self, event)

    # -- snapshots -----------------------------------------------------------------------------------------------------

    def write_snapshot(self, seconds: float) -> bool:
        """Begin a snapshot of the applied state, on disk after so many seconds; False if there is nothing to do."""
        index = self.replica.last_applied
        if self.raft is None or self._writing_snapshot or (self.disk.snapshot and self.disk.snapshot.index >= index):
            return False
        term = self.raft.state.log.term_at(index)
        if index == 0 or term is None:
            return False
        self._writing_snapshot = True
        chunks, membership = self.replica.snapshot(), self.raft.membership_at(index)
        self.world.at(seconds, self._snapshot_written, self.life, index, term, membership, chunks)
        return True

    def _snapshot_written(
        self, life: int, index: int, term: int, membership: Membership, chunks: Iterator[bytes]
    ) -> None:
        if life != self.life or self.raft is None:
            return
        self._writing_snapshot = False
        if self.disk.snapshot and self.disk.snapshot.index >= index:
            return  # one from the leader was faster
        try:
            self.disk.put_snapshot(index, term, membership, seal(chunks))
        except StorageError as error:
            self.crash(str(error))
            return
        self.world.checker.snapshot(self.node_id, index, self.disk.snapshot.data)
        self._open_snapshot()
        self.world.counts["snapshot_written"] += 1
        self.world.note(self.node_id, "wrote snapshot", f"{index}/t{term}")
        self.deliver(SnapshotWritten(index, term, len(self.disk.snapshot.data), self.disk.log.size_bytes))

    def _open_snapshot(self) -> None:
        """Have the newest snapshot ready for sending; older ones stay open only in some worlds."""
        if not self.world.options.keep_snapshots_open:
            self._snapshots.clear()
        self._snapshots[self.disk.snapshot.index] = self.disk.snapshot

    def damage_open_snapshot(self) -> None:
        """Flip the last bit of the newest snapshot: who gets it finds that out at the end."""
        newest = self._snapshots[self.disk.snapshot.index]
        data = bytes([*newest.data[:-1], newest.data[-1] ^ 1])
        self._snapshots[newest.index] = msgspec.structs.replace(newest, data=data)

    def _send_chunks(self, ready: Ready) -> None:
        for to, message in ready.snapshot_sends:
            snapshot = self._snapshots.get(message.last_index)
            if snapshot is None:
                self.world.counts["snapshot_gone"] += 1
                self._inbox.append(SnapshotGone(to))
                continue
            end = min(message.offset + self.world.options.chunk_bytes, len(snapshot.data))
            data = snapshot.data[message.offset : end]
            filled = msgspec.structs.replace(
                message, data=data, done=end == len(snapshot.data), total_bytes=len(snapshot.data)
            )
            self._send(to, filled)

    def _receive_chunks(self, ready: Ready) -> Input | None:
        """Put chunks aside; after the last one install the snapshot, or say that it is damaged."""
        for chunk in ready.snapshot_chunks:
            self.disk.write_chunk(chunk.last_index, chunk.offset, chunk.data)
            if self.flip_next_chunk:
                self.flip_next_chunk = False
                self.world.counts["flip_received"] += self.disk.flip_received(self.world.disk_rng)
            if chunk.done:
                return self._install(chunk)
        return None

    def _install(self, chunk: InstallSnapshot) -> Input:
        data = self.disk.take_received(chunk.last_index)
        try:
            chunks = unseal(data)
        except CorruptionError as error:
            self.world.note(self.node_id, "refuses", str(error))
            return SnapshotFailed(chunk.last_index)
        self.disk.put_snapshot(chunk.last_index, chunk.last_term, decode(chunk.membership), data)
        self._open_snapshot()
        self.replica.restore(chunks)
        self.world.checker.restored(self.node_id, chunk.last_index, self.replica.digest)
        self.service.restored()
        self.world.counts["snapshot_installed"] += 1
        self.world.note(self.node_id, "installed snapshot", f"{chunk.last_index}/t{chunk.last_term}")
        return SnapshotInstalled(chunk.last_index)

    def _compact(self, raft: Raft) -> None:
        if raft.state.log.first_index > self.disk.log.first_index and self.disk.snapshot is not None:
            self.disk.compact(min(raft.state.log.first_index, self.disk.log.last_index + 1))
