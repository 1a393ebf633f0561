"""Several servers joined by a network in memory, under one clock: what one server alone cannot show."""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from raft_zmq.core import inputs
from raft_zmq.core.membership import Membership
from raft_zmq.core.messages import Entry, EntryKind, HardState, InstallSnapshot, PeerMessage
from raft_zmq.core.ready import Ready
from raft_zmq.core.state import Role
from raft_zmq.core.stored import Stored
from tests.unit.raft_server import Server, members

LATENCY_S = 0.01
FAR_LATENCY_S = 0.04
CHUNK_BYTES = 200  # of a snapshot in one message: small, so that a snapshot takes several


class Machine(Server):
    """A server whose state machine is the list of all it applied, and which takes and restores snapshots of that."""

    def __init__(self, node_id: str, stored: Stored, snapshot_file: bytes, now_s: float, **config: object) -> None:
        self.base_membership = stored.base_membership
        self.snapshot_file = snapshot_file
        self.snapshot_files = {stored.snapshot_index: snapshot_file}  # by last index: an older one may be on its way
        self._incoming = bytearray()
        self.config = config
        super().__init__(node_id, stored=stored, now_s=now_s, **config)
        self.applied = [*_decode(snapshot_file), *self.applied]

    def gather(self, ready: Ready) -> None:
        super().gather(ready)
        for chunk in ready.snapshot_chunks:
            self._incoming[chunk.offset :] = chunk.data
            if chunk.done:
                self.snapshot_file = self.snapshot_files[chunk.last_index] = bytes(self._incoming)
                self.applied = _decode(self.snapshot_file)

    def take_snapshot(self) -> None:
        """Write down all that is applied, and let the log go."""
        self.snapshot_file = msgspec.msgpack.encode(self.applied)
        newest = self.applied[-1]
        self.snapshot_files[newest.index] = self.snapshot_file
        self.step(inputs.SnapshotWritten(newest.index, newest.term, len(self.snapshot_file), 0))

    def fill(self, chunk: InstallSnapshot) -> InstallSnapshot:
        """The chunk with its bytes, as the shell sends it."""
        file, end = self.snapshot_files[chunk.last_index], chunk.offset + CHUNK_BYTES
        return msgspec.structs.replace(
            chunk, data=file[chunk.offset : end], total_bytes=len(file), done=end >= len(file)
        )

    def stored(self) -> Stored:
        """What is on its disk, which is prompt: all of its state."""
        state, log = self.raft.state, self.raft.state.log
        return Stored(
            hard_state=state.written_hard_state,
            base_membership=self.base_membership,
            snapshot_index=log.snapshot_index,
            snapshot_term=log.snapshot_term,
            snapshot_membership=self.raft.membership_at(log.snapshot_index) if log.snapshot_index else Membership(),
            snapshot_bytes=len(self.snapshot_file),
            entries=tuple(log.entries(log.first_index, log.last_index)),
            start_term=log.start_term,
        )

    def commands(self) -> list[bytes]:
        """The commands it has applied, in order."""
        return [entry.data for entry in self.applied if entry.kind is EntryKind.COMMAND]


def _decode(snapshot_file: bytes) -> list[Entry]:
    return msgspec.msgpack.decode(snapshot_file, type=list[Entry]) if snapshot_file else []


