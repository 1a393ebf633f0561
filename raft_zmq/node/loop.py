"""One node: the loop that waits for messages, steps the core, and does what the core has ready (core/__init__.py).

Everything happens in one thread, mostly even the sync of the disk (syncing.py): what comes in during one sync shares
the next one, so the more there is to do the less each operation costs. Snapshot files have a thread of their own, and
HTTP has one that asks this loop through the mailbox.
"""

import contextlib
import random
import time
from collections.abc import Sized

import msgspec

from raft_zmq.core import bootstrap, inputs, leading
from raft_zmq.core.errors import SettingsError, StorageError
from raft_zmq.core.events import BecameCandidate, BecameLeader, Event, MembershipChanged, SteppedDown
from raft_zmq.core.messages import DiskState, InstallSnapshot
from raft_zmq.core.raft import Raft
from raft_zmq.core.ready import Ready
from raft_zmq.core.state import Role
from raft_zmq.node import status
from raft_zmq.node.caller import Caller
from raft_zmq.node.disk_care import DiskCare
from raft_zmq.node.disk_watch import RETRY_S, DiskWatch
from raft_zmq.node.faults import Faults
from raft_zmq.node.leftovers import Leftovers
from raft_zmq.node.mailbox import Mailbox
from raft_zmq.node.network import Arrivals, Network
from raft_zmq.node.requests import Requests
from raft_zmq.node.snapshots import Snapshots
from raft_zmq.node.syncing import Syncing
from raft_zmq.observability import events
from raft_zmq.observability.http import HttpServer
from raft_zmq.observability.log import EventLog
from raft_zmq.observability.metrics import Metrics
from raft_zmq.settings import Settings
from raft_zmq.state_machine.clock import ClusterClock
from raft_zmq.state_machine.interface import StateMachine
from raft_zmq.state_machine.kv import KeyValueStore
from raft_zmq.state_machine.replica import Replica
from raft_zmq.storage.disk import Disk
from raft_zmq.storage.errors import DiskFullError
from raft_zmq.storage.storage import Storage
from raft_zmq.wire import client_messages as wire

STATUS_TIMEOUT_S = 1.0
HANDOVER_S = 1.0  # how long a leader that is told to stop tries to hand over first
HOUSEKEEPING_S = 0.1  # after that long a node that is awake anyway keeps house again …
UNKEPT_S = 0.2  # … and after that long it wakes up for it alone; heartbeats come more often
TURN_S = 0.002  # of work, and no further round of what is ready begins: who has just come waits


