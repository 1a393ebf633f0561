"""A whole cluster in one thread and in simulated time: same seed, same options and same faults, same run to the byte.

Besides the random runs of `run.py`, scenarios drive it by hand:

    world = World.cluster(3)
    world.run(until=world.leader)
    world.partition([["n1"], ["n2", "n3"]])
    world.propose(b"x")
    world.run_for(2.0)
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from raft_zmq.core.errors import RaftLabError
from raft_zmq.core.events import BecameLeader, CoreEvent, MembershipChanged
from raft_zmq.core.inputs import ChangeMembership, Input, Propose, Received, ReportUnreachable, TransferLeadership
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import PeerMessage
from raft_zmq.wire.commands import AdvanceClock, OpenSession
from tests.simulation import network
from tests.simulation.checker import Checker
from tests.simulation.clients import Client
from tests.simulation.clock import Clock
from tests.simulation.disk import CorruptionError, Disk
from tests.simulation.network import Network
from tests.simulation.options import Options
from tests.simulation.server import Server
from tests.simulation.service import Answer, Reply
from tests.simulation.trace import Trace

CLIENT_DELAY_S = (0.001, 0.004)


class TooSlowError(RaftLabError):
    """Something did not happen within the simulated time it was given: liveness is lost."""


class World:
    """The event queue, the servers, the network between them, and the clients."""

    def __init__(self, seed: int | str, options: Options) -> None:
        self.seed = seed
        self.options = options
        self.now_s = 0.0
        self.trace = Trace()
        self.counts: Counter[str] = Counter()  # faults and other things that happened
        self.coverage: Counter[tuple[str, str]] = Counter()  # (role, input or message) that was stepped
        self.core_steps = 0
        self.checker = Checker()
        self.rng = random.Random(f"{seed}/world")
        self.disk_rng = random.Random(f"{seed}/disk")
        self.client_rng = random.Random(f"{seed}/clients")
        self.network = Network(random.Random(f"{seed}/network"), self.at, self._arrive, self.counts)
        self.network.weather = options.weather
        self.servers: dict[str, Server] = {}
        self.clients: list[Client] = []
        self.clients_stopped = False
        self.make_uniform = lambda node_id: random.Random(f"{seed}/{node_id}").uniform  # election timeouts
        self.watchers: list[Callable[[Server], None]] = []  # called after each round of a server
        self.on_death: Callable[[Server], None] | None = None  # what the operator does about a server that died
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._disks_made: Counter[str] = Counter()
        self.first_members = tuple(f"n{number}" for number in range(1, options.servers + 1))

    # -- making --------------------------------------------------------------------------------------------------------

    @classmethod
    def cluster(cls, servers: int = 3, seed: int | str = 0, **options: Any) -> "World":
        """A running world of n1 … n<servers>; the options are those of `Options`."""
        world = cls(seed, Options(servers=servers, **options))
        world.start()
        return world

    def start(self) -> None:
        """Start the first members, the clients and whatever repeats."""
        as_configured = tuple(map(Member, self.first_members))
        for node_id in self.first_members:
            self.add_server(node_id, as_configured)
        if self.options.established:
            self._establish()
        for server in list(self.servers.values()):
            server.start()
        for number in range(1, self.options.clients + 1):
            self.clients.append(Client(self, f"c{number}"))
            self.clients[-1].start()
        if self.options.clock_interval_s:
            self.at(self.options.clock_interval_s, self._advance_clock)

    def _establish(self) -> None:
        """Write down on every disk what the first members would find out by Hello."""
        disks = {node_id: server.disk for node_id, server in self.servers.items()}
        first = Membership(tuple(Member(node_id, incarnation=disk.incarnation) for node_id, disk in disks.items()))
        for disk in disks.values():
            disk.base_membership = first

    def add_server(self, node_id: str, first_members: tuple[Member, ...] = ()) -> Server:
        """A server with an empty disk, not started yet."""
        drift = self.options.drift_max
        clock = Clock(self.rng.uniform(0, self.options.clock_offset_s_max), 1 + self.rng.uniform(-drift, drift))
        disk = self.new_disk(node_id)
        config = self.options.config(node_id, disk.incarnation)
        server = self.servers[node_id] = Server(self, node_id, disk, clock, config, first_members)
        server.sync_s = self.options.sync_s
        return server

    def new_disk(self, node_id: str) -> Disk:
        """An empty data directory: a new incarnation."""
        self._disks_made[node_id] += 1
        return Disk(f"{node_id}.{self._disks_made[node_id]}")

    # -- time ----------------------------------------------------------------------------------------------------------

    def at(self, delay_s: float, function: Callable[..., None], *arguments: Any) -> None:
        """Call the function after so many seconds of world time."""
        self._sequence += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._sequence, function, arguments))

    def run(self, until: Callable[[], Any] | None = None, until_s: float = float("inf"), limit_s: float = 30.0) -> Any:
        """Let time pass until a condition holds (its value is returned) or a time is reached.

        Raises TooSlowError when the condition does not hold within `limit_s` from now.
        """
        deadline_s = min(until_s, self.now_s + limit_s) if until is not None else until_s
        while self._queue and self._queue[0][0] <= deadline_s:
            if until is not None and (value := until()):
                return value
            self.now_s, _, function, arguments = heapq.heappop(self._queue)
            function(*arguments)
        if until is not None and (value := until()):
            return value
        self.now_s = max(self.now_s, deadline_s)
        if until is not None:
            name = getattr(until, "__name__", "the condition")
            raise TooSlowError(f"{name}: expected within {limit_s:g} simulated seconds, not so at {self.now_s:.3f}")
        return None

    def run_for(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.run(until_s=self.now_s + seconds)

    def now_ns(self) -> int:
        """World time for histories."""
        return round(self.now_s * 1e9)

    # -- looking -------------------------------------------------------------------------------------------------------

    @property
    def node_ids(self) -> list[str]:
        """All servers there are, up or not."""
        return list(self.servers)

    def leader(self) -> Server | None:
        """The running leader of the highest term, if any."""
        leaders = [
            server
            for server in self.servers.values()
            if server.raft is not None and server.raft.state.role.value == "leader"
        ]
        return max(leaders, key=lambda server: server.raft.state.current_term, default=None)

    def agreed(self) -> bool:
        """Whether one leader's members are up, go by its membership, and have applied all of its log; and no change is
        under way.
        """
        leader = self.leader()
        if leader is None:
            return False
        state = leader.raft.state
        last = state.log.last_index
        if not state.may_vote() or state.membership.joint:
            return False  # a leader that was removed still leads, or a change is under way
        if any(member.auto_promote for member in state.membership.learners):
            return False
        members = [self.servers[node_id] for node_id in state.membership.node_ids()]
        return all(
            server.raft is not None
            and server.raft.state.current_term == state.current_term
            and server.raft.state.membership == state.membership
            and server.replica.last_applied == last
            for server in members
        )

    def note(self, place: str, what: str, *details: Any) -> None:
        """Write a line of the trace."""
        self.trace.note(self.now_s, place, what, *details)

    # -- scripting -----------------------------------------------------------------------------------------------------

    def partition(self, groups: Sequence[Sequence[str]]) -> None:
        """Servers hear only those of their own group, from now on."""
        self.network.cut(network.split(groups))

    def mend(self) -> None:
        """Let everything pass on the network again."""
        self.network.cut(())

    def crash(self, node_id: str) -> None:
        """SIGKILL."""
        self.servers[node_id].crash("killed")

    def restart(self, node_id: str) -> None:
        """Start a server that is down. Raises CorruptionError."""
        if not self.servers[node_id].up:
            self.servers[node_id].start()

    def wipe(self, node_id: str) -> None:
        """Give a server that is down an empty disk."""
        server = self.servers[node_id]
        assert not server.up, f"{node_id} runs; crash it first"
        server.disk = self.new_disk(node_id)
        server.config = msgspec.structs.replace(server.config, incarnation=server.disk.incarnation)
        self.note(node_id, "wiped, comes back as", server.disk.incarnation)

    def propose(self, *commands: bytes, to: str = "", answer: Answer | None = None) -> None:
        """Propose opaque commands at a server, the leader if not said otherwise; they need not be of a session."""
        server = self.servers[to] if to else self.leader()
        assert server is not None, "there is no leader to propose to"
        server.deliver(Propose(server.service.ask(answer or _ignore), list(commands)))

    def transfer(self, target: str = "", answer: Answer | None = None) -> bool:
        """Ask the leader to hand over; False when there is none."""
        leader = self.leader()
        if leader is not None:
            leader.deliver(TransferLeadership(leader.service.ask(answer or _ignore), target))
        return leader is not None

    def change(self, voters: Sequence[Member], learners: Sequence[Member], answer: Answer | None = None) -> bool:
        """Ask the leader to make these the members; False when there is none."""
        leader = self.leader()
        if leader is not None:
            ticket = leader.service.ask(answer or _ignore)
            leader.deliver(ChangeMembership(ticket, tuple(voters), tuple(learners)))
        return leader is not None

    def unreachable(self, node_id: str, peer: str) -> None:
        """Tell a server that its connection to a peer broke."""
        self.servers[node_id].deliver(ReportUnreachable(peer))

    # -- what servers report -------------------------------------------------------------------------------------------

    def count_step(self, role: str, item: Input) -> None:
        """One input goes into a core."""
        self.core_steps += 1
        self.coverage[role, type(item.message if isinstance(item, Received) else item).__name__] += 1

    def core_event(self, server: Server, event: CoreEvent) -> None:
        """A core has something to tell."""
        self.note(server.node_id, "event", event)
        if isinstance(event, BecameLeader):
            self.counts["election_won"] += 1
        elif isinstance(event, MembershipChanged):
            self.counts["membership_changed"] += 1

    def applied(self, server: Server) -> None:
        """A server has applied entries; from time to time it writes a snapshot."""
        covered = server.disk.snapshot.index if server.disk.snapshot else 0
        if 0 < self.options.snapshot_entries <= server.replica.last_applied - covered:
            server.write_snapshot(self.options.snapshot_s)

    def round_done(self, server: Server) -> None:
        """A server has done all that a Ready asked for."""
        for watch in self.watchers:
            watch(server)

    def server_died(self, server: Server) -> None:
        """A server's process has ended."""
        if self.on_death is not None:
            self.on_death(server)

    def _arrive(self, sender: str, incarnation: str, to: str, message: PeerMessage) -> None:
        server = self.servers.get(to)
        if server is not None and server.up:
            self.note(f"{to}<{sender}", "hears", message)
            server.deliver(Received(sender, incarnation, message))

    # -- clients -------------------------------------------------------------------------------------------------------

    def client_asks(self, node_id: str, payload: bytes, is_read: bool, answer: Answer) -> None:
        """A request on its way to a server; like any message it may be lost."""
        if self.client_rng.random() >= self.network.weather.loss:
            self.at(self.client_rng.uniform(*CLIENT_DELAY_S), self._request, node_id, payload, is_read, answer)

    def _request(self, node_id: str, payload: bytes, is_read: bool, answer: Answer) -> None:
        server = self.servers.get(node_id)
        if server is None or not server.up:
            return
        server.service.ask_for_client(payload, is_read, answer)

    def answer_client(self, take: Callable[[int, Reply], None], attempt: int, reply: Reply) -> None:
        """An answer on its way back."""
        if self.client_rng.random() >= self.network.weather.loss:
            self.at(self.client_rng.uniform(*CLIENT_DELAY_S), take, attempt, reply)

    def _advance_clock(self) -> None:
        """The leader's word on cluster time, by which sessions end (thesis 6.3)."""
        leader = self.leader()
        if leader is not None and not self.clients_stopped:
            command = AdvanceClock(max(0, int(leader.now_s * 1000)), self.options.session_ttl_ms)
            self.propose(msgspec.msgpack.encode(command), to=leader.node_id)
        self.at(self.options.clock_interval_s, self._advance_clock)


def _ignore(_reply: Reply) -> None:
    pass


def noop_command(text: str) -> bytes:
    """A command that any replica can apply, told apart by its text; for scenarios without clients."""
    return msgspec.msgpack.encode(OpenSession(text.encode()))


__all__ = ["CorruptionError", "TooSlowError", "World", "noop_command"]