class Group:
    """Servers n1, n2, … that share a network and a clock; the test cuts links, drops messages and stops servers."""

    def __init__(
        self,
        *node_ids: str,
        voters: Sequence[str] = (),
        learners: Sequence[str] = (),
        logs: Mapping[str, Sequence[Entry]] | None = None,
        term: int = 0,
        seed: int = 1,
        **config: object,
    ) -> None:
        self.now_s = 0.0
        self.config = {"uniform": random.Random(seed).uniform, "pre_vote": True, "check_quorum": True, **config}
        self.cut: set[tuple[str, str]] = set()  # links one way, as (sender, receiver)
        self.lost: Callable[[str, str, PeerMessage], bool] = lambda sender, to, message: False
        self.far: set[str] = set()  # servers at the end of a slow link
        self.delivered: list[tuple[str, str, PeerMessage]] = []
        self.stopped: set[str] = set()
        self._on_the_way: list[tuple[float, int, str, str, str, PeerMessage]] = []
        self._number = itertools.count()
        self.servers: dict[str, Machine] = {}
        first = Membership(voters=members(*(voters or node_ids)), learners=members(*learners))
        for node_id in node_ids:
            entries = tuple((logs or {}).get(node_id, ()))
            self.start(node_id, Stored(hard_state=HardState(term), base_membership=first, entries=entries))

    def __getitem__(self, node_id: str) -> Machine:
        return self.servers[node_id]

    # servers come and go

    def start(self, node_id: str, stored: Stored | None = None, snapshot_file: bytes = b"", **config: object) -> None:
        """Start a server; by default a new one that knows nobody yet and waits to be added."""
        server = Machine(node_id, stored or Stored(), snapshot_file, self.now_s, **{**self.config, **config})
        self.servers[node_id] = server
        self.stopped.discard(node_id)
        self._collect(server)

    def stop(self, node_id: str) -> None:
        self.stopped.add(node_id)

    def restart(self, node_id: str) -> None:
        """Start it again from its disk."""
        server = self.servers[node_id]
        self.start(node_id, server.stored(), server.snapshot_file, **server.config)

    # the network

    def isolate(self, *node_ids: str) -> None:
        """Cut these off from all the others, not from each other."""
        for inside, outside in itertools.product(node_ids, set(self.servers) - set(node_ids)):
            self.cut |= {(inside, outside), (outside, inside)}

    def heal(self) -> None:
        self.cut.clear()
        self.lost = lambda sender, to, message: False

    def _collect(self, server: Machine) -> None:
        disk = server.raft.state.config.incarnation
        for to, message in server.take_sent():
            filled = server.fill(message) if isinstance(message, InstallSnapshot) else message
            due_s = self.now_s + (FAR_LATENCY_S if {server.node_id, to} & self.far else LATENCY_S)
            heapq.heappush(self._on_the_way, (due_s, next(self._number), server.node_id, disk, to, filled))

    # time

    def run(self, seconds: float) -> None:
        """Let time pass: deliver what arrives, tick who wants it."""
        self._run(self.now_s + seconds, lambda: False)

    def run_until(self, condition: Callable[[], bool], limit_s: float = 30.0) -> None:
        """Let time pass until the condition holds; fail when that takes longer than the limit."""
        self._run(self.now_s + limit_s, condition)
        assert condition(), f"did not come true within {limit_s} s"

    def _run(self, until_s: float, condition: Callable[[], bool]) -> None:
        while not condition():
            wakes = [(server.raft.wake_at_s(), server.node_id) for server in self._running()]
            wake_s, node_id = min(wakes)
            arrives_s = self._on_the_way[0][0] if self._on_the_way else float("inf")
            if min(wake_s, arrives_s) > until_s:
                self.now_s = until_s
                return
            self.now_s = max(self.now_s, min(wake_s, arrives_s))
            if arrives_s <= wake_s:
                self._deliver()
            else:
                self.step(node_id, inputs.Tick())

    def _running(self) -> Iterable[Machine]:
        return (server for node_id, server in self.servers.items() if node_id not in self.stopped)

    def _deliver(self) -> None:
        _, _, sender, disk, to, message = heapq.heappop(self._on_the_way)
        unreachable = to not in self.servers or to in self.stopped or (sender, to) in self.cut
        if unreachable or self.lost(sender, to, message):
            return
        self.delivered.append((sender, to, message))
        self.step(to, inputs.Received(sender, disk, message))

    def step(self, node_id: str, item: inputs.Input) -> None:
        server = self.servers[node_id]
        server.now_s = self.now_s
        server.step(item)
        self._collect(server)

    # what the test asks for and looks at

    def elect(self, node_id: str) -> Machine:
        """Make this server the first leader: its timeout runs out before the others'. Wait until all agree with it."""
        self.servers[node_id].raft.state.election_deadline_s = self.now_s
        self.run_until(lambda: self.servers[node_id].role is Role.LEADER)
        self.run_until(lambda: self.agreed(*self._reachable(node_id)))
        return self.servers[node_id]

    def _reachable(self, node_id: str) -> list[str]:
        inside = set(self.servers[node_id].raft.state.membership.node_ids()) & set(self.servers)
        return [other for other in inside - self.stopped if (node_id, other) not in self.cut]

    def leader(self) -> Machine | None:
        """The running leader of the highest term, if there is one."""
        leaders = [server for server in self._running() if server.role is Role.LEADER]
        return max(leaders, key=lambda server: server.term, default=None)

    def await_leader(self, *among: str) -> Machine:
        """Wait until one of these (by default of all) leads and has committed in its term; return it."""

        def leads() -> bool:
            leader = self.leader()
            return (
                leader is not None
                and (not among or leader.node_id in among)
                and leader.commit_index >= leader.raft.state.term_start_index
            )

        self.run_until(leads)
        leader = self.leader()
        assert leader is not None
        return leader

    def propose(self, *commands: bytes) -> None:
        """Have the leader append these commands."""
        leader = self.leader()
        assert leader is not None
        self.step(leader.node_id, inputs.Propose(1, list(commands)))

    def agreed(self, *node_ids: str) -> bool:
        """Whether these (by default all that run) have applied the whole log of the leader."""
        leader = self.leader()
        if leader is None:
            return False
        names = node_ids or [server.node_id for server in self._running()]
        return all(
            self.servers[name].applied == leader.applied
            and leader.raft.state.last_applied == leader.raft.state.log.last_index
            for name in names
        )

    def await_agreement(self, *node_ids: str) -> None:
        self.run_until(lambda: self.agreed(*node_ids))