class Node:
    """A node made from its settings; `run` returns when it has been told to stop.

    `machine` is the state machine to replicate, the key-value store by default. `disk` is for tests that make the disk
    fail. Raises SettingsError or StorageError, before anything listens, when the settings or the disk will not do.
    """

    def __init__(self, settings: Settings, machine: StateMachine | None = None, disk: Disk | None = None) -> None:
        self.settings = settings
        self._started_s = time.monotonic()
        self._log = EventLog(settings.node_id, settings.log_level)
        self._stopping = ""
        self._handover_deadline_s = 0.0
        self._closers = contextlib.ExitStack()
        try:
            self._open(machine or KeyValueStore(), disk)
        except BaseException:
            self._closers.close()
            raise

    def _open(self, machine: StateMachine, disk: Disk | None) -> None:
        settings = self.settings
        self._storage = Storage.open(
            settings.data_dir,
            cluster_id=settings.cluster_id,
            node_id=settings.node_id,
            segment_bytes=settings.segment_bytes,
            snapshot_chunk_bytes=settings.snapshot_chunk_bytes,
            disk=disk,
        )
        self._closers.callback(self._storage.close)
        self._machine = machine
        self._disk = DiskWatch(self._storage, settings.slow_disk_s, self._storage.segment_bytes)
        self._sync_s: float | None = None  # what the newest sync took, until the disk has been judged by it
        self._unfinished = False  # the core had more ready when the turn had been long enough
        self._stuck = False  # a record waits for room on the disk, and with it everything that would promise something
        self._replica = Replica(machine)
        self._mailbox = Mailbox()
        self._closers.callback(self._mailbox.close)
        self._snapshots = Snapshots(
            self._storage, self._replica, self._mailbox, self._snapshot_written, self._snapshot_failed
        )
        self._snapshots.restore()
        now_s = time.monotonic()
        config = settings.core_config(self._storage.identity.incarnation)
        stored = bootstrap.with_first_members(self._storage.stored, settings.first_members())
        self._raft = Raft(config, stored, random.Random().uniform, now_s)
        self._state = self._raft.state
        self._disk_care = DiskCare(self._disk, self._storage, self._raft, self._log)
        self._storage.forget_stored()
        self._clock = ClusterClock(settings.session_ttl_s)
        self._log_bytes_at_snapshot = 0
        self._leftovers = Leftovers()
        self._house_kept_s = now_s
        self._snapshot_callers: list[Caller] = []
        self._network = Network(settings, self._storage.identity.incarnation, self._log, self._peer_lost)
        self._closers.callback(self._network.close)
        self._faults = Faults(self._network.faults)
        self._network.also_wake_for(self._mailbox.socket)
        self._metrics = Metrics(
            self._ask_status, self._network.counts, lambda: self._network.levels() | self._requests.levels()
        )
        self._requests = Requests(settings, self._state, machine.query, self._step, self._metrics, self._answer_here)
        self._syncing = Syncing(self._storage, self._faults, self._requests.overloaded, self._hear_clients)
        self._closers.callback(self._syncing.close)
        self._http = HttpServer(settings.bind_host, settings.http_port, self._ask_status, self._metrics.render)
        self._closers.callback(self._http.close)
        self._network.reach(self._state.membership, ())

    def run(self) -> None:
        """Turn until `stop` is called; then hand over leadership, close everything and return.

        Raises StorageError when the disk failed: nothing more may be promised (rule 25).
        """
        with self._closers:
            self._http.start()
            self._report_start()
            try:
                self._turn_until_stopped()
            except StorageError as error:
                self._log.emit(events.NodeStopped(reason=str(error)))
                raise
            self._log.emit(events.NodeStopped(reason=self._stopping))

    def stop(self, reason: str) -> None:
        """Make `run` end soon; from any thread or signal handler."""
        self._stopping = reason
        self._mailbox.wake()

    def _report_start(self) -> None:
        for repair in self._storage.repairs:
            told = events.StorageRepaired(
                file=repair.file, offset=repair.offset, bytes=repair.bytes, reason=repair.reason
            )
            self._log.emit(told, self._state.current_term)
        self._log.emit(
            events.NodeStarted(
                version=status.VERSION,
                cluster_id=self.settings.cluster_id,
                incarnation=self._storage.identity.incarnation,
                members=self._state.membership.node_ids(),
                last_log_index=self._state.log.last_index,
                last_log_term=self._state.log.last_term,
                snapshot_index=self._state.log.snapshot_index,
            ),
            self._state.current_term,
        )

    def _turn_until_stopped(self) -> None:
        self._do_what_is_ready()
        while not (self._stopping and self._may_stop()):
            tick_at_s = self._raft.wake_at_s()
            wake_at_s = min(tick_at_s, self._house_kept_s + UNKEPT_S, self._network.faults.next_release_s)
            pressing = self._unfinished or self._requests.has_work
            wait_ms = 0 if pressing else max(0, int((wake_at_s - time.monotonic()) * 1000 + 0.999))
            arrivals = self._network.wait(wait_ms)
            woke_s = time.monotonic()
            self._take_in(arrivals, tick_at_s)
            self._do_what_is_ready()
            self._send_answers()
            self._leftovers.free_some()
            self._metrics.turn_s.observe(time.monotonic() - woke_s)

    def _may_stop(self) -> bool:
        """A leader hands over first, so that the others need not find out by waiting (thesis 3.10)."""
        now_s = time.monotonic()
        if self._stuck or self._state.role is not Role.LEADER or len(self._state.membership.voters) == 1:
            return True
        if not self._handover_deadline_s:
            self._handover_deadline_s = now_s + HANDOVER_S
            self._step(inputs.TransferLeadership(0, ""))
            self._do_what_is_ready()
        return now_s >= self._handover_deadline_s or not (self._state.transfer or self._raft.has_ready())

    def _take_in(self, arrivals: Arrivals, tick_at_s: float) -> None:
        """Step everything that has come; it shares one round of `ready`, and so one sync.

        What has come may have put off the tick that was due at `tick_at_s`: then the core makes nothing of it.
        """
        if arrivals.peers:
            self._hear_peers()
        if arrivals.clients:
            self._hear_clients()
        self._requests.go_on()
        if arrivals.other:
            self._mailbox.run_waiting()
        now_s = time.monotonic()
        if now_s >= tick_at_s:
            self._raft.step(now_s, inputs.Tick())
        if now_s >= self._house_kept_s + HOUSEKEEPING_S:
            self._keep_house(now_s)
        if now_s >= self._network.faults.next_release_s:
            self._network.faults.poll(now_s)

    def _hear_peers(self) -> None:
        pending_bytes = 0
        messages = self._network.from_peers()
        now_s = time.monotonic()  # none of them was heard before it was sent: leases stand on that (rule 19)
        for sender, incarnation, message in messages:
            if self._disk.state is DiskState.FILLING:
                pending_bytes = self._disk.expect(message, pending_bytes)
                self._disk_care.look(now_s)
            if isinstance(message, InstallSnapshot) and not self._disk.may_snapshot(now_s):
                continue  # as if lost on the way: the leader sends it again
            self._raft.step(now_s, inputs.Received(sender, incarnation, message))

    def _hear_clients(self) -> None:
        """Let in what there is room for, and tell "busy" whoever is too many before anything else is done."""
        self._metrics.stages.woke_s = time.monotonic()
        self._requests.receive(self._network.from_clients())
        self._send(self._requests.take_refusals())

    def _step(self, item: inputs.Input) -> None:
        self._raft.step(time.monotonic(), item)

    def _do_what_is_ready(self) -> None:
        """Round by round until nothing is ready, or this has taken long: then the next turn goes on at once.

        Waiting for the disk does not count: a node with a slow one would do less in each turn than comes in.
        """
        until_s = time.monotonic() + TURN_S
        while self._raft.has_ready():
            ready = self._raft.ready()
            self._network.to_peers(ready.messages)
            sent_s = time.monotonic()
            self._send_chunks(ready)
            if not self._write(ready):
                return
            self._network.to_peers(ready.messages_after_sync)
            if ready.reset_log_to:  # a snapshot took its place, and may have used up the disk
                self._compact()
            until_s += self._sync_s or 0.0
            self._watch_disk()
            if ready.entries and self._network.clients_wait():  # a sync takes long: who is too many has waited enough
                self._hear_clients()
            for event in ready.events:
                self._log.emit(event)  # synced by now, and told before what is applied because of it
            self._tell_requests(ready, sent_s)
            if ready.committed:
                self._apply(ready)
                self._send_answers()
            self._raft.advance()
            self._leftovers.add(ready.compacted)
            for event in ready.events:
                self._react_to(event)
            for chunk in ready.snapshot_chunks:
                self._receive_chunk(chunk)
            if time.monotonic() > until_s:
                self._unfinished = True
                return
        self._unfinished = False

    def _send_chunks(self, ready: Ready) -> None:
        for to, message in ready.snapshot_sends:
            assert isinstance(message, InstallSnapshot)
            filled = self._storage.fill_chunk(message)
            if filled is None:
                self._step(inputs.SnapshotGone(to))
            else:
                self._network.to_peers([(to, filled)])

    def _write(self, ready: Ready) -> bool:
        """Make durable what is to be; False when there was no room for it until the node was told to stop."""
        if not (ready.hard_state or ready.base_membership or ready.entries or ready.reset_log_to):
            return True
        self._storage.write(ready.hard_state, ready.base_membership, ready.entries, ready.reset_log_to)
        try:
            self._sync_s = self._syncing.run()
        except DiskFullError as error:
            return self._wait_for_room(error)
        return True

    def _watch_disk(self) -> None:
        """Judge the disk by the sync there was, if any; whoever waits for that sync has been told by now."""
        sync_s, self._sync_s = self._sync_s, None
        if sync_s is None:
            return
        self._metrics.sync_s.observe(sync_s)
        if self._disk.synced(sync_s):
            self._log.emit(events.SlowDisk(sync_s=sync_s, limit_s=self.settings.slow_disk_s))
        self._disk_care.look(time.monotonic())

    def _wait_for_room(self, error: DiskFullError) -> bool:
        """The reserve is used up too: until the record fits, the node is as good as paused, and says so to who asks.

        It votes for nobody, acknowledges nothing and hears no peer; if it led, the others elect another leader.
        """
        self._stuck = True
        self._requests.decline((), str(error))
        self._disk.no_room()
        self._log.message("error", str(error))
        self._disk_care.look(time.monotonic())
        retry_at_s = time.monotonic() + RETRY_S
        while not self._stopping:
            self._send(self._requests.take_refusals())
            self._send_answers()
            arrivals = self._network.wait(max(0, int((retry_at_s - time.monotonic()) * 1000 + 0.999)))
            if arrivals.peers:
                self._network.from_peers()
            if arrivals.clients:
                self._requests.decline(self._network.from_clients(), str(error))
            if arrivals.other:
                self._mailbox.run_waiting()
            if (now_s := time.monotonic()) < retry_at_s:
                continue
            retry_at_s = now_s + RETRY_S
            self._keep_house(now_s)
            with contextlib.suppress(DiskFullError):
                self._storage.sync()
                self._stuck = False
                self._disk_care.look(now_s)
                return True
        return False

    def _tell_requests(self, ready: Ready, sent_s: float) -> None:
        for accepted in ready.accepted:
            self._requests.accepted(accepted, sent_s)
        for refused in ready.refused:
            self._requests.refused(refused)
        for granted in ready.reads:
            self._requests.read_granted(granted, self._replica.last_applied)
        for done in ready.transfers:
            self._requests.transferred(done)

    def _apply(self, ready: Ready) -> None:
        committed_s = time.monotonic()
        results = self._replica.apply(ready.committed)
        self._metrics.stages.apply_s.observe(time.monotonic() - committed_s)
        self._requests.applied(ready.committed, results, self._replica.last_applied, committed_s)
        for checkpoint in self._replica.checkpoints:
            self._report_applied(checkpoint.index, checkpoint.term, checkpoint.digest)
        self._replica.checkpoints.clear()

    def _report_applied(self, index: int, entry_term: int, digest: str) -> None:
        self._log.emit(events.Applied(index=index, entry_term=entry_term, digest=digest))

    def _react_to(self, event: Event) -> None:
        if isinstance(event, MembershipChanged):
            self._network.reach(self._state.membership, self._state.departing)
        elif isinstance(event, SteppedDown):
            self._requests.leadership_lost()
        elif isinstance(event, BecameCandidate):
            self._metrics.counters.elections += 1
        elif isinstance(event, BecameLeader):
            self._clock.restart(time.monotonic())

    def _receive_chunk(self, chunk: InstallSnapshot) -> None:
        try:
            installed, why_not = self._snapshots.receive(chunk)
        except DiskFullError as error:
            self._disk.snapshot_found_no_room(time.monotonic())
            installed, why_not = False, str(error)
        if why_not:
            self._log.message("warning", why_not)
            self._step(inputs.SnapshotFailed(chunk.last_index))
        if not installed:
            return
        self._step(inputs.SnapshotInstalled(chunk.last_index))
        self._log.emit(
            events.SnapshotInstalled(
                index=chunk.last_index,
                entry_term=chunk.last_term,
                digest=self._replica.digest,
                total_bytes=chunk.total_bytes,
            )
        )

    def _keep_house(self, now_s: float) -> None:
        """What has to be looked after some times a second, but not for each message."""
        self._house_kept_s = now_s
        self._network.check_connections(now_s)
        self._disk_care.look(now_s)
        if self._wants_snapshot() and self._disk.may_snapshot(now_s):
            self._begin_snapshot()
        if self._state.role is Role.LEADER:
            advance = self._clock.due(now_s, self._replica.cluster_time_ms, self._replica.sessions)
            if advance is not None:
                self._requests.propose_internally(msgspec.msgpack.encode(advance))

    def _wants_snapshot(self) -> bool:
        """The log has grown long, or there is no room for more of it and a snapshot may let some of it go."""
        if self._disk.state >= DiskState.FILLING:
            return self._storage.wal_bytes > self._storage.segment_bytes
        return self._storage.wal_bytes - self._log_bytes_at_snapshot > self.settings.snapshot_log_bytes

    def _begin_snapshot(self) -> None:
        applied = self._replica.last_applied
        if not self._snapshots.under_way and applied > self._state.log.snapshot_index:
            try:
                self._snapshots.begin(self._raft.membership_at(applied))
            except DiskFullError as error:
                self._snapshot_failed(error)
                return
            self._report_applied(applied, self._replica.last_applied_term, self._replica.digest)

    def _snapshot_written(self, taken: events.SnapshotTaken) -> None:
        """The snapshot is on disk: only now may the log before it go (rule 28)."""
        self._step(inputs.SnapshotWritten(taken.index, taken.entry_term, taken.total_bytes, self._storage.wal_bytes))
        self._compact()
        self._metrics.counters.snapshots += 1
        self._log.emit(taken)
        for caller in self._snapshot_callers:
            self._requests.done(caller, taken.index)
        self._snapshot_callers.clear()

    def _compact(self) -> None:
        self._storage.compact(self._state.log.first_index, sending=leading.is_sending_snapshot(self._state))
        self._log_bytes_at_snapshot = self._storage.wal_bytes

    def _snapshot_failed(self, error: Exception) -> None:
        """Without room for a snapshot the node goes on with its log; any other failure ends it."""
        if not isinstance(error, DiskFullError):
            raise error
        self._disk.snapshot_found_no_room(time.monotonic())
        self._log.message("error", str(error))
        for caller in self._snapshot_callers:
            self._requests.refuse(caller, "not_ready", str(error))
        self._snapshot_callers.clear()

    def _answer_here(self, caller: Caller, request: wire.Request) -> None:
        """Requests that are about this node, or that an administrator gives."""
        match request:
            case wire.Status():
                self._requests.done(caller, self.status())
            case wire.LogRange(_, first_index, limit):
                self._requests.done(caller, status.log_range(self._state, first_index, limit))
            case wire.ChangeMembers():
                self._requests.change_members(caller, request)
            case wire.Transfer(_, target):
                self._requests.transfer(caller, target)
            case wire.TakeSnapshot():
                self._take_snapshot(caller)
            case wire.InjectFault():
                self._inject_fault(caller, request)

    def _take_snapshot(self, caller: Caller) -> None:
        if self._replica.last_applied == self._state.log.snapshot_index:
            self._requests.done(caller, self._state.log.snapshot_index)
            return
        self._snapshot_callers.append(caller)
        self._begin_snapshot()

    def _inject_fault(self, caller: Caller, request: wire.InjectFault) -> None:
        if not self.settings.fault_injection:
            expected = "expected a node with fault_injection on, found it off; see RAFT_FAULT_INJECTION"
            self._requests.refuse(caller, "not_allowed", expected)
            return
        try:
            self._log.emit(self._faults.inject(request))
        except SettingsError as error:
            self._requests.refuse(caller, "invalid", str(error))
        else:
            self._requests.done(caller, None)

    def _send_answers(self) -> None:
        waiting = self._requests.take_answers()
        if not waiting:
            return
        begun_s = time.monotonic()
        self._send(waiting)
        self._metrics.stages.answer_s.observe(time.monotonic() - begun_s)

    def _send(self, answers_by_client: dict[bytes, list[wire.Answer]]) -> None:
        for routing_id in self._network.to_clients(answers_by_client):
            self._requests.forget(routing_id)

    def status(self) -> wire.NodeStatus:
        """The node's state; only for the loop's own thread."""
        return status.node_status(
            self._state,
            cluster_id=self.settings.cluster_id,
            digest=self._replica.digest,
            sessions=self._replica.sessions,
            keys=len(self._machine) if isinstance(self._machine, Sized) else 0,
            wal_bytes=self._storage.wal_bytes,
            uptime_s=time.monotonic() - self._started_s,
            stuck=self._stuck,
            stages=self._metrics.stage_totals(),
        )

    def _ask_status(self) -> wire.NodeStatus:
        """The same from another thread; raises TimeoutError when the loop does not turn."""
        return self._mailbox.call(self.status, STATUS_TIMEOUT_S)

    def _peer_lost(self, peer: str) -> None:
        self._step(inputs.ReportUnreachable(peer))
