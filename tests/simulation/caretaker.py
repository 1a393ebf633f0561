"""The caretaker of a simulated cluster: knows what it can live without, starts what died, and mends all in the end."""

import random
from collections.abc import Iterable

from raft_zmq.core.membership import Member
from tests.simulation import network
from tests.simulation.disk import CorruptionError
from tests.simulation.server import Server
from tests.simulation.world import World


class Caretaker:
    """Starts dead servers again, and keeps those who do faults from doing what no cluster survives."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = random.Random(0)  # of the fault at hand
        self.over = False  # from then on dead servers start at once
        self.retired: set[str] = set()  # switched off for good
        self._down_s: dict[str, float] = {}  # how long a server stays down when it dies next
        world.on_death = self._died

    # -- who is meant --------------------------------------------------------------------------------------------------

    def _some_server(self) -> Server | None:
        """A running server, the leader more often than others."""
        leader = self.world.leader()
        if leader is not None and self.rng.random() < 0.4:
            return leader
        up = [server for server in self.world.servers.values() if server.up]
        return self.rng.choice(up) if up else None

    def _members(self) -> list[str]:
        """Whom the network connects: all that are not retired, in an order of their own."""
        names = [name for name in self.world.servers if name not in self.retired]
        self.rng.shuffle(names)
        return names

    def can_spare(self, node_id: str) -> bool:
        """Whether every majority that may be asked for still has its disks when this server loses its own."""
        return all(self._keeps_majority(group, {node_id}) for group in self._groups_in_play())

    def _groups_in_play(self) -> Iterable[tuple[Member, ...]]:
        for name in self.world.servers:
            if name in self.retired:
                continue
            for _, membership in self.world.checker.memberships(name)[-2:]:
                yield from filter(None, (membership.voters, membership.outgoing))

    def _keeps_majority(self, group: Iterable[Member], without: set[str]) -> bool:
        members = list(group)
        kept = [member for member in members if member.node_id not in without and self._intact(member)]
        return 2 * len(kept) > len(members)

    def _intact(self, member: Member) -> bool:
        server = self.world.servers.get(member.node_id)
        if server is None or member.node_id in self.retired or server.disk.damaged:
            return False
        return member.incarnation in ("", server.disk.incarnation)

    # -- the operator --------------------------------------------------------------------------------------------------

    def _died(self, server: Server) -> None:
        delay_s = self._down_s.pop(server.node_id, 0.3)
        self.world.at(0.05 if self.over else delay_s, self.start_again, server)

    def start_again(self, server: Server) -> None:
        """Start a server that is down; one whose disk is damaged refuses and gets an empty one."""
        if server.up or server.node_id in self.retired:
            return
        self.world.counts["restart"] += 1
        try:
            server.start()
        except CorruptionError as error:
            self.world.counts["start_refused"] += 1
            self.world.note(server.node_id, "refuses to start:", str(error))
            self.world.wipe(server.node_id)
            server.start()

    def end(self) -> None:
        """No more faults: mend the network, empty the full disks, start what is down."""
        self.over = True
        world = self.world
        world.mend()
        world.network.weather = network.CALM
        self.retired -= {member.node_id for name in world.servers for member in self._known_members(name)}
        for server in list(world.servers.values()):
            server.be_well()
            self.start_again(server)

    def _known_members(self, name: str) -> Iterable[Member]:
        if name not in self.retired:
            for _, membership in self.world.checker.memberships(name)[-2:]:
                yield from (*membership.voters, *membership.outgoing, *membership.learners)
