"""Everything that can be done to a simulated cluster: one function for each kind of fault or operation.

A function returns whether it did anything (it may find no leader, or no server it is allowed to hurt); only then the
kind is counted. What heals by itself after `seconds` is noted in the fault.
"""

import random
from collections.abc import Callable, Iterable

import msgspec

from raft_zmq.core.inputs import DiskChanged
from raft_zmq.core.membership import Member, Membership
from raft_zmq.core.messages import DiskState
from tests.simulation import network
from tests.simulation.caretaker import Caretaker
from tests.simulation.network import Weather
from tests.simulation.server import STAGES, Server
from tests.simulation.service import Reply
from tests.simulation.world import World, noop_command

SPARE_SERVERS = 4  # how many servers beyond the first members may ever be added
VOTERS_MIN = 2


class Fault(msgspec.Struct, frozen=True):
    """One thing that happens at a world time; `choice` decides what the kind leaves open (which server, which way)."""

    at_s: float
    kind: str
    seconds: float
    choice: int

    def __str__(self) -> str:
        return f"{self.at_s:8.3f} s  {self.kind} (for {self.seconds:.3f} s, choice {self.choice})"


class Faults(Caretaker):
    """Does faults to a world."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.seconds = 0.0  # of the fault at hand
        self._cuts = 0

    def plan(self, faults: Iterable[Fault]) -> None:
        """Have all of these happen at their times."""
        for fault in faults:
            self.world.at(max(0.0, fault.at_s - self.world.now_s), self._happen, fault)

    def _happen(self, fault: Fault) -> None:
        if self.over:
            return
        self.rng = random.Random(fault.choice)
        self.seconds = fault.seconds
        self.world.note("world", "fault", fault.kind)
        if KINDS[fault.kind](self):
            self.world.counts[fault.kind] += 1

    # -- the network ---------------------------------------------------------------------------------------------------

    def cut(self, links: list[tuple[str, str]]) -> bool:
        """Block these links for a while."""
        self._cuts += 1
        self.world.network.cut(links, spare_the_sent=self.rng.random() < 0.5)
        self.world.at(self.seconds, self._mend, self._cuts)
        if self.rng.random() < 0.3:
            for sender, to in links:
                self.world.unreachable(sender, to)
        return bool(links)

    def _mend(self, cut: int) -> None:
        if cut == self._cuts:
            self.world.mend()

    def isolate(self) -> bool:
        server = self._some_server()
        return server is not None and self.cut(network.isolate(server.node_id, self._members()))

    def lonely_leader(self) -> bool:
        """The leader is alone, does not know it, and goes on taking what it is asked for: all of it is to be undone."""
        leader = self.world.leader()
        if leader is None or not self.cut(network.isolate(leader.node_id, self._members())):
            return False
        commands = [noop_command(f"{self.world.now_s}/{number}") for number in range(self.rng.randint(1, 10))]
        self.world.propose(*commands, to=leader.node_id)
        self.rng.choice([self.remove_member, self.demote, self.add_learner])()
        self.world.propose(*commands, to=leader.node_id)
        return True

    def split(self) -> bool:
        names = self._members()
        middle = self.rng.randint(1, max(1, len(names) - 1))
        return self.cut(network.split([names[:middle], names[middle:]]))

    def ring(self) -> bool:
        return self.cut(network.ring(self._members()))

    def bridge(self) -> bool:
        return self.cut(network.bridge(self._members()))

    def deaf(self) -> bool:
        server = self._some_server()
        return server is not None and self.cut(network.one_way(server.node_id, self._members(), deaf=True))

    def mute(self) -> bool:
        server = self._some_server()
        return server is not None and self.cut(network.one_way(server.node_id, self._members(), deaf=False))

    def weather(self, weather: Weather) -> bool:
        """Treat messages otherwise for a while."""
        self.world.network.weather = weather
        self.world.at(self.seconds, self._clear_up)
        return True

    def _clear_up(self) -> None:
        self.world.network.weather = network.CALM if self.over else self.world.options.weather

    def loss(self) -> bool:
        return self.weather(Weather(loss=self.rng.choice([0.1, 0.3, 0.5])))

    def duplication(self) -> bool:
        return self.weather(Weather(duplication=0.5, delay_s_max=0.05))

    def delay(self) -> bool:
        return self.weather(Weather(straggler=0.3, straggler_s=self.rng.choice([0.1, 0.5, 1.5])))

    def unreachable(self) -> bool:
        server = self._some_server()
        if server is not None:
            self.world.unreachable(server.node_id, self.rng.choice(self._members()))
        return server is not None

    # -- processes and clocks ------------------------------------------------------------------------------------------

    def crash(self) -> bool:
        server = self._some_server()
        if server is not None:
            self._down_s[server.node_id] = self.seconds
            server.crash("killed")
        return server is not None

    def crash_all(self) -> bool:
        for server in list(self.world.servers.values()):
            if server.up:
                self._down_s[server.node_id] = self.seconds * self.rng.random()
                server.crash("killed with all others")
        return True

    def crash_in_round(self) -> bool:
        server = self._some_server()
        if server is not None:
            stage = self.rng.choice([*STAGES, "received", "received"])
            for each in self.world.servers.values() if stage == "received" else [server]:  # few ever receive a snapshot
                self._down_s[each.node_id] = self.seconds
                each.crash_at = stage
        return server is not None

    def pause(self) -> bool:
        server = self._some_server()
        if server is not None:
            server.pause(self.seconds)
        return server is not None

    def clock_jump(self) -> bool:
        server = self._some_server()
        if server is not None:
            server.clock.jump(self.world.now_s, self.seconds)
            server.clock_changed()
        return server is not None

    def clock_freeze(self) -> bool:
        server = self._some_server()
        if server is not None:
            server.clock.freeze(self.world.now_s, self.seconds)
            server.clock_changed()
        return server is not None

    def clock_drift(self) -> bool:
        server = self._some_server()
        if server is not None:
            drift = self.world.options.drift_max
            server.clock.drift(self.world.now_s, 1 + self.rng.uniform(-drift, drift))
            server.clock_changed()
        return server is not None and self.world.options.drift_max > 0

    # -- disks ---------------------------------------------------------------------------------------------------------

    def failed_sync(self) -> bool:
        server = self._some_server()
        if server is not None:
            server.disk.failing_sync = True
        return server is not None

    def full_disk(self) -> bool:
        server = self._some_server()
        if server is not None:
            server.disk.full = True
            self.world.at(self.seconds, self._empty, server)
        return server is not None

    def _empty(self, server: Server) -> None:
        server.disk.full = False

    def slow_disk(self) -> bool:
        server = self._some_server()
        if server is not None:
            server.sync_s = (0.01, self.rng.choice([0.05, 0.3, 1.0]))
            self.world.at(self.seconds, self._hurry, server)
        return server is not None

    def _hurry(self, server: Server) -> None:
        server.sync_s = self.world.options.sync_s

    def ailing_disk(self) -> bool:
        """A server is told that its disk is slow or has no more room for the log."""
        server = self._some_server()
        if server is not None:
            server.deliver(DiskChanged(self.rng.choice([DiskState.SLOW, DiskState.FILLING, DiskState.FULL])))
            self.world.at(self.seconds, server.deliver, DiskChanged(DiskState.GOOD))
        return server is not None

    def _hurt_disk(self, damage: Callable[[Server], bool]) -> bool:
        """Take away what a server has on its disk, if the cluster can live without it."""
        server = self._some_server()
        if server is None or not self.can_spare(server.node_id):
            return False
        self._down_s[server.node_id] = self.seconds
        server.crash("with its disk")
        return damage(server)

    def flip_entry(self) -> bool:
        return self._hurt_disk(lambda server: server.disk.flip_entry(self.rng))

    def flip_snapshot(self) -> bool:
        return self._hurt_disk(lambda server: server.disk.flip_snapshot(self.rng))

    def flip_chunk(self) -> bool:
        for server in self.world.servers.values():
            server.flip_next_chunk = True
        return True

    def wipe(self) -> bool:
        return self._hurt_disk(lambda server: self.world.wipe(server.node_id) or True)

    # -- what operators ask for ----------------------------------------------------------------------------------------

    def transfer(self) -> bool:
        return self.world.transfer(
            self.rng.choice(["", self.rng.choice(self._members())]), self._count("transfer_done")
        )

    def snapshot(self) -> bool:
        server = self._some_server()
        return server is not None and server.write_snapshot(self.seconds / 10)

    def _count(self, what: str) -> Callable[[Reply], None]:
        def answer(reply: Reply) -> None:
            if reply.kind == "done":
                self.world.counts[what] += 1

        return answer

    def _change(self, voters: list[Member], learners: list[Member], what: str) -> bool:
        """Ask for a membership whose majority has its disks."""
        if len(voters) < VOTERS_MIN or not self._keeps_majority(voters, set()):
            return False
        return self.world.change(voters, learners, self._count(what))

    def _current(self) -> Membership | None:
        leader = self.world.leader()
        return None if leader is None else leader.raft.state.membership

    def add_learner(self) -> bool:
        current = self._current()
        if current is None:
            return False
        outside = [name for name in self.world.servers if current.member(name) is None and name not in self.retired]
        name = self.rng.choice(outside) if outside and self.rng.random() < 0.5 else self._fresh_server()
        if not name:
            return False
        learner = Member(name, auto_promote=self.rng.random() < 0.5)
        return self._change(list(current.voters), [*current.learners, learner], "learner_added")

    def _fresh_server(self) -> str:
        count = len(self.world.servers)
        if count >= len(self.world.first_members) + SPARE_SERVERS:
            return ""
        self.world.add_server(f"n{count + 1}").start()
        return f"n{count + 1}"

    def _remove_name(self, name: str, what: str) -> bool:
        current = self._current()
        if current is None or current.member(name) is None:
            return False
        voters = [member for member in current.voters if member.node_id != name]
        learners = [member for member in current.learners if member.node_id != name]
        return self._change(voters, learners, what)

    def remove_member(self) -> bool:
        current = self._current()
        return current is not None and self._remove_name(self.rng.choice(current.node_ids()), "member_removed")

    def remove_leader(self) -> bool:
        leader = self.world.leader()
        return leader is not None and self._remove_name(leader.node_id, "leader_removed")

    def replace_member(self) -> bool:
        """One voter goes and one learner becomes a voter, in one change."""
        current = self._current()
        if current is None or not current.learners:
            return False
        gone, new = self.rng.choice(current.voters), self.rng.choice(current.learners)
        voters = [member for member in current.voters if member != gone] + [new]
        return self._change(voters, [member for member in current.learners if member != new], "member_replaced")

    def demote(self) -> bool:
        current = self._current()
        if current is None:
            return False
        chosen = self.rng.choice(current.voters)
        voters = [member for member in current.voters if member != chosen]
        learner = msgspec.structs.replace(chosen, auto_promote=self.rng.random() < 0.5)
        return self._change(voters, [*current.learners, learner], "member_demoted")

    def promote(self) -> bool:
        current = self._current()
        if current is None or not current.learners:
            return False
        chosen = self.rng.choice(current.learners)
        learners = [member for member in current.learners if member != chosen]
        return self._change([*current.voters, chosen], learners, "member_promoted")

    def retire(self) -> bool:
        """Switch off for good a server that is in no membership any more."""
        in_play = {member.node_id for name in self.world.servers for member in self._known_members(name)}
        for name, server in self.world.servers.items():
            if name not in in_play and name not in self.retired and server.up:
                self.retired.add(name)
                server.crash("retired")
                return True
        return False


NETWORK = (
    Faults.isolate,
    Faults.lonely_leader,
    Faults.split,
    Faults.ring,
    Faults.bridge,
    Faults.deaf,
    Faults.mute,
    Faults.loss,
    Faults.duplication,
    Faults.delay,
    Faults.unreachable,
)
PROCESSES = (Faults.crash, Faults.crash_all, Faults.crash_in_round, Faults.pause)
CLOCKS = (Faults.clock_jump, Faults.clock_freeze, Faults.clock_drift)
DISKS = (
    Faults.failed_sync,
    Faults.full_disk,
    Faults.slow_disk,
    Faults.ailing_disk,
    Faults.flip_entry,
    Faults.flip_snapshot,
    Faults.flip_chunk,
    Faults.wipe,
)
OPERATIONS = (Faults.transfer, Faults.snapshot)
MEMBERSHIP = (
    Faults.add_learner,
    Faults.promote,
    Faults.demote,
    Faults.replace_member,
    Faults.remove_member,
    Faults.remove_leader,
    Faults.retire,
)
KINDS: dict[str, Callable[[Faults], bool]] = {
    function.__name__: function for function in (*NETWORK, *PROCESSES, *CLOCKS, *DISKS, *OPERATIONS, *MEMBERSHIP)
}

# What the kinds above lead to, and what the network does by itself: none of it may be missing from a large batch.
CONSEQUENCES = (
    "message_lost",
    "message_duplicated",
    "message_delayed",
    "message_cut",
    "kept_write",
    "lost_write",
    "torn_write",
    "start_refused",
    "flip_received",
    "restart",
    "snapshot_written",
    "snapshot_installed",
    "snapshot_gone",
    "transfer_done",
    "learner_added",
    "member_promoted",
    "member_demoted",
    "member_replaced",
    "member_removed",
    "leader_removed",
    *(f"crash_{stage}" for stage in STAGES),
)
